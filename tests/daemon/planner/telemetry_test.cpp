// Histograms, tier meters and the fit of prefill cost: what they estimate, and what they refuse.
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "daemon/planner/histogram.hpp"
#include "daemon/planner/prefill_cost.hpp"
#include "daemon/planner/tier_meter.hpp"

namespace kvtier::daemon {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

TEST(Histogram, PercentilesAreWithinAStep) {
  Histogram histogram;
  EXPECT_EQ(histogram.quantile(0.5), 0u);
  for (uint64_t i = 1; i <= 5000; ++i) histogram.add(i * 1000);
  for (const double share : {0.01, 0.5, 0.9, 0.99, 1.0}) {
    EXPECT_NEAR(static_cast<double>(histogram.quantile(share)), share * 5e6, share * 5e6 * 0.035);
  }
}

TEST(Histogram, EveryValueHasACell) {
  for (int bit = 0; bit < 64; ++bit) {
    for (const uint64_t value : {(uint64_t{1} << bit) - 1, uint64_t{1} << bit, UINT64_MAX}) {
      const uint32_t cell = Histogram::cell_of(value);
      ASSERT_LT(cell, Histogram::kCells);
      const auto middle = static_cast<double>(Histogram::middle_of(cell));
      EXPECT_NEAR(middle, static_cast<double>(value), static_cast<double>(value) * 0.032 + 1e-9);
    }
  }
}

TEST(Histogram, MergedIsAsIfAddedToOne) {
  Histogram one, other, both;
  for (uint64_t i = 0; i < 1000; ++i) {
    one.add(i);
    other.add(i * i);
    both.add(i);
    both.add(i * i);
  }
  one.merge(other);
  for (const double share : {0.1, 0.5, 0.9, 0.99}) {
    EXPECT_EQ(one.quantile(share), both.quantile(share));
  }
}

TEST(Histogram, OldValuesFade) {
  Histogram histogram;
  for (int i = 0; i < 10'000; ++i) histogram.add(10);
  for (int i = 0; i < 20'000; ++i) histogram.add(1000);
  EXPECT_NEAR(static_cast<double>(histogram.quantile(0.2)), 1000, 40);
  EXPECT_EQ(histogram.total(), 30'000u);
  EXPECT_LT(histogram.count(), Histogram::kAgeAt);
}

TEST(TierMeter, RefusesReportsThatCannotBe) {
  TierMeter meter({.bandwidth_bytes_per_s = 4e9, .latency_s = 1e-5});
  for (const double seconds : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
                               std::numeric_limits<double>::infinity(), 1e-12, 1e9}) {
    EXPECT_FALSE(meter.report(kSecond, 4096, seconds)) << seconds;
  }
  EXPECT_FALSE(meter.report(kSecond, 0, 1));
  EXPECT_EQ(meter.bandwidth_bytes_per_s(kSecond), 4e9);
  EXPECT_EQ(meter.samples(), 0u);
  EXPECT_TRUE(meter.report(kSecond, 1'000'000'000, 0.5));
  EXPECT_EQ(meter.bandwidth_bytes_per_s(kSecond), 2e9) << "the first replaces the assumption";
}

TEST(TierMeter, OneOddMeasurementMovesLittle) {
  TierMeter meter;
  uint64_t now = kSecond;
  for (int i = 0; i < 100; ++i) meter.report(now += 10'000'000, 10'000'000, 1e-2);
  meter.report(now += 10'000'000, 10'000'000, 1e-1);
  EXPECT_GT(meter.bandwidth_bytes_per_s(now), 4e8);
  meter.report(now += 10'000'000, 10'000'000, 1e-1);
  EXPECT_LT(meter.bandwidth_bytes_per_s(now), 1.1e8) << "two in a row are no scatter";
}

TEST(TierMeter, WhatWasSlowLongAgoIsTriedAgain) {
  TierMeter meter({.bandwidth_bytes_per_s = 0, .latency_s = 0, .forgive_after_ns = kSecond});
  uint64_t now = kSecond;
  for (int i = 0; i < 100; ++i) meter.report(now += 10'000'000, 10'000'000, 1e-2);
  for (int i = 0; i < 4; ++i) meter.report(now += 10'000'000, 10'000'000, 1);
  EXPECT_LT(meter.bandwidth_bytes_per_s(now), 2e7);
  EXPECT_LT(meter.bandwidth_bytes_per_s(now + kSecond), 2e7);
  EXPECT_NEAR(meter.bandwidth_bytes_per_s(now + 3 * kSecond), 1e9, 4e7);
}

TEST(TierMeter, CountsFailures) {
  TierMeter meter;
  meter.begun(kSecond, 1000);
  EXPECT_EQ(meter.queued_bytes(), 1000u);
  meter.ended(2 * kSecond, 1000, 1, false);
  EXPECT_EQ(meter.errors(), 1u);
  EXPECT_EQ(meter.queued_bytes(), 0u);
  EXPECT_EQ(meter.samples(), 0u);
}

TEST(PrefillCost, FindsTheThreeCoefficients) {
  PrefillCost cost;
  std::mt19937 random(3);
  std::uniform_real_distribution<double> scatter(0.95, 1.05);
  const PrefillCost::Fit truth = {30e-6, 2e-9, 4e-3};
  for (int i = 0; i < 300; ++i) {
    const uint64_t tokens = 64 + random() % 8192, context = random() % 65536;
    EXPECT_TRUE(
        cost.report(kSecond, tokens, context, truth.seconds(tokens, context) * scatter(random)));
  }
  for (const uint64_t tokens : {256u, 4096u, 32768u}) {
    for (const uint64_t context : {0u, 8192u, 100'000u}) {
      EXPECT_NEAR(cost.fit(kSecond).seconds(tokens, context) / truth.seconds(tokens, context), 1,
                  0.05)
          << tokens << " behind " << context;
    }
  }
  EXPECT_EQ(cost.samples(kSecond), 300u);
}

TEST(PrefillCost, NoCoefficientIsNegative) {
  std::mt19937 random(4);
  for (int round = 0; round < 200; ++round) {
    PrefillCost cost;
    cost.assume(100e-6);
    for (int i = 0; i < 20; ++i) {
      cost.report(kSecond, 1 + random() % 5000, random() % 5000,
                  1e-4 * static_cast<double>(1 + random() % 10'000));
      const auto fit = cost.fit(kSecond);
      ASSERT_TRUE(std::isfinite(fit.a) && std::isfinite(fit.b) && std::isfinite(fit.g));
      ASSERT_GE(std::min({fit.a, fit.b, fit.g}), 0);
    }
  }
}

TEST(PrefillCost, RefusesReportsThatCannotBe) {
  PrefillCost cost;
  cost.assume(100e-6);
  for (const double seconds : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
                               std::numeric_limits<double>::infinity(), 1e-9, 1e9}) {
    EXPECT_FALSE(cost.report(kSecond, 1000, 0, seconds)) << seconds;
  }
  EXPECT_FALSE(cost.report(kSecond, 0, 0, 1));
  EXPECT_FALSE(cost.report(kSecond, UINT64_MAX, 0, 1));
  EXPECT_FALSE(cost.report(kSecond, 1, UINT64_MAX, 1));
  EXPECT_EQ(cost.refused(), 9u);
  EXPECT_EQ(cost.samples(kSecond), 0u);
  EXPECT_EQ(cost.fit(kSecond).a, 100e-6);
}

TEST(PrefillCost, TheModelsFlopsHoldBeforeTheFirstReport) {
  PrefillCost cost;
  cost.assume(100e-6);
  EXPECT_FALSE(cost.describe(std::numeric_limits<double>::quiet_NaN(), 1, 1));
  EXPECT_FALSE(cost.describe(1e10, 5e5, 0));
  EXPECT_FALSE(cost.describe(1e10, -1, 1e15));
  EXPECT_EQ(cost.fit(kSecond).a, 100e-6);
  EXPECT_TRUE(cost.describe(1.6e10, 5.2e5, 4e14));
  EXPECT_NEAR(cost.fit(kSecond).a, 4e-5, 1e-9);
  EXPECT_EQ(cost.samples(kSecond), 0u) << "still an assumption";
  cost.report(kSecond, 1000, 0, 0.1);
  EXPECT_NEAR(cost.fit(kSecond).seconds(1000, 0), 0.1, 1e-3);
}

TEST(PrefillCost, OldReportsGiveWayToTheModel) {
  PrefillCost cost;
  cost.assume(100e-6);
  cost.report(kSecond, 1000, 0, 1);
  EXPECT_NEAR(cost.fit(kSecond).seconds(1000, 0), 1, 1e-2);
  const uint64_t later = kSecond + PrefillCost::kStaleNs;
  EXPECT_EQ(cost.samples(later), 0u);
  EXPECT_EQ(cost.fit(later).a, 100e-6);
  cost.report(later, 1000, 0, 0.5);
  EXPECT_NEAR(cost.fit(later).seconds(1000, 0), 0.5, 1e-2) << "nothing is left of before";
}

TEST(PrefillCost, ALiarIsOutvotedAChangeIsFollowed) {
  PrefillCost cost;
  const PrefillCost::Fit truth = {50e-6, 0, 0};
  for (uint64_t i = 0; i < 64; ++i) {
    const uint64_t tokens = 500 + 50 * i;
    cost.report(kSecond, tokens, 0, truth.seconds(tokens, 0));
    if (i % 8 == 7) cost.report(kSecond, tokens, 0, 100 * truth.seconds(tokens, 0));
  }
  EXPECT_NEAR(cost.fit(kSecond).seconds(2000, 0) / truth.seconds(2000, 0), 1, 0.05);
  for (uint64_t i = 0; i < 8; ++i)
    cost.report(kSecond, 1000 + i * 100, 0, 10 * truth.seconds(1000 + i * 100, 0));
  EXPECT_NEAR(cost.fit(kSecond).seconds(2000, 0) / truth.seconds(2000, 0), 10, 1);
}

TEST(PrefillCost, AFewReportsAlikeDoNotMakeItACostOfTheCall) {
  // Prefills of a busy machine: lengths that hardly differ, times that scatter more than they do.
  std::mt19937 random(5);
  std::uniform_real_distribution<double> scatter(0.7, 1.4);
  const PrefillCost::Fit truth = {120e-6, 80e-9, 1e-3};
  for (int round = 0; round < 100; ++round) {
    PrefillCost cost;
    cost.assume(100e-6);
    ASSERT_TRUE(cost.describe(1.2e7, 8e3, 3e11));  // the machine is three times slower than it said
    for (int i = 0; i < 6; ++i) {
      const uint64_t tokens = 300 + random() % 100;
      cost.report(kSecond, tokens, 0, truth.seconds(tokens, 0) * scatter(random));
      const auto fit = cost.fit(kSecond);
      EXPECT_GT(fit.seconds(680, 0), 1.5 * fit.seconds(40, 0)) << i;
      EXPECT_NEAR(fit.seconds(340, 0) / truth.seconds(340, 0), 1, 0.45) << i;
    }
  }
}

TEST(PrefillCost, AMachineThatIsAnotherOneTwiceIsFollowedTwice) {
  PrefillCost cost;
  cost.assume(120e-6);
  const auto follow = [&](double per_token) {
    for (uint64_t i = 0; i < 100; ++i) {
      const uint64_t tokens = 500 + 50 * (i % 8);
      cost.report(kSecond, tokens, 0, per_token * static_cast<double>(tokens));
    }
    EXPECT_NEAR(cost.fit(kSecond).seconds(1000, 0) / (1000 * per_token), 1, 0.1) << per_token;
  };
  for (const double per_token : {120e-6, 1e-8, 90e-6, 2e-8, 1e-3}) follow(per_token);
}

}  // namespace
}  // namespace kvtier::daemon
