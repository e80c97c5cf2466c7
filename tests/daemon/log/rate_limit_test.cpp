// The token bucket: a burst, then one an interval, and nothing refused goes uncounted.
#include "daemon/log/rate_limit.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace kvtier::daemon {
namespace {

constexpr RateLimit::Rate kRate = {5, 1000};

TEST(RateLimit, ABurstThenOneAnInterval) {
  RateLimit limit;
  const uint64_t start = 1'000'000;
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(limit.admit(kRate, start).admitted) << i;
  EXPECT_FALSE(limit.admit(kRate, start).admitted);
  EXPECT_FALSE(limit.admit(kRate, start + 999).admitted);
  const RateLimit::Verdict next = limit.admit(kRate, start + 1000);
  EXPECT_TRUE(next.admitted);
  EXPECT_EQ(next.suppressed, 2u);
  EXPECT_FALSE(limit.admit(kRate, start + 1001).admitted);
}

TEST(RateLimit, AfterAPauseTheBurstIsBack) {
  RateLimit limit;
  for (int i = 0; i < 9; ++i) limit.admit(kRate, 0);
  int admitted = 0;
  for (int i = 0; i < 9; ++i) admitted += limit.admit(kRate, 100'000).admitted ? 1 : 0;
  EXPECT_EQ(admitted, 5);
}

TEST(RateLimit, WhatWasSuppressedIsReportedOnce) {
  RateLimit limit;
  for (int i = 0; i < 8; ++i) limit.admit(kRate, 0);
  EXPECT_EQ(limit.take_suppressed(), 3u);
  EXPECT_EQ(limit.take_suppressed(), 0u);
  EXPECT_EQ(limit.admit(kRate, 50'000).suppressed, 0u);
}

TEST(RateLimit, ThreadsTogetherGetNoMoreThanTheBurst) {
  RateLimit limit;
  std::atomic<uint64_t> admitted{0}, reported{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) {
        const RateLimit::Verdict verdict = limit.admit(kRate, 7);
        admitted += verdict.admitted ? 1 : 0;
        reported += verdict.suppressed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(admitted, 5u);
  EXPECT_EQ(reported + limit.take_suppressed(), 40'000u - 5u);
}

}  // namespace
}  // namespace kvtier::daemon
