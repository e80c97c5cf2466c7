// The nvme tier from seeds: random stores, loads, forgetting, faults of every kind, kills and power
// cuts, against a model that knows what was stored under each key. Whatever happens, what passes
// the reader's check is what was stored, slots do not leak, and capacity is not exceeded.
//
// Replay one: test_nvme_seeds --seed N
#include <gtest/gtest.h>

#include <cstdlib>
#include <string_view>

#include "tests/daemon/tiers/simulated_machine.hpp"

namespace kvtier::daemon {
namespace {

uint64_t first_seed = 1;
uint64_t seed_count = 300;

constexpr uint64_t kSizes[] = {4 * wire::KiB, 24 * wire::KiB, 60 * wire::KiB, 200 * wire::KiB};

class Course {
 public:
  explicit Course(uint64_t seed) : random_(seed), machine_(1 + seed % 3, wire::MiB, 2 + seed % 4) {
    machine_.seed_ = seed * 1000;
    machine_.options_.prepare = seed % 2 == 0;
    DiskFaultRates& faults = machine_.disk_options_.faults;
    // Half of the courses have silent faults, half have loud ones, some both, some none.
    if (seed % 4 < 2) {
      faults.torn_write = faults.misdirected_write = faults.bit_flip = 0.02;
    }
    if (seed % 3 == 0) {
      faults.read_error = faults.write_error = faults.short_read = 0.01;
      faults.delay = 0.02;
      faults.hang = 0.002;
    }
    faults.reorder = 0.3;
  }

  void run() {
    machine_.start();
    for (int life = 0; life < 4; ++life) {
      for (const auto& [key, record] : machine_.recover()) {
        if (places_.contains(key) || random_() % 50 == 0) {
          machine_.tier().forget(record.place);
        } else {
          places_[key] = {record.place, record.chunk};
        }
      }
      for (int i = 0; i < 150; ++i) act();
      ASSERT_LE(machine_.tier().capacity().used_bytes, machine_.tier().capacity().capacity_bytes);
      const bool is_power_cut = random_() % 2 == 0;
      machine_.crash(is_power_cut ? CrashKind::kPowerCut : CrashKind::kKill,
                     is_power_cut ? random_() % 20 : 0);
      if (random_() % 8 == 0) machine_.records_->records.clear();
      places_.clear();
      reads_.clear();
      stores_.clear();
      machine_.completions_.clear();
      machine_.start();
      if (testing::Test::HasFailure()) return;
    }
    finish();
  }

 private:
  struct Known {
    TierPlace place;
    TierChunk chunk;
  };
  struct Read {
    TierChunk chunk;
    PageBytes target;
    bool is_given_up = false;
  };

  void act() {
    const uint64_t choice = random_() % 10;
    if (choice < 4) {
      store();
    } else if (choice < 7 && !places_.empty()) {
      load();
    } else if (choice < 8 && !places_.empty()) {
      const auto at = any();
      machine_.tier().forget(at->second.place);
      places_.erase(at);
    }
    if (random_() % 100 == 0) {
      for (SimulatedDisk* disk : machine_.disks_) {
        if (disk != nullptr) disk->release();
      }
    }
    machine_.step(1000 * (random_() % 400));
    collect();
  }
  std::map<uint64_t, Known>::iterator any() {
    auto at = places_.lower_bound(random_() % 60);
    return at == places_.end() ? places_.begin() : at;
  }
  void store() {
    const uint64_t number = random_() % 60;
    if (places_.contains(number + 1) || storing_.contains(number + 1)) return;
    const uint64_t ticket = ++machine_.ticket_;
    Stored& stored = stores_.emplace(ticket, make_chunk(number, kSizes[number % std::size(kSizes)]))
                         .first->second;
    const auto tenant = static_cast<uint32_t>(number % 2);
    const Status begun = machine_.tier().begin_write({ticket, tenant, stored.chunk, stored.bytes});
    if (begun.ok()) {
      storing_.insert({number + 1, ticket});
      return;
    }
    if (begun.code() == Code::kFull) {
      TierPlace listed[8];
      const size_t count = machine_.tier().make_room(tenant, stored.chunk.bytes(), listed);
      for (size_t i = 0; i < count; ++i) forget(listed[i]);
    }
    stores_.erase(ticket);
  }
  void forget(TierPlace place) {
    for (auto at = places_.begin(); at != places_.end(); ++at) {
      if (at->second.place != place) continue;
      machine_.tier().forget(place);
      places_.erase(at);
      return;
    }
  }
  void load() {
    const Known known = any()->second;
    const uint64_t ticket = ++machine_.ticket_;
    Read& read = reads_[ticket];
    read.chunk = known.chunk;
    read.target.resize(known.chunk.bytes());
    if (!machine_.tier().begin_read({ticket, known.place, read.target}).ok()) reads_.erase(ticket);
  }
  void collect() {
    for (const TierCompletion& done : machine_.completions_) {
      if (const auto store = stores_.find(done.ticket); store != stores_.end()) {
        const uint64_t key = store->second.chunk.key.lo;
        if (done.code == Code::kOk) places_[key] = {done.place, store->second.chunk};
        if (done.memory_in_use) continue;
        storing_.erase(key);
        stores_.erase(store);
        continue;
      }
      const auto read = reads_.find(done.ticket);
      ASSERT_NE(read, reads_.end()) << "a transfer that nobody began, or that ended twice";
      if (done.code == Code::kOk && check(read->second.chunk, read->second.target)) {
        const uint64_t number = read->second.chunk.key.lo - 1;
        const Stored truth = make_chunk(number, kSizes[number % std::size(kSizes)]);
        ASSERT_EQ(std::memcmp(truth.bytes.data(), read->second.target.data(),
                              truth.chunk.header_bytes + truth.chunk.payload_bytes),
                  0)
            << "wrong bytes for key " << number + 1;
        ++hits;
      }
      if (!done.memory_in_use) reads_.erase(read);
    }
    machine_.completions_.clear();
  }
  // Everything forgotten, everything is free again: no slot leaked.
  void finish() {
    for (SimulatedDisk* disk : machine_.disks_) {
      if (disk == nullptr) continue;
      disk->faults() = {};
    }
    for (const auto& [key, record] : machine_.recover()) machine_.tier().forget(record.place);
    for (int i = 0; i < 400; ++i) {
      for (SimulatedDisk* disk : machine_.disks_) {
        if (disk != nullptr) disk->release();
      }
      machine_.step(1'000'000);
    }
    EXPECT_EQ(machine_.tier().capacity().used_bytes, 0u);
    EXPECT_EQ(machine_.tier().capacity().queued_bytes, 0u);
  }

 public:
  uint64_t hits = 0;

 private:
  std::mt19937_64 random_;
  Machine machine_;
  std::map<uint64_t, Known> places_;  // by key.lo
  std::map<uint64_t, uint64_t> storing_;
  std::map<uint64_t, Stored> stores_;  // by ticket
  std::map<uint64_t, Read> reads_;
};

TEST(NvmeSeeds, NothingButWhatWasStoredPassesTheCheck) {
  uint64_t hits = 0;
  for (uint64_t seed = first_seed; seed < first_seed + seed_count; ++seed) {
    SCOPED_TRACE("replay: test_nvme_seeds --seed " + std::to_string(seed));
    Course course(seed);
    course.run();
    hits += course.hits;
    if (HasFailure()) return;
  }
  EXPECT_GT(hits, 20 * seed_count) << "too few loads to mean anything";
}

}  // namespace
}  // namespace kvtier::daemon

int main(int count, char** arguments) {
  testing::InitGoogleTest(&count, arguments);
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string_view name = arguments[i];
    const uint64_t value = std::strtoull(arguments[i + 1], nullptr, 10);
    if (name == "--seed") {
      kvtier::daemon::first_seed = value;
      kvtier::daemon::seed_count = 1;
    }
    if (name == "--seeds") kvtier::daemon::seed_count = value;
  }
  return RUN_ALL_TESTS();
}
