// Upwards: prefetches bring exactly what was stored or a miss, hold it, share reads, keep their
// deadlines, and leak nothing whatever happens to those who asked.
#include "tests/daemon/core/lower_fixture.hpp"

namespace kvtier::daemon {
namespace {

using wire::ReserveOutcome;

// Twelve chunks stored, at most eight of them in host memory.
class PromoteTest : public LowerTest {
 protected:
  void prepare(Sizes sizes = {}) {
    start_over(sizes);
    session_ = &attach();
    space_ = open_space(*session_);
    keep_all(*session_, space_, 0, 24);
    settle();
    for (uint64_t i = 0; i < 24; ++i) {
      if (only_below(*session_, space_, key_of(i))) lower_.push_back(i);
    }
    ASSERT_GE(lower_.size(), 16u);
  }
  TierPlace place_of(uint64_t number) {
    // Places are handed out in order of writing; the header below says which chunk it is.
    for (TierPlace place = 1; place <= 64; ++place) {
      if (!below_->holds(place)) continue;
      wire::ChunkHeader header;
      std::memcpy(&header, below_->bytes_at(place).data(), sizeof header);
      if (header.key == key_of(number)) return place;
    }
    ADD_FAILURE() << "chunk " << number << " has no place";
    return 0;
  }

  Session* session_ = nullptr;
  uint32_t space_ = 0;
  std::vector<uint64_t> lower_;
};

TEST_F(PromoteTest, APrefetchBringsTheSameBytesBack) {
  prepare();
  ASSERT_EQ(prefetch(*session_, space_, {lower_[0], lower_[1]}), Code::kOk);
  EXPECT_EQ(answers_.back().count, 2u);
  EXPECT_TRUE(right(*session_, space_, key_of(lower_[0])));
  EXPECT_TRUE(right(*session_, space_, key_of(lower_[1])));
  EXPECT_EQ(core_->counters().promoted, 2u);
  EXPECT_TRUE(lease(*session_, space_, key_of(lower_[0]), 0));
}

TEST_F(PromoteTest, WhatIsInHostMemoryIsAnsweredAtOnce) {
  prepare();
  uint64_t here = 23;
  ASSERT_TRUE(resident(*session_, space_, key_of(here)));
  begin_prefetch(*session_, 7, space_, {here});
  ASSERT_NE(answer_of(7), nullptr);
  EXPECT_EQ(answer_of(7)->status, Code::kOk);
  EXPECT_EQ(answer_of(7)->count, 1u);
}

TEST_F(PromoteTest, ARangeWithAnAbsentChunkIsRefusedWhole) {
  prepare();
  begin_prefetch(*session_, 7, space_, {lower_[0], 999});
  ASSERT_NE(answer_of(7), nullptr);
  EXPECT_EQ(answer_of(7)->status, Code::kNotFound);
  EXPECT_FALSE(core_->tier_active());
  EXPECT_EQ(filling_slots(), 0u);
  EXPECT_EQ(core_->counters().prefetch_absent, 1u);
}

TEST_F(PromoteTest, ARangeThatFindsNoSlotsIsRefusedWholeAndLeaksNone) {
  prepare();
  const uint64_t retired = tier().retired_slots;
  begin_prefetch(*session_, 7, space_,
                 {lower_[0], lower_[1], lower_[2], lower_[3], lower_[4], lower_[5], lower_[6],
                  lower_[7], lower_[8]});
  ASSERT_NE(answer_of(7), nullptr);
  EXPECT_EQ(answer_of(7)->status, Code::kFull);
  EXPECT_EQ(answer_of(7)->retry_after_us, 0u);  // so many never fit
  EXPECT_EQ(filling_slots(), 0u);
  EXPECT_EQ(tier().retired_slots, retired);
  EXPECT_EQ(prefetch(*session_, space_, {lower_[0]}), Code::kOk);
}

TEST_F(PromoteTest, TheOldestAnsweredPrefetchMakesRoomForAnother) {
  prepare();
  uint64_t here = 23;
  for (uint64_t id = 1; id <= Core::kPrefetchesMax + 5; ++id) {
    begin_prefetch(*session_, id, space_, {here});
    ASSERT_NE(answer_of(id), nullptr);
    EXPECT_EQ(answer_of(id)->status, Code::kOk) << id;
  }
  EXPECT_EQ(session_->prefetches, Core::kPrefetchesMax);
}

TEST_F(PromoteTest, SeveralWaitForOneRead) {
  prepare({.bandwidth = 1e8});
  Session& other = attach();
  begin_prefetch(*session_, 1, space_, {lower_[0]});
  begin_prefetch(other, 2, space_, {lower_[0]});
  begin_prefetch(other, 3, space_, {lower_[0], lower_[0]});
  EXPECT_EQ(filling_slots(), 1u);
  settle();
  for (const uint64_t id : {1u, 2u, 3u}) {
    ASSERT_NE(answer_of(id), nullptr);
    EXPECT_EQ(answer_of(id)->status, Code::kOk);
  }
  EXPECT_EQ(core_->counters().promoted, 1u);
  EXPECT_EQ(core_->counters().prefetch_joined, 3u);
}

TEST_F(PromoteTest, WhatWasBroughtIsHeldUntilItIsLeased) {
  prepare();
  ASSERT_EQ(prefetch(*session_, space_, {lower_[0], lower_[1]}), Code::kOk);
  EXPECT_NE(find(*session_, space_, key_of(lower_[0])).lower & wire::kPromoted, 0u);
  keep_all(*session_, space_, 100, 20);
  EXPECT_TRUE(right(*session_, space_, key_of(lower_[0])));
  ASSERT_TRUE(lease(*session_, space_, key_of(lower_[0]), 0));
  keep_all(*session_, space_, 120, 2);  // the lease was seen
  release(*session_, 0);
  EXPECT_EQ(find(*session_, space_, key_of(lower_[0])).lower & wire::kPromoted, 0u);
  keep_all(*session_, space_, 130, 20);
  EXPECT_TRUE(only_below(*session_, space_, key_of(lower_[0])));
  EXPECT_TRUE(resident(*session_, space_, key_of(lower_[1])));  // nobody leased it
}

TEST_F(PromoteTest, AHoldEndsAtItsDeadlineAndByCancelling) {
  prepare();
  const uint64_t now = clock_.now_ns();
  begin_prefetch(*session_, 1, space_, {lower_[0]}, now + 2'000'000'000);
  begin_prefetch(*session_, 2, space_, {lower_[1]}, now + 9'000'000'000);
  settle();
  keep_all(*session_, space_, 100, 20);
  EXPECT_TRUE(resident(*session_, space_, key_of(lower_[0])));
  clock_.advance_ns(3'000'000'000);
  core_->expire_prefetches();
  EXPECT_EQ(core_->counters().promoted_unused, 1u);
  keep_all(*session_, space_, 120, 20);
  EXPECT_FALSE(resident(*session_, space_, key_of(lower_[0])));
  EXPECT_TRUE(resident(*session_, space_, key_of(lower_[1])));
  EXPECT_TRUE(core_->cancel(*session_, 2).ok());
  EXPECT_EQ(core_->cancel(*session_, 2).code(), Code::kNotFound);
  keep_all(*session_, space_, 140, 20);
  EXPECT_FALSE(resident(*session_, space_, key_of(lower_[1])));
}

TEST_F(PromoteTest, ACancelledPrefetchIsAnsweredAndItsSlotWaitsForTheRead) {
  prepare({.latency_s = 0.05});
  begin_prefetch(*session_, 1, space_, {lower_[0]});
  Session& other = attach();
  EXPECT_EQ(core_->cancel(other, 1).code(), Code::kNotFound);
  ASSERT_TRUE(core_->cancel(*session_, 1).ok());
  EXPECT_EQ(answer_of(1)->status, Code::kRevoked);
  EXPECT_EQ(filling_slots(), 1u);
  pass(60'000'000);
  pass();
  EXPECT_EQ(filling_slots(), 0u);
}

TEST_F(PromoteTest, AHungTierKeepsItsSlotsAndNobodyElseWaits) {
  prepare({.latency_s = 0});
  below_->set_latency(3600);
  const uint64_t now = clock_.now_ns();
  begin_prefetch(*session_, 1, space_, {lower_[0]}, now + 50'000'000);
  EXPECT_EQ(core_->next_deadline_ns(), now + 50'000'000);
  pass(40'000'000);
  EXPECT_EQ(answer_of(1), nullptr);
  pass(20'000'000);
  ASSERT_NE(answer_of(1), nullptr);
  EXPECT_EQ(answer_of(1)->status, Code::kDeadline);
  EXPECT_EQ(filling_slots(), 1u);
  begin_prefetch(*session_, 2, space_, {23});
  EXPECT_EQ(answer_of(2)->status, Code::kOk);
  core_->tick();
  EXPECT_EQ(filling_slots(), 1u);
  pass(3'600'000'000'000);
  pass();
  EXPECT_EQ(filling_slots(), 0u);
  EXPECT_TRUE(right(*session_, space_, key_of(lower_[0])));  // it came after all
}

TEST_F(PromoteTest, ASessionThatEndsMidwayLeaksNothing) {
  prepare({.latency_s = 0.05});
  Session& dying = attach(1000, 7);
  begin_prefetch(dying, 1, space_, {lower_[0], lower_[1]});
  begin_prefetch(*session_, 2, space_, {lower_[1]});
  core_->orphan_session(dying);
  core_->remove_session(dying);
  EXPECT_EQ(filling_slots(), 2u);
  pass(60'000'000);
  pass();
  EXPECT_EQ(filling_slots(), 0u);
  EXPECT_EQ(answer_of(2)->status, Code::kOk);
  EXPECT_FALSE(core_->tier_active());
  ASSERT_TRUE(core_->cancel(*session_, 2).ok());
  keep_all(*session_, space_, 100, 20);
  EXPECT_EQ(tier().retired_slots, 0u);
}

TEST_F(PromoteTest, DamagedBytesBelowAreAMissAndCounted) {
  prepare();
  below_->bytes_at(place_of(lower_[0]))[4096 + 77] ^= std::byte{1};
  EXPECT_EQ(prefetch(*session_, space_, {lower_[0]}), Code::kCorrupt);
  EXPECT_EQ(find(*session_, space_, key_of(lower_[0])).found, wire::Found::kAbsent);
  EXPECT_EQ(core_->counters().corrupt_nvme_checksum, 1u);
  EXPECT_EQ(filling_slots(), 0u);
  EXPECT_EQ(prefetch(*session_, space_, {lower_[0]}), Code::kNotFound);
  EXPECT_EQ(keep(*session_, space_, key_of(lower_[0])), ReserveOutcome::kGranted);
}

TEST_F(PromoteTest, EveryByteOfTheHeaderIsChecked) {
  for (const size_t byte :
       {0u, 8u, 12u, 16u, 24u, 32u, 48u, 64u, 72u, 80u, 112u, 120u, 124u, 256u}) {
    SCOPED_TRACE(byte);
    lower_.clear();
    prepare();
    below_->bytes_at(place_of(lower_[0]))[byte] ^= std::byte{1};
    const Code status = prefetch(*session_, space_, {lower_[0]});
    EXPECT_EQ(status, Code::kCorrupt);
    EXPECT_EQ(core_->counters().corrupt_nvme_header, 1u);
    EXPECT_EQ(find(*session_, space_, key_of(lower_[0])).found, wire::Found::kAbsent);
  }
}

TEST_F(PromoteTest, AnotherWholeChunkInThePlaceIsAMiss) {
  prepare();
  below_->bytes_at(place_of(lower_[0])) = below_->bytes_at(place_of(lower_[1]));
  EXPECT_EQ(prefetch(*session_, space_, {lower_[0]}), Code::kCorrupt);
  EXPECT_EQ(core_->counters().corrupt_nvme_header, 1u);
  EXPECT_EQ(prefetch(*session_, space_, {lower_[1]}), Code::kOk);
  EXPECT_TRUE(right(*session_, space_, key_of(lower_[1])));
}

TEST_F(PromoteTest, WhatAClientScribbledAfterItsCommitIsFoundOnTheWayUp) {
  start_over({});
  Session& session = attach();
  const uint32_t space = open_space(session);
  keep_all(session, space, 0, 1);
  payload(session, find(session, space, key_of(0)).place.word())[5] ^= std::byte{1};
  keep_all(session, space, 1, 20);
  settle();
  ASSERT_TRUE(only_below(session, space, key_of(0)));
  EXPECT_EQ(prefetch(session, space, {0}), Code::kCorrupt);
  EXPECT_EQ(core_->counters().corrupt_nvme_checksum, 1u);
}

TEST_F(PromoteTest, APlaceThatVanishedIsAMiss) {
  prepare();
  below_->forget(place_of(lower_[0]));
  EXPECT_EQ(prefetch(*session_, space_, {lower_[0]}), Code::kNotFound);
  EXPECT_EQ(find(*session_, space_, key_of(lower_[0])).found, wire::Found::kAbsent);
  EXPECT_EQ(core_->counters().reads_stale, 1u);
  EXPECT_EQ(filling_slots(), 0u);
}

TEST_F(PromoteTest, WithoutServiceAPrefetchIsRefusedAndLaterServed) {
  prepare();
  below_->set_in_service(false);
  core_->tick();
  begin_prefetch(*session_, 1, space_, {lower_[0]});
  EXPECT_EQ(answer_of(1)->status, Code::kUnavailable);
  EXPECT_EQ(core_->counters().prefetch_unserved, 1u);
  below_->set_in_service(true);
  core_->tick();
  EXPECT_EQ(prefetch(*session_, space_, {lower_[0]}), Code::kOk);
}

TEST_F(PromoteTest, ServiceLostBeforeAReadBeganIsAMissThatStaysBelow) {
  prepare({.queue_max = 1});
  below_->set_latency(0.01);
  begin_prefetch(*session_, 1, space_, {lower_[0], lower_[1]});
  below_->set_in_service(false);
  pass(20'000'000);
  pass();
  ASSERT_NE(answer_of(1), nullptr);
  EXPECT_EQ(answer_of(1)->status, Code::kUnavailable);
  EXPECT_GE(core_->counters().reads_unserved, 1u);
  EXPECT_TRUE(only_below(*session_, space_, key_of(lower_[1])));
  EXPECT_EQ(filling_slots(), 0u);
}

TEST_F(PromoteTest, ShardsComeUpTogether) {
  start_over({.host_slots = 16, .below_chunks = 64});
  Session& session = attach();
  const uint32_t left = open_space(session, "m", 0, 2);
  const uint32_t right_shard = open_space(session, "m", 1, 2);
  for (uint64_t i = 0; i < 24; ++i) {
    ASSERT_EQ(keep(session, left, key_of(i)), ReserveOutcome::kGranted);
    ASSERT_EQ(keep(session, right_shard, key_of(i)), ReserveOutcome::kGranted);
  }
  settle();
  const uint64_t number = first_below(session, left, 24);
  ASSERT_TRUE(only_below(session, right_shard, key_of(number)));
  ASSERT_EQ(prefetch(session, left, {number}), Code::kOk);
  EXPECT_TRUE(right(session, left, key_of(number)));
  EXPECT_TRUE(right(session, right_shard, key_of(number)));
}

TEST_F(PromoteTest, AChunkStoredAgainWhileItLiesBelowIsServedFromHostMemory) {
  prepare();
  ASSERT_EQ(keep(*session_, space_, key_of(lower_[0])), ReserveOutcome::kGranted);
  EXPECT_TRUE(right(*session_, space_, key_of(lower_[0])));
  EXPECT_EQ(reserve(*session_, space_, key_of(lower_[0])).outcome, ReserveOutcome::kPresent);
  keep_all(*session_, space_, 100, 20);
  EXPECT_TRUE(only_below(*session_, space_, key_of(lower_[0])));
  ASSERT_EQ(prefetch(*session_, space_, {lower_[0]}), Code::kOk);
  EXPECT_TRUE(right(*session_, space_, key_of(lower_[0])));
}

TEST_F(PromoteTest, AStoreThatBeganBeforeThePrefetchWins) {
  prepare({.latency_s = 0.01});
  const ChunkKey key = key_of(lower_[0]);
  const Reserved granted = reserve_patiently(*session_, space_, key);
  ASSERT_EQ(granted.outcome, ReserveOutcome::kGranted);
  begin_prefetch(*session_, 1, space_, {lower_[0]});
  EXPECT_EQ(reserve(*session_, space_, key_of(lower_[0])).outcome, ReserveOutcome::kInProgress);
  fill(payload(*session_, granted.place), key, kPayload);
  ASSERT_EQ(commit(*session_, granted.place), wire::CommitOutcome::kStored);
  pass(20'000'000);
  pass();
  EXPECT_EQ(answer_of(1)->status, Code::kOk);
  EXPECT_EQ(find(*session_, space_, key).place.word(), granted.place);
  EXPECT_EQ(filling_slots(), 0u);
}

TEST_F(PromoteTest, AChunkDroppedOnItsWayUpStaysAway) {
  prepare({.latency_s = 0.01});
  begin_prefetch(*session_, 1, space_, {lower_[0]});
  // Stored meanwhile, then dropped by an operator: entry and places go while the read is under way.
  const ChunkKey key = key_of(lower_[1]);
  begin_prefetch(*session_, 2, space_, {lower_[1]});
  ASSERT_TRUE(core_->flush("").ok());
  pass(20'000'000);
  pass();
  EXPECT_NE(answer_of(2), nullptr);
  EXPECT_EQ(filling_slots(), 0u);
  (void)key;
}

TEST_F(PromoteTest, ThePlaceOfAChunkBeingReadIsNotGivenToAnother) {
  start_over({.host_slots = 8, .below_chunks = 12});
  Session& session = attach();
  const uint32_t space = open_space(session);
  keep_all(session, space, 0, 14);
  settle();
  const uint64_t number = first_below(session, space, 14);
  below_->set_latency(0.1);
  begin_prefetch(session, 1, space, {number});
  below_->set_latency(0);
  keep_all(session, space, 100, 4);
  for (int i = 0; i < 100 && answer_of(1) == nullptr; ++i) pass(10'000'000);
  ASSERT_NE(answer_of(1), nullptr);
  EXPECT_EQ(answer_of(1)->status, Code::kOk);
  EXPECT_TRUE(right(session, space, key_of(number)));
  EXPECT_EQ(core_->counters().corrupt_nvme_header + core_->counters().corrupt_nvme_checksum, 0u);
}

TEST_F(PromoteTest, TheCostBoardShowsWhatReadsTake) {
  prepare({.bandwidth = 2e8});
  for (int i = 0; i < 12; ++i) {
    ASSERT_EQ(prefetch(*session_, space_, {lower_[static_cast<size_t>(i)]}), Code::kOk);
    ASSERT_TRUE(core_->cancel(*session_, last_user_data_).ok());
    keep_all(*session_, space_, 200 + 8 * static_cast<uint64_t>(i), 2);
  }
  core_->tick();
  const auto& cost = view(*session_).board->tiers[static_cast<size_t>(wire::Tier::kNvme)];
  EXPECT_GT(cost.samples.load(), 0u);
  const double bandwidth = wire::bits_double(cost.bandwidth_bytes_per_s.load());
  EXPECT_GT(bandwidth, 2e7);
  EXPECT_LT(bandwidth, 2.1e8);
}

// --- Scrubbing

TEST_F(LowerTest, AScrubReadsEverythingOnceAtItsRateAndForgetsWhatIsWrong) {
  start_over({.host_slots = 8, .below_chunks = 64});
  Session& session = attach();
  const uint32_t space = open_space(session);
  keep_all(session, space, 0, 40);
  settle();
  const uint64_t below = core_->snapshot().tiers[1].chunks;
  TierPlace place = 1;
  while (!below_->holds(place)) ++place;
  below_->bytes_at(place)[6000] ^= std::byte{1};
  EXPECT_EQ(core_->scrub(0).ok(), true) << "nothing to end";
  ASSERT_TRUE(core_->scrub(1 << 20).ok());  // 16 chunks a second
  for (int i = 0; i < 10; ++i) {
    clock_.advance_ns(100'000'000);
    core_->tick();
    pass();
  }
  const uint64_t after_a_second = core_->counters().scrubbed;
  EXPECT_GE(after_a_second, 8u);
  EXPECT_LE(after_a_second, 18u);
  for (int i = 0; i < 100 && core_->snapshot().tiers[1].scrub.running; ++i) {
    clock_.advance_ns(100'000'000);
    core_->tick();
    pass();
  }
  const ScrubSnapshot scrub = core_->snapshot().tiers[1].scrub;
  EXPECT_FALSE(scrub.running);
  EXPECT_EQ(scrub.checked, below);
  EXPECT_EQ(scrub.bad, 1u);
  EXPECT_EQ(scrub.passes, 1u);
  EXPECT_EQ(core_->snapshot().tiers[1].chunks, below - 1);
  EXPECT_EQ(core_->counters().corrupt_nvme_checksum, 1u);
}

TEST_F(LowerTest, AScrubOfAHangingTierHurtsNobody) {
  start_over({.host_slots = 8, .below_chunks = 64});
  Session& session = attach();
  const uint32_t space = open_space(session);
  keep_all(session, space, 0, 20);
  settle();
  ASSERT_TRUE(core_->scrub(1 << 30).ok());
  below_->set_in_service(false);
  for (int i = 0; i < 20; ++i) {
    clock_.advance_ns(100'000'000);
    core_->tick();
    pass();
  }
  EXPECT_EQ(core_->counters().corrupt_nvme_checksum + core_->counters().corrupt_nvme_header, 0u);
  below_->set_in_service(true);
  for (int i = 0; i < 100 && core_->snapshot().tiers[1].scrub.running; ++i) {
    clock_.advance_ns(100'000'000);
    core_->tick();
    pass();
  }
  EXPECT_FALSE(core_->snapshot().tiers[1].scrub.running);
  EXPECT_EQ(core_->snapshot().tiers[1].scrub.bad, 0u);
}

}  // namespace
}  // namespace kvtier::daemon
