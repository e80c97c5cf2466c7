// What every policy keeps to, by name, and what the ones with memory do.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "daemon/policy/adaptive.hpp"
#include "daemon/policy/admission.hpp"
#include "daemon/policy/policy.hpp"

namespace kvtier::daemon {
namespace {

class Without final : public VictimFilter {
 public:
  explicit Without(std::set<SlotId> refused = {}) : refused_(std::move(refused)) {}
  bool may_evict(SlotId slot) const override { return !refused_.contains(slot); }

 private:
  std::set<SlotId> refused_;
};

std::vector<SlotId> victims(Policy& policy, size_t count, std::set<SlotId> refused = {}) {
  std::vector<SlotId> out(count);
  out.resize(policy.victims(out, Without(std::move(refused))));
  return out;
}

void insert_path(Policy& policy, SlotId first, uint32_t count) {
  for (uint32_t i = count; i-- > 0;) {
    policy.inserted(first + i, {.key = {first + i, 7}, .position = i, .tokens = 256, .bytes = 1});
  }
}

class EveryPolicy : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Policy> policy_ = std::move(make_policy(GetParam())).value();
};

TEST_P(EveryPolicy, OffersEachResidentChunkOnceAndNothingRefused) {
  insert_path(*policy_, 0, 100);
  std::vector<SlotId> all = victims(*policy_, 200, {3, 50});
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all.size(), 98u);
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end());
  EXPECT_FALSE(std::binary_search(all.begin(), all.end(), 3u));
}

TEST_P(EveryPolicy, RemovedChunksAreNotOfferedAndIdsComeBack) {
  insert_path(*policy_, 0, 4);
  policy_->removed(1, Removal::kEvicted);
  policy_->removed(2, Removal::kDropped);
  policy_->removed(2, Removal::kDropped);
  policy_->touched(1, 0);
  policy_->hinted(1, Policy::Outlook::kNever);
  EXPECT_EQ(victims(*policy_, 9).size(), 2u);
  insert_path(*policy_, 1, 1);
  EXPECT_EQ(victims(*policy_, 9).size(), 3u);
}

TEST_P(EveryPolicy, NothingResidentMeansNoVictims) {
  EXPECT_TRUE(victims(*policy_, 4).empty());
  policy_->touched(9, 0);
  policy_->removed(9, Removal::kEvicted);
  EXPECT_TRUE(victims(*policy_, 4).empty());
}

INSTANTIATE_TEST_SUITE_P(ByName, EveryPolicy,
                         testing::Values("default", "lru", "arc", "reuse", "s3-fifo", "gdsf"),
                         [](const auto& one) {
                           std::string name = one.param;
                           std::erase(name, '-');
                           return name;
                         });

class HintedPolicy : public testing::TestWithParam<const char*> {};

TEST_P(HintedPolicy, AnEndedSessionGoesFirstTailBeforeHead) {
  const std::unique_ptr<Policy> policy = std::move(make_policy(GetParam())).value();
  insert_path(*policy, 0, 3);
  insert_path(*policy, 10, 3);
  for (SlotId slot : {12u, 11u, 10u}) policy->hinted(slot, Policy::Outlook::kNever);
  const std::vector<SlotId> order = victims(*policy, 3);
  EXPECT_EQ(order, (std::vector<SlotId>{12, 11, 10}));
}

INSTANTIATE_TEST_SUITE_P(ByName, HintedPolicy, testing::Values("default", "lru", "arc", "reuse"));

TEST(Policies, UnknownNamesAreRefusedWithTheNamesThereAre) {
  const auto refused = make_policy("mru");
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(std::string(refused.error().message()).find("s3-fifo"), std::string::npos);
}

TEST(Arc, WhatWasUsedAgainOutlivesWhatWasUsedOnce) {
  const std::unique_ptr<Policy> arc = std::move(make_policy("arc")).value();
  insert_path(*arc, 0, 2);
  arc->touched(1, 1);
  arc->touched(0, 0);
  insert_path(*arc, 10, 2);
  EXPECT_EQ(victims(*arc, 4), (std::vector<SlotId>{11, 10, 1, 0}));
}

// A scan over a tier's size again and again, beside a few chunks in steady use: LRU loses them all.
TEST(Default, LeavesLruWhereTheLiveContextsExceedTheTier) {
  constexpr uint32_t kCapacity = 256, kLoop = 1024, kHot = 128;
  AdaptivePolicy policy;
  std::vector<SlotId> slot_of(kLoop + kHot, kNoSlot), key_of(kCapacity, kNoSlot);
  uint32_t resident = 0, hits = 0, asked = 0;
  const auto use = [&](uint32_t key) {
    ++asked;
    if (slot_of[key] != kNoSlot) {
      ++hits;
      return policy.touched(slot_of[key], 0);
    }
    SlotId slot = resident;
    if (resident < kCapacity) {
      ++resident;
    } else {
      slot = victims(policy, 1).at(0);
      policy.removed(slot, Removal::kEvicted);
      slot_of[key_of[slot]] = kNoSlot;
    }
    slot_of[key] = slot;
    key_of[slot] = key;
    policy.inserted(slot, {.key = {key, 3}, .position = 0, .tokens = 256, .bytes = 1});
  };
  for (uint32_t round = 0; round < 200; ++round) {
    for (uint32_t i = 0; i < kLoop; ++i) {
      use(i);
      if (i % 4 == 0) use(kLoop + i / 4 % kHot);
    }
  }
  EXPECT_NE(policy.order(), AdaptivePolicy::kLru);
  EXPECT_GT(hits, asked / 8) << hits << " of " << asked;  // LRU hits none: 160 others in between
}

TEST(Admission, TheBestRankedPassAsFarAsTheShareGoes) {
  Admission admission;
  uint32_t good = 0, poor = 0;
  for (int i = 0; i < 2000; ++i) {
    const auto number = static_cast<uint64_t>(i);
    good += admission.admits({number, 1}, 3, 0, 0.5) ? 1u : 0u;
    poor += admission.admits({number, 2}, 1, 0, 0.5) ? 1u : 0u;
  }
  EXPECT_GT(good, 1990u);
  EXPECT_LT(poor, 10u);
  EXPECT_FALSE(admission.admits({1, 3}, 1, 0, 0));
  EXPECT_FALSE(admission.admits({2, 3}, 0, 0, 0.5)) << "said to be over";
  EXPECT_EQ(admission.uses_before({1999, 2}), 1u) << "refused, and known when it comes back";
  EXPECT_EQ(admission.uses_before({7, 7}), 0u);
}

}  // namespace
}  // namespace kvtier::daemon
