// The store side of the planner: each input moves the choice the way it should.
#include "kvtier/wire/plan_store.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace kvtier::wire {
namespace {

// Llama-3-8B on an H100: 256 tokens are 32 MiB and 8 ms; host 20 GB/s, nvme 6 GB/s.
class PlanStore : public ::testing::Test {
 protected:
  PlanStore() {
    input_.costs.tiers[0].bandwidth_bytes_per_s = 20e9;
    input_.costs.tiers[2].bandwidth_bytes_per_s = 6e9;
    input_.costs.space = {.a = 32e-6, .b = 1e-9, .g = 4e-3, .samples = 1};
    input_.tokens = 256;
    input_.reuse_probability = 0.5;
    options_ = {
        {.tier = Tier::kHost, .stored_bytes = 32 << 20},
        {.tier = Tier::kHost,
         .codec = 1,
         .stored_bytes = 16 << 20,
         .encode_seconds = 4e-3,
         .decode_seconds = 4e-3},
        {.tier = Tier::kNvme, .stored_bytes = 32 << 20},
    };
  }
  StoreOutput plan() {
    input_.options = options_;
    return plan_store(input_);
  }
  StoreInput input_;
  std::vector<StoreOption> options_;
};

TEST_F(PlanStore, WithRoomTheFastestTierTakesItAsItIs) {
  const StoreOutput output = plan();
  EXPECT_EQ(output.decision, StoreDecision::kStore);
  EXPECT_EQ(output.option, 0u);
  const double compute = 256 * 32e-6 + 1e-9 * 256 * 256 / 2;
  EXPECT_NEAR(output.saving_seconds, 0.5 * (compute - 33554432.0 / 20e9), 1e-9);
}

TEST_F(PlanStore, WhatWillNotComeAgainIsNotStored) {
  input_.reuse_probability = 0;
  EXPECT_EQ(plan().decision, StoreDecision::kNot);
  input_.reuse_probability = std::nan("");
  EXPECT_EQ(plan().decision, StoreDecision::kNot);
}

TEST_F(PlanStore, ACrowdedTierPushesToTheNextOrToFewerBytes) {
  const auto displaced = [&](double host, double nvme) {
    options_[0].displaced_s_per_byte = options_[1].displaced_s_per_byte = host;
    options_[2].displaced_s_per_byte = nvme;
  };
  displaced(0.08e-9, 0);
  EXPECT_EQ(plan().option, 2u) << "nvme only";
  displaced(0.15e-9, 0.15e-9);
  EXPECT_EQ(plan().decision, StoreDecision::kNot) << "what would go is worth more";
  input_.first_token = 100'000;  // deep tokens are dear
  EXPECT_EQ(plan().decision, StoreDecision::kStore);
  displaced(0.4e-9, 0.4e-9);
  EXPECT_EQ(plan().option, 1u) << "half the bytes displace half as much";
}

TEST_F(PlanStore, ATierTooSlowToLoadFromSavesNothing) {
  input_.costs.tiers[2].bandwidth_bytes_per_s = 1e9;  // 34 ms for 8 ms of computing
  options_ = {options_[2]};
  EXPECT_EQ(plan().decision, StoreDecision::kNot);
}

TEST_F(PlanStore, TheWriteBudgetIsNeverExceeded) {
  options_ = {options_[2]};
  options_[0].budget_left_bytes = (32 << 20) - 1;
  EXPECT_EQ(plan().decision, StoreDecision::kNot);
  options_[0].budget_left_bytes = 32 << 20;
  EXPECT_EQ(plan().decision, StoreDecision::kStore);
  options_[0].written_s_per_byte = 1e-9;
  EXPECT_EQ(plan().decision, StoreDecision::kNot) << "the price of wear";
}

TEST_F(PlanStore, ATierOutOfServiceIsNotWrittenTo) {
  input_.costs.tiers_down = 1u << static_cast<unsigned>(Tier::kNvme);
  options_ = {options_[2]};
  EXPECT_EQ(plan().decision, StoreDecision::kNot);
}

TEST_F(PlanStore, LazyWaitsUntilTheEngineDropsIt) {
  input_.lazy = true;
  EXPECT_EQ(plan().decision, StoreDecision::kLater);
  input_.engine_drops_it = true;
  EXPECT_EQ(plan().decision, StoreDecision::kStore);
  input_.engine_drops_it = false;
  input_.reuse_probability = 0;
  EXPECT_EQ(plan().decision, StoreDecision::kNot) << "later it would not pay either";
}

TEST(WritePrice, IsNothingBehindTheBudgetAndRisesAheadOfIt) {
  EXPECT_EQ(write_price(1e-10, 0.2, 0.5), 0);
  EXPECT_EQ(write_price(1e-10, 0.5, 0.5), 0);
  EXPECT_NEAR(write_price(1e-10, 1.0, 0.5), 3e-10, 1e-15);
  EXPECT_GT(write_price(1e-10, 0.5, 0), 1e-8) << "at the very beginning of a period";
  EXPECT_EQ(write_price(std::nan(""), 1, 0.5), 0);
}

}  // namespace
}  // namespace kvtier::wire
