// A machine for tests of the nvme tier: simulated devices and metadata that outlive the tier, a
// clock, and chunks whose bytes can be checked as the core checks them. One thread.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

#include "kernels/checksum.hpp"
#include "tests/daemon/tiers/nvme_fixture.hpp"

namespace kvtier::daemon {

// A chunk as it lies in a host slot.
struct Stored {
  TierChunk chunk;
  PageBytes bytes;
};

inline Stored make_chunk(uint64_t number, uint64_t payload_bytes) {
  Stored stored;
  const uint32_t tokens = 16;
  const uint32_t header_bytes = static_cast<uint32_t>(wire::header_bytes_for(tokens));
  stored.bytes.resize(wire::round_up(header_bytes + payload_bytes, wire::kPageBytes));
  std::mt19937_64 random(number);
  for (size_t i = header_bytes; i + 8 <= header_bytes + payload_bytes; i += 8) {
    const uint64_t word = random();
    std::memcpy(stored.bytes.data() + i, &word, 8);
  }
  wire::ChunkHeader header = {};
  header.magic = wire::kChunkMagic;
  header.version = 1;
  header.header_bytes = header_bytes;
  header.key = {number + 1, 77};
  header.fingerprint_lo = 5;
  header.fingerprint_hi = 6;
  header.payload_bytes = payload_bytes;
  header.tokens = tokens;
  header.position = static_cast<uint32_t>(number);
  std::memcpy(stored.bytes.data(), &header, sizeof header);
  header.header_checksum = XXH3_64bits(stored.bytes.data(), header_bytes);
  header.checksum = kernels::hash_only(stored.bytes.data() + header_bytes, payload_bytes);
  header.flags = wire::kHeaderHasChecksum;
  std::memcpy(stored.bytes.data(), &header, sizeof header);
  EXPECT_TRUE(nvme::decode_header(stored.bytes, stored.chunk));
  return stored;
}

// What the core does with what it read: the header is the record's, the payload the checksum's.
inline bool check(const TierChunk& chunk, const PageBytes& bytes) {
  TierChunk found;
  return nvme::decode_header(bytes, found) && found == chunk &&
         kernels::hash_only(bytes.data() + chunk.header_bytes, chunk.payload_bytes) ==
             chunk.checksum;
}

// A machine with devices and state that outlive the tier.
class Machine {
 public:
  explicit Machine(size_t devices, uint64_t segment_bytes = wire::MiB, uint64_t segments = 4)
      : segment_bytes_(segment_bytes), records_(std::make_shared<SimulatedRecords>()) {
    for (size_t i = 0; i < devices; ++i) {
      media_.push_back(std::make_shared<SimulatedMedium>((2 + segments) * nvme::kPage +
                                                         segments * segment_bytes));
    }
    options_.prepare = false;
    options_.wall_seconds = [this] { return 1'700'000'000 + clock_.now_ns() / 1'000'000'000; };
  }

  void start() {
    std::vector<nvme::Slab> slabs;
    disks_.assign(media_.size(), nullptr);
    for (size_t i = 0; i < media_.size(); ++i) {
      SimulatedDiskOptions options = disk_options_;
      options.seed = ++seed_ * 16 + i;
      slabs.push_back(simulated_slab(media_[i], clock_, options, segment_bytes_, &disks_[i]));
    }
    auto metadata = std::make_unique<SimulatedMetadata>(records_, clock_);
    metadata_ = metadata.get();
    tier_ = std::make_unique<NvmeTier>(std::move(slabs), std::move(metadata), options_, clock_);
    tier_->know_tenant(0, "one");
    tier_->know_tenant(1, "two");
  }

  void crash(CrashKind kind, size_t records_lost = 0) {
    for (SimulatedDisk* disk : disks_) {
      if (disk != nullptr) disk->crash(kind);
    }
    metadata_->crash(records_lost);
    tier_.reset();
  }

  void step(uint64_t ns = 100'000) {
    clock_.advance_ns(ns);
    tier_->tick();
    TierCompletion done[16];
    while (const size_t count = tier_->poll(done)) {
      for (size_t i = 0; i < count; ++i) completions_.push_back(done[i]);
      if (count < 16) break;
    }
  }
  void run(uint64_t ns) {
    for (uint64_t end = clock_.now_ns() + ns; clock_.now_ns() < end;) step();
  }

  TierCompletion wait(uint64_t ticket, bool memory_back = false) {
    for (int i = 0; i < 200000; ++i) {
      for (auto at = completions_.begin(); at != completions_.end(); ++at) {
        if (at->ticket != ticket || (memory_back && at->memory_in_use)) continue;
        const TierCompletion completion = *at;
        completions_.erase(at);
        return completion;
      }
      step();
    }
    ADD_FAILURE() << "transfer " << ticket << " never ended";
    return {};
  }

  TierPlace write(const Stored& stored, uint32_t tenant = 0) {
    const uint64_t ticket = ++ticket_;
    Status begun = Error(Code::kFull, "");
    for (int i = 0; i < 100000 && !begun.ok(); ++i) {
      begun = tier_->begin_write({ticket, tenant, stored.chunk, stored.bytes});
      if (begun.code() == Code::kFull && i > 100) return 0;
      if (!begun.ok()) step();
    }
    if (!begun.ok()) return 0;
    const TierCompletion completion = wait(ticket);
    return completion.code == Code::kOk ? completion.place : 0;
  }

  Code read(TierPlace place, PageBytes& target) {
    const uint64_t ticket = ++ticket_;
    const Status begun = tier_->begin_read({ticket, place, target});
    if (!begun.ok()) return begun.code();
    return wait(ticket).code;
  }
  bool reads_back(TierPlace place, const TierChunk& chunk) {
    PageBytes target(chunk.bytes());
    return read(place, target) == Code::kOk && check(chunk, target);
  }

  std::map<uint64_t, TierRecord> recover() {  // by key.lo
    std::map<uint64_t, TierRecord> all;
    TierRecord records[8];
    for (int i = 0; i < 200000 && tier_->recovering(); ++i) {
      const size_t count = tier_->recovered(records);
      for (size_t r = 0; r < count; ++r) {
        // A removal that was lost, or a header of before: the same chunk twice.
        const bool is_new = all.emplace(records[r].chunk.key.lo, records[r]).second;
        if (!is_new) tier_->forget(records[r].place);
      }
      if (count == 0) step();
    }
    EXPECT_FALSE(tier_->recovering());
    return all;
  }

  NvmeTier& tier() { return *tier_; }
  VirtualClock clock_;
  uint64_t segment_bytes_;
  std::vector<std::shared_ptr<SimulatedMedium>> media_;
  std::vector<SimulatedDisk*> disks_;
  std::shared_ptr<SimulatedRecords> records_;
  SimulatedMetadata* metadata_ = nullptr;
  SimulatedDiskOptions disk_options_;
  NvmeTierOptions options_;
  std::unique_ptr<NvmeTier> tier_;
  std::vector<TierCompletion> completions_;
  uint64_t ticket_ = 0;
  uint64_t seed_ = 0;
};

}  // namespace kvtier::daemon
