// The ring of events: order, what falls out, what the log puts in.
#include "daemon/log/event_ring.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "daemon/log/log.hpp"

namespace kvtier::daemon {
namespace {

std::vector<uint64_t> sequences(const EventBatch& batch) {
  std::vector<uint64_t> numbers;
  for (const LogEvent& event : batch.events) numbers.push_back(event.sequence);
  return numbers;
}

TEST(EventRing, ShowsWhatCameAfterACursorInItsOrder) {
  EventRing ring(8);
  for (int i = 1; i <= 5; ++i) ring.add(LogCode::kReady, 1000u + unsigned(i), 0, "event");
  EXPECT_EQ(sequences(ring.after(0, 100)), (std::vector<uint64_t>{1, 2, 3, 4, 5}));
  EXPECT_EQ(sequences(ring.after(3, 100)), (std::vector<uint64_t>{4, 5}));
  EXPECT_EQ(sequences(ring.after(0, 2)), (std::vector<uint64_t>{1, 2}));
  EXPECT_TRUE(ring.after(5, 100).events.empty());
  EXPECT_TRUE(ring.after(99, 100).events.empty());
  EXPECT_TRUE(ring.after(UINT64_MAX, 100).events.empty());
}

TEST(EventRing, TheOldestFallOutAndAreCounted) {
  EventRing ring(4);
  for (int i = 1; i <= 10; ++i) ring.add(LogCode::kReady, 0, 0, std::to_string(i));
  const EventBatch all = ring.after(2, 100);
  EXPECT_EQ(sequences(all), (std::vector<uint64_t>{7, 8, 9, 10}));
  EXPECT_EQ(all.lost, 4u);  // 3 to 6
  EXPECT_EQ(all.events.front().message, "7");
  EXPECT_EQ(ring.after(6, 100).lost, 0u);
}

TEST(EventRing, ThreadsTogetherLoseNothingWithinItsSize) {
  EventRing ring(4000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&ring] {
      for (int i = 0; i < 1000; ++i) ring.add(LogCode::kReady, 0, 0, "x");
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<uint64_t> numbers = sequences(ring.after(0, 10'000));
  EXPECT_EQ(numbers.size(), 4000u);
  EXPECT_EQ(std::set<uint64_t>(numbers.begin(), numbers.end()).size(), 4000u);
}

TEST(EventRing, HoldsWhatTheLogSaidWithWhatItHeldBack) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  uint64_t now_ns = 1;
  LogOptions options;
  options.fd = ends[1];
  options.monotonic_ns = [&now_ns] { return now_ns; };
  options.realtime_ns = [] { return uint64_t{1'000'000'000}; };
  {
    auto log = Log::open(options);
    ASSERT_TRUE(log.ok());
    const int number = 7;
    for (uint64_t i = 0; i < kLogBurstMax + 5; ++i) {
      (*log)->event(LogCode::kTierFull, "tier {}", fmt::make_format_args(number));
    }
    now_ns += 60 * kLogIntervalNs;
    (*log)->event(LogCode::kTierFull, "tier {}", fmt::make_format_args(number));
    const EventBatch batch = (*log)->events().after(0, 1000);
    ASSERT_EQ(batch.events.size(), kLogBurstMax + 1);
    EXPECT_EQ(batch.events.back().message, "tier 7");
    EXPECT_EQ(batch.events.back().suppressed, 5u);
    EXPECT_EQ(batch.events.back().realtime_ns, 1'000'000'000u);
  }
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(EventNames, AreWordsOfTheirOwn) {
  EXPECT_EQ(log_code_name(LogCode::kSessionAttached), "session_attached");
  std::set<std::string> names;
  for (size_t i = 0; i < log_code_rows().size(); ++i) {
    EXPECT_TRUE(names.insert(log_code_name(static_cast<LogCode>(i))).second);
  }
}

}  // namespace
}  // namespace kvtier::daemon
