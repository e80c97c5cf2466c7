// LRU: the order of victims, filters, ids that come back.
#include "daemon/policy/lru.hpp"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace kvtier::daemon {
namespace {

class Without final : public VictimFilter {
 public:
  explicit Without(std::set<SlotId> refused) : refused_(std::move(refused)) {}
  bool may_evict(SlotId slot) const override { return !refused_.contains(slot); }

 private:
  std::set<SlotId> refused_;
};

std::vector<SlotId> victims(Policy& policy, size_t count, std::set<SlotId> refused = {}) {
  std::vector<SlotId> out(count);
  out.resize(policy.victims(out, Without(std::move(refused))));
  return out;
}

TEST(Lru, TheLeastRecentlyUsedGoesFirst) {
  LruPolicy lru;
  for (SlotId slot = 0; slot < 4; ++slot) lru.inserted(slot, {});
  lru.touched(0, 0);
  lru.touched(2, 0);
  EXPECT_EQ(victims(lru, 4), (std::vector<SlotId>{1, 3, 0, 2}));
  EXPECT_EQ(victims(lru, 2), (std::vector<SlotId>{1, 3}));
}

TEST(Lru, APathTouchedTailToHeadLosesItsLeavesFirst) {
  LruPolicy lru;
  for (SlotId slot = 3; slot != kNoSlot; --slot) lru.inserted(slot, {});
  EXPECT_EQ(victims(lru, 4), (std::vector<SlotId>{3, 2, 1, 0}));
}

TEST(Lru, RefusedSlotsAreLeftOutAndStay) {
  LruPolicy lru;
  for (SlotId slot = 0; slot < 4; ++slot) lru.inserted(slot, {});
  EXPECT_EQ(victims(lru, 2, {0, 2}), (std::vector<SlotId>{1, 3}));
  EXPECT_EQ(victims(lru, 4), (std::vector<SlotId>{0, 1, 2, 3}));
}

TEST(Lru, RemovedSlotsMayComeBackAsOtherChunks) {
  LruPolicy lru;
  lru.inserted(7, {});
  lru.inserted(8, {});
  lru.removed(7, Removal::kEvicted);
  lru.touched(7, 0);
  EXPECT_EQ(victims(lru, 4), (std::vector<SlotId>{8}));
  lru.inserted(7, {});
  EXPECT_EQ(victims(lru, 4), (std::vector<SlotId>{8, 7}));
  lru.removed(8, Removal::kDropped);
  lru.removed(7, Removal::kDropped);
  lru.removed(7, Removal::kDropped);
  EXPECT_TRUE(victims(lru, 4).empty());
}

TEST(Lru, OutlookMovesAChunkToAnEnd) {
  LruPolicy lru;
  for (SlotId slot = 0; slot < 3; ++slot) lru.inserted(slot, {});
  lru.hinted(2, Policy::Outlook::kNever);
  lru.hinted(0, Policy::Outlook::kSoon);
  EXPECT_EQ(victims(lru, 3), (std::vector<SlotId>{2, 1, 0}));
}

TEST(Policies, AnUnknownNameIsRefusedWithTheNamesThereAre) {
  const auto policy = make_policy("mru");
  ASSERT_FALSE(policy.ok());
  EXPECT_EQ(policy.code(), Code::kNotFound);
  EXPECT_NE(std::string(policy.error().message()).find("lru"), std::string::npos);
}

}  // namespace
}  // namespace kvtier::daemon
