// The core above a tier in memory: chunks whose every byte follows from their key, prefetches, and
// time that passes only when a test says so.
#pragma once

#include <algorithm>

#include "daemon/tiers/memory_tier.hpp"
#include "tests/daemon/core/core_fixture.hpp"

namespace kvtier::daemon {

class LowerTest : public CoreTest {
 protected:
  struct Sizes {
    uint64_t host_slots = 8;
    uint64_t below_chunks = 64;
    WhenBehind when_behind = WhenBehind::kWait;
    uint64_t demote_idle_after_ns = 0;
    double bandwidth = 1e9;
    double latency_s = 0;
    size_t queue_max = 64;
    uint64_t write_budget = kUnlimited;  // bytes a second; the tier itself has none
    uint64_t segments = 1;               // another size of chunk needs one of its own
    Encode store_encode = Encode::kNone;
    Encode encode = Encode::kNone;  // below
  };

  void start_over(const Sizes& sizes) {
    Config config;
    config.host.capacity_bytes = std::bit_ceil(sizes.host_slots) * 64 * wire::KiB;
    config.host.segment_bytes_min =
        std::min<uint64_t>(config.host.capacity_bytes / sizes.segments, 32 * wire::MiB);
    config.host.lock = Demand::kNever;
    config.host.huge_pages = Demand::kNever;
    config.index.huge_pages = Demand::kNever;
    config.nvme.when_behind = sizes.when_behind;
    config.nvme.encode = sizes.encode;
    config.host.encode = sizes.store_encode;
    config.nvme.demote_idle_after_ns = sizes.demote_idle_after_ns;
    config.nvme.write_budget = sizes.write_budget;
    MemoryTierOptions options;
    options.capacity_bytes = sizes.below_chunks * 64 * wire::KiB;
    options.bandwidth_bytes_per_s = sizes.bandwidth;
    options.latency_s = sizes.latency_s;
    options.queue_max = sizes.queue_max;
    auto tier = std::make_unique<MemoryTier>(options, clock_);
    below_ = tier.get();
    start(config, std::move(tier));
  }

  // Lets transfers end and workers work.
  void pass(uint64_t ns = 1'000'000) {
    clock_.advance_ns(ns);
    core_->poll_tier();
    executor_->complete();
    core_->expire_prefetches();
    core_->poll_tier();
  }
  void settle(int rounds = 64) {
    for (int i = 0; i < rounds; ++i) {
      pass();
      if (!core_->tier_active()) return;
    }
  }

  static void fill(std::byte* payload, ChunkKey key, uint64_t bytes) {
    uint64_t word = key.lo;
    for (uint64_t at = 0; at < bytes; at += 8, word = word * 6364136223846793005ULL + key.hi) {
      std::memcpy(payload + at, &word, std::min<uint64_t>(8, bytes - at));
    }
  }
  static bool filled(const std::byte* payload, ChunkKey key, uint64_t bytes) {
    std::vector<std::byte> due(bytes);
    fill(due.data(), key, bytes);
    return std::memcmp(payload, due.data(), bytes) == 0;
  }

  // As an engine: waits while the daemon says busy.
  wire::ReserveOutcome keep(Session& session, uint32_t space, ChunkKey key,
                            uint64_t bytes = kPayload) {
    Reserved reserved = reserve(session, space, key, bytes);
    for (int i = 0; i < 200 && reserved.outcome == wire::ReserveOutcome::kBusy; ++i) {
      pass();
      reserved = reserve(session, space, key, bytes);
    }
    if (reserved.outcome != wire::ReserveOutcome::kGranted) return reserved.outcome;
    fill(payload(session, reserved.place), key, bytes);
    EXPECT_EQ(commit(session, reserved.place), wire::CommitOutcome::kStored);
    clock_.advance_ns(1000);
    return reserved.outcome;
  }
  void keep_all(Session& session, uint32_t space, uint64_t first, uint64_t count) {
    for (uint64_t i = first; i < first + count; ++i) {
      ASSERT_EQ(keep(session, space, key_of(i)), wire::ReserveOutcome::kGranted) << i;
    }
  }

  bool below(const Session& session, uint32_t space, ChunkKey key) {
    return (find(session, space, key).lower & wire::kOnNvme) != 0;
  }
  bool only_below(const Session& session, uint32_t space, ChunkKey key) {
    return find(session, space, key).found == wire::Found::kLower;
  }
  // The bytes of a chunk in host memory are what was stored.
  bool right(Session& session, uint32_t space, ChunkKey key, uint64_t bytes = kPayload) {
    const wire::FoundChunk found = find(session, space, key);
    if (found.found != wire::Found::kHost) return false;
    const std::byte* data = payload(session, found.place.word());
    wire::ChunkHeader header;
    std::memcpy(&header, data - 4096, sizeof header);
    return header.key == key && header.generation == found.place.generation() &&
           header.checksum == kernels::hash_only(data, bytes) && filled(data, key, bytes);
  }

  // Asks again, as a client does, while slots are being made free.
  void begin_prefetch(Session& session, uint64_t user_data, uint32_t space,
                      std::vector<uint64_t> numbers, uint64_t deadline_ns = 0) {
    std::vector<wire::KeyArg> keys;
    for (const uint64_t number : numbers) keys.push_back({key_of(number)});
    for (int i = 0; i < 100; ++i) {
      core_->prefetch(session, user_data, space, keys, deadline_ns);
      collect();
      if (answers_.empty() || answers_.back().user_data != user_data ||
          answers_.back().retry_after_us == 0) {
        return;
      }
      answers_.pop_back();
      pass();
      core_->tick();  // a segment of another size may have to be emptied
    }
    FAIL() << "no slots for a prefetch";
  }
  void collect() {
    for (const PrefetchAnswer& answer : core_->take_prefetch_answers()) {
      if (Session* session = core_->find_session(answer.session)) --session->unanswered;
      answers_.push_back(answer);
    }
  }
  const PrefetchAnswer* answer_of(uint64_t user_data) {
    collect();
    for (const PrefetchAnswer& answer : answers_) {
      if (answer.user_data == user_data) return &answer;
    }
    return nullptr;
  }
  // Begins, lets time pass, and returns the answer's status.
  Code prefetch(Session& session, uint32_t space, std::vector<uint64_t> numbers) {
    const uint64_t user_data = ++last_user_data_;
    begin_prefetch(session, user_data, space, std::move(numbers));
    for (int i = 0; i < 200 && answer_of(user_data) == nullptr; ++i) pass();
    const PrefetchAnswer* answer = answer_of(user_data);
    EXPECT_NE(answer, nullptr);
    return answer == nullptr ? Code::kSystem : answer->status;
  }

  uint64_t filling_slots() {
    uint64_t filling = 0;
    core_->host().each_segment([&](const Segment& segment) {
      for (SlotId slot = segment.first; slot < segment.first + segment.slots; ++slot) {
        if (core_->host().slots()[slot].state.load() == SlotState::kFilling) ++filling;
      }
    });
    return filling;
  }
  // The first chunk that lies below only.
  uint64_t first_below(const Session& session, uint32_t space, uint64_t numbers) {
    for (uint64_t i = 0; i < numbers; ++i) {
      if (only_below(session, space, key_of(i))) return i;
    }
    ADD_FAILURE() << "nothing lies below only";
    return 0;
  }

  MemoryTier* below_ = nullptr;
  std::vector<PrefetchAnswer> answers_;
  uint64_t last_user_data_ = 1'000'000;
};

}  // namespace kvtier::daemon
