// Segments: sizes, growth while serving, draining, ids and generations.
#include "daemon/tiers/host_tier.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace kvtier::daemon {
namespace {

using wire::KiB;
using wire::MiB;

class Listener final : public SegmentListener {
 public:
  Status segment_made(const Segment&) override { return made; }
  Status made;
  void segment_created(const Segment& segment) override { uids[segment.number] = segment.uid; }
  void segment_freed(const Segment& segment) override { uids.erase(segment.number); }
  std::map<uint32_t, uint64_t> uids;
};

class HostTierTest : public testing::Test {
 protected:
  void start(uint64_t capacity, uint64_t segment_min = 32 * MiB) {
    HostTierOptions options;
    options.capacity_bytes = capacity;
    options.segment_bytes_min = segment_min;
    options.huge_pages = Want::kNever;
    options.lock = Want::kNever;
    options.slots_max = 100000;
    auto tier = HostTier::create(options, *executor_, listener_);
    ASSERT_TRUE(tier.ok()) << tier.error().message();
    tier_ = std::move(tier).value();
  }
  void settle() {
    while (executor_->pending() > 0) executor_->complete();
  }

  std::unique_ptr<Executor> executor_ = make_inline_executor();
  Listener listener_;
  std::unique_ptr<HostTier> tier_;
};

TEST_F(HostTierTest, SegmentsAreAtLeastEightSlotsThirtyTwoMegabytesAndAHundredTwentyEighth) {
  start(8 * wire::GiB);
  EXPECT_EQ(tier_->segment_bytes_for(64 * KiB), 64 * MiB);
  EXPECT_EQ(tier_->segment_bytes_for(36 * MiB), 512 * MiB);
  start(1 * wire::GiB);
  EXPECT_EQ(tier_->segment_bytes_for(64 * KiB), 32 * MiB);
}

TEST_F(HostTierTest, ASmallPoolGetsSmallerSegmentsDownToOneSlot) {
  start(64 * MiB);
  EXPECT_EQ(tier_->segment_bytes_for(36 * MiB), 64 * MiB);
  start(36 * MiB);
  EXPECT_GT(tier_->segment_bytes_for(40 * MiB), 36 * MiB);
  EXPECT_EQ(tier_->grow(0, 40 * MiB, 1), Growth::kTooSmall);
}

TEST_F(HostTierTest, FirstSlotsServeWhileTheRestIsPopulated) {
  start(64 * MiB);
  EXPECT_EQ(tier_->take(0, 64 * KiB), kNoSlot);
  EXPECT_EQ(tier_->grow(0, 64 * KiB, 1), Growth::kStarted);
  EXPECT_EQ(tier_->grow(0, 64 * KiB, 1), Growth::kUnderWay);
  executor_->complete();  // created
  executor_->complete();  // the first pieces
  const SlotId slot = tier_->take(0, 64 * KiB);
  ASSERT_NE(slot, kNoSlot);
  EXPECT_TRUE(tier_->growing(0, 64 * KiB));
  EXPECT_EQ(tier_->slot_at(0, tier_->place(slot)), slot);
  EXPECT_EQ(tier_->slot_at(1, tier_->place(slot)), kNoSlot);
  settle();
  EXPECT_FALSE(tier_->growing(0, 64 * KiB));
  std::set<SlotId> taken = {slot};
  for (SlotId next = tier_->take(0, 64 * KiB); next != kNoSlot; next = tier_->take(0, 64 * KiB)) {
    EXPECT_TRUE(taken.insert(next).second);
  }
  EXPECT_EQ(taken.size(), 512u);
}

TEST_F(HostTierTest, CapacityIsNeverExceeded) {
  start(96 * MiB);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(tier_->grow(static_cast<TenantNumber>(i), 64 * KiB, 1), Growth::kStarted);
    settle();
  }
  EXPECT_EQ(tier_->allocated_bytes(), 96 * MiB);
  EXPECT_EQ(tier_->grow(4, 64 * KiB, 1), Growth::kNoRoom);
}

TEST_F(HostTierTest, ADrainedSegmentIsFreedWithItsLastSlotAndItsGenerationsGoOn) {
  start(32 * MiB);
  ASSERT_EQ(tier_->grow(0, 64 * KiB, 1), Growth::kStarted);
  settle();
  const SlotId slot = tier_->take(0, 64 * KiB);
  tier_->slots()[slot].generation = 41;
  const wire::Place before = tier_->place(slot);
  const uint64_t uid = listener_.uids.at(0);
  tier_->drain(tier_->segment_of(slot));
  EXPECT_EQ(tier_->take(0, 64 * KiB), kNoSlot);
  EXPECT_EQ(tier_->allocated_bytes(), 32 * MiB);
  tier_->give_back(slot);
  EXPECT_EQ(tier_->allocated_bytes(), 0u);
  EXPECT_TRUE(listener_.uids.empty());
  EXPECT_EQ(tier_->slot_at(0, before), kNoSlot);

  ASSERT_EQ(tier_->grow(0, 128 * KiB, 2), Growth::kStarted);
  settle();
  EXPECT_NE(listener_.uids.at(0), uid);
  const SlotId again = tier_->take(0, 128 * KiB);
  EXPECT_GE(tier_->slots()[again].generation, 41u);
}

TEST_F(HostTierTest, ASegmentDrainedWhileItsLastPieceIsPopulatedIsNoGrowthForEver) {
  start(64 * MiB);
  ASSERT_EQ(tier_->grow(0, 64 * KiB, 1), Growth::kStarted);
  executor_->complete();  // created
  executor_->complete();  // the first pieces; the last ones are under way
  const SlotId slot = tier_->take(0, 64 * KiB);
  ASSERT_NE(slot, kNoSlot);
  ASSERT_TRUE(tier_->growing(0, 64 * KiB));
  tier_->drain(tier_->segment_of(slot));
  settle();
  EXPECT_FALSE(tier_->growing(0, 64 * KiB));
  tier_->give_back(slot);
  EXPECT_EQ(tier_->allocated_bytes(), 0u);
  EXPECT_EQ(tier_->grow(0, 64 * KiB, 2), Growth::kStarted);
  settle();
  EXPECT_FALSE(tier_->growing(0, 64 * KiB));
}

TEST_F(HostTierTest, MemoryThatCannotBeHadIsReportedAndTriedAgainLater) {
  HostTierOptions options;
  options.capacity_bytes = 64 * MiB;
  options.huge_pages = Want::kRequire;
  options.slots_max = 4;  // less than a segment needs, if huge pages should exist here
  auto tier = HostTier::create(options, *executor_, listener_);
  ASSERT_TRUE(tier.ok());
  EXPECT_EQ((*tier)->grow(0, 64 * KiB, 1), Growth::kStarted);
  while (executor_->pending() > 0) executor_->complete();
  EXPECT_FALSE((*tier)->message().empty());
  EXPECT_EQ((*tier)->allocated_bytes(), 0u);
  EXPECT_EQ((*tier)->grow(0, 64 * KiB, 2), Growth::kFailed);
  EXPECT_EQ((*tier)->grow(0, 64 * KiB, 3'000'000'000), Growth::kStarted);
  while (executor_->pending() > 0) executor_->complete();
}

TEST(SlotTable, RunsAreMergedWhenGivenBack) {
  auto table = SlotTable::create(100, 1);
  ASSERT_TRUE(table.ok());
  SlotTable& slots = **table;
  EXPECT_EQ(slots.take_run(40), SlotId{0});
  EXPECT_EQ(slots.take_run(40), SlotId{40});
  EXPECT_FALSE(slots.take_run(40).has_value());
  slots.give_back_run(0, 40);
  slots.give_back_run(40, 40);
  EXPECT_EQ(slots.take_run(80), SlotId{0});
  EXPECT_EQ(slots.take_run(20), SlotId{80});
}

}  // namespace
}  // namespace kvtier::daemon
