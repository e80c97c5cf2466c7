// Downwards: what leaves host memory lies below, what cannot is dropped and counted.
#include "tests/daemon/core/lower_fixture.hpp"

namespace kvtier::daemon {
namespace {

using wire::ReserveOutcome;

TEST_F(LowerTest, WhatLeavesHostMemoryLiesBelowAndItsEntryLives) {
  start_over({.host_slots = 8, .below_chunks = 64});
  Session& session = attach();
  const uint32_t space = open_space(session);
  keep_all(session, space, 0, 40);
  settle();
  uint64_t host = 0;
  uint64_t lower = 0;
  for (uint64_t i = 0; i < 40; ++i) {
    if (resident(session, space, key_of(i))) {
      ++host;
      EXPECT_TRUE(right(session, space, key_of(i)));
    } else {
      EXPECT_TRUE(only_below(session, space, key_of(i))) << i;
      ++lower;
    }
  }
  EXPECT_LE(host, 8u);
  EXPECT_EQ(host + lower, 40u);
  EXPECT_EQ(core_->counters().dropped_behind, 0u);
  EXPECT_EQ(core_->snapshot().tiers[1].chunks, core_->counters().demoted);
}

TEST_F(LowerTest, OldChunksAreWrittenBeforeTheirSlotsAreNeeded) {
  start_over({.host_slots = 16});
  Session& session = attach();
  const uint32_t space = open_space(session);
  keep_all(session, space, 0, 16);
  settle();
  EXPECT_GT(core_->counters().demoted, 0u);
  EXPECT_LT(core_->counters().demoted, 16u);
  // Clean chunks are freed in an instant: no busy in between.
  EXPECT_EQ(reserve(session, space, key_of(100)).outcome, ReserveOutcome::kGranted);
}

TEST_F(LowerTest, AChunkThatIsBeingWrittenKeepsItsSlotAndServesReaders) {
  start_over({.host_slots = 8, .bandwidth = 1e6});  // 64 ms a chunk
  Session& session = attach();
  const uint32_t space = open_space(session);
  for (uint64_t i = 0; i < 8; ++i) keep(session, space, key_of(i));
  EXPECT_EQ(reserve(session, space, key_of(100)).outcome, ReserveOutcome::kBusy);
  for (uint64_t i = 0; i < 8; ++i) EXPECT_TRUE(right(session, space, key_of(i)));
  pass(70'000'000);
  EXPECT_EQ(reserve(session, space, key_of(100)).outcome, ReserveOutcome::kGranted);
  EXPECT_TRUE(only_below(session, space, key_of(0)));
}

TEST_F(LowerTest, HostMemoryIsRegisteredWithTheTierWhileItLives) {
  start_over({.host_slots = 1024, .below_chunks = 4096, .bandwidth = 1e11});  // two segments
  Session& one = attach(1000);
  const uint32_t space = open_space(one);
  keep_all(one, space, 0, 1000);
  core_->tick();
  const uint64_t whole = core_->snapshot().tiers[0].allocated_bytes;
  EXPECT_EQ(below_->registered_bytes(), whole);
  // Another tenant's segment takes the place of the first one's.
  Session& other = attach(1001, 101);
  const uint32_t its = open_space(other);
  for (uint64_t i = 0; i < 600; ++i) {
    keep(other, its, key_of(i));
    core_->tick();
  }
  EXPECT_GT(core_->counters().segments_freed, 0u);
  settle();
  core_->tick();
  EXPECT_EQ(below_->registered_bytes(), core_->snapshot().tiers[0].allocated_bytes);
}

TEST_F(LowerTest, MemoryThatTheTierDoesNotRegisterIsUsedAllTheSame) {
  start_over({.host_slots = 8});
  below_->set_registered_max(0);
  Session& session = attach();
  const uint32_t space = open_space(session);
  keep_all(session, space, 0, 4);
  core_->tick();
  keep_all(session, space, 4, 20);
  settle();
  EXPECT_EQ(below_->registered_bytes(), 0u);
  EXPECT_GT(core_->counters().demoted, 0u);
}

TEST_F(LowerTest, WhenBehindMayMeanDropTheOldest) {
  start_over({.host_slots = 8, .when_behind = WhenBehind::kDrop, .bandwidth = 1e3});
  Session& session = attach();
  const uint32_t space = open_space(session);
  keep_all(session, space, 0, 8);
  const uint64_t busy = core_->counters().busy;  // while the segment was made
  keep_all(session, space, 8, 24);
  EXPECT_GE(core_->counters().dropped_behind, 10u);
  EXPECT_EQ(core_->counters().busy, busy);
}

TEST_F(LowerTest, AnUnverifiedChunkDoesNotGoDown) {
  start_over({.host_slots = 8});
  Session& session = attach();
  const uint32_t space = open_space(session);
  for (uint64_t i = 0; i < 8; ++i) {
    const Reserved reserved = reserve_patiently(session, space, key_of(i));
    ASSERT_EQ(reserved.outcome, ReserveOutcome::kGranted);
    commit(session, reserved.place, false);
  }
  core_->poll_tier();
  EXPECT_EQ(below_->capacity().queued_bytes, 0u);
  settle();  // workers hash them
  keep_all(session, space, 100, 8);
  EXPECT_GT(core_->counters().demoted, 0u);
}

TEST_F(LowerTest, TheCapacityBelowIsNeverExceededAndTheOldestGo) {
  start_over({.host_slots = 8, .below_chunks = 20});
  Session& session = attach();
  const uint32_t space = open_space(session);
  for (uint64_t i = 0; i < 200; ++i) {
    ASSERT_EQ(keep(session, space, key_of(i)), ReserveOutcome::kGranted);
    const TierCapacity now = below_->capacity();
    ASSERT_LE(now.used_bytes, now.capacity_bytes);
  }
  settle();
  EXPECT_GT(core_->counters().lower_evicted, 100u);
  EXPECT_FALSE(below(session, space, key_of(0)));
  EXPECT_EQ(find(session, space, key_of(0)).found, wire::Found::kAbsent);
  const CoreSnapshot shown = core_->snapshot();
  uint64_t known = 0;
  for (uint64_t i = 0; i < 200; ++i) {
    if (find(session, space, key_of(i)).found != wire::Found::kAbsent) ++known;
  }
  EXPECT_EQ(known, shown.tenants[0].index_entries);
}

TEST_F(LowerTest, AUsedChunkOutlivesAnUnusedOneBelow) {
  start_over({.host_slots = 8, .below_chunks = 16});
  Session& session = attach();
  const uint32_t space = open_space(session);
  keep_all(session, space, 0, 12);
  settle();
  const uint64_t used = first_below(session, space, 12);
  for (uint64_t i = 20; i < 60; ++i) {
    if (only_below(session, space, key_of(used))) {
      ASSERT_EQ(prefetch(session, space, {used}), Code::kOk);
    }
    touch(session, find(session, space, key_of(used)).place.word());
    ASSERT_EQ(keep(session, space, key_of(i)), ReserveOutcome::kGranted);
  }
  EXPECT_NE(find(session, space, key_of(used)).found, wire::Found::kAbsent);
}

TEST_F(LowerTest, ATierOutOfServiceCostsChunksNotStores) {
  start_over({.host_slots = 8});
  Session& session = attach();
  const uint32_t space = open_space(session);
  keep_all(session, space, 0, 8);
  settle();
  below_->set_in_service(false);
  core_->tick();
  for (uint64_t i = 100; i < 140; ++i) {
    ASSERT_EQ(keep(session, space, key_of(i)), ReserveOutcome::kGranted) << i;
  }
  EXPECT_GT(core_->counters().dropped_unserved, 0u);
  EXPECT_EQ(core_->snapshot().tiers[1].state, "degraded");
  const uint64_t down = view(session).board->tiers_down.load();
  EXPECT_EQ(down, uint64_t{1} << static_cast<int>(wire::Tier::kNvme));
  below_->set_in_service(true);
  core_->tick();
  EXPECT_EQ(view(session).board->tiers_down.load(), 0u);
  const uint64_t before = core_->counters().demoted;
  keep_all(session, space, 200, 20);
  EXPECT_GT(core_->counters().demoted, before);
}

TEST_F(LowerTest, ShardsGoDownTogether) {
  start_over({.host_slots = 8, .below_chunks = 64});
  Session& session = attach();
  const uint32_t left = open_space(session, "m", 0, 2);
  const uint32_t right_shard = open_space(session, "m", 1, 2);
  for (uint64_t i = 0; i < 20; ++i) {
    ASSERT_EQ(keep(session, left, key_of(i)), ReserveOutcome::kGranted);
    ASSERT_EQ(keep(session, right_shard, key_of(i)), ReserveOutcome::kGranted);
  }
  settle();
  for (uint64_t i = 0; i < 18; ++i) {
    EXPECT_EQ(resident(session, left, key_of(i)), resident(session, right_shard, key_of(i))) << i;
    EXPECT_EQ(below(session, left, key_of(i)), below(session, right_shard, key_of(i))) << i;
  }
}

TEST_F(LowerTest, PinnedAndLeasedChunksMayBeWrittenButStay) {
  start_over({.host_slots = 8, .below_chunks = 64, .demote_idle_after_ns = 1'000'000});
  Session& session = attach();
  const uint32_t space = open_space(session);
  keep_all(session, space, 0, 4);
  const wire::KeyArg pinned = {key_of(0)};
  ASSERT_TRUE(core_->hint(session, space, {&pinned, 1}, wire::HintKind::kPin, 100).ok());
  ASSERT_TRUE(lease(session, space, key_of(1), 0));
  pass(10'000'000);
  core_->tick();
  settle();
  EXPECT_TRUE(below(session, space, key_of(0)));
  EXPECT_TRUE(below(session, space, key_of(1)));
  keep_all(session, space, 10, 30);
  EXPECT_TRUE(right(session, space, key_of(0)));
  EXPECT_TRUE(right(session, space, key_of(1)));
}

TEST_F(LowerTest, IdleChunksAreWrittenByOption) {
  start_over({.host_slots = 16, .demote_idle_after_ns = 5'000'000});
  Session& session = attach();
  const uint32_t space = open_space(session);
  keep_all(session, space, 0, 5);
  core_->tick();
  EXPECT_EQ(core_->counters().demoted, 0u);
  pass(6'000'000);
  for (int i = 0; i < 4; ++i) {
    core_->tick();
    settle();
  }
  EXPECT_EQ(core_->counters().demoted, 5u);
}

TEST_F(LowerTest, AChunkDroppedWhileItIsWrittenIsNotLeftBelow) {
  start_over({.host_slots = 8, .demote_idle_after_ns = 1, .bandwidth = 1e6});
  Session& session = attach();
  const uint32_t space = open_space(session);
  keep_all(session, space, 0, 1);
  clock_.advance_ns(10);
  core_->tick();
  ASSERT_TRUE(core_->tier_active());
  ASSERT_TRUE(core_->flush("").ok());
  EXPECT_EQ(tier().retired_slots, 1u);  // held: the tier still reads it
  settle(200);
  core_->tick();
  EXPECT_EQ(tier().retired_slots, 0u);
  EXPECT_EQ(below_->capacity().used_bytes, 0u);
  EXPECT_EQ(find(session, space, key_of(0)).found, wire::Found::kAbsent);
}

TEST_F(LowerTest, OperatorsSeeAndDropWhatLiesBelow) {
  start_over({.host_slots = 8, .below_chunks = 64});
  Session& session = attach();
  const uint32_t space = open_space(session);
  keep_all(session, space, 0, 30);
  settle();
  const uint64_t number = first_below(session, space, 30);
  char digits[33];
  std::snprintf(digits, sizeof digits, "%016llx%016llx",
                static_cast<unsigned long long>(key_of(number).hi),
                static_cast<unsigned long long>(key_of(number).lo));
  const auto shown = core_->show_chunk(digits);
  ASSERT_EQ(shown.size(), 1u);
  EXPECT_EQ(shown[0].tier, "nvme");
  EXPECT_EQ(shown[0].payload_bytes, kPayload);
  EXPECT_EQ(core_->act_on_chunk(digits, ChunkAction::kDrop, 0).value(), 1u);
  EXPECT_EQ(find(session, space, key_of(number)).found, wire::Found::kAbsent);
  EXPECT_EQ(core_->flush("").value(), 29u);
  EXPECT_EQ(core_->snapshot().tenants[0].index_entries, 0u);
  EXPECT_EQ(below_->capacity().used_bytes, 0u);
}

}  // namespace
}  // namespace kvtier::daemon
