// What a replay is made of, without a daemon: sizes, times, costs, the report.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <vector>

#include "daemon/config/load.hpp"
#include "kvtier/wire/chunk_header.hpp"
#include "tools/replay/host_sizing.hpp"
#include "tools/replay/latency_histogram.hpp"
#include "tools/replay/recompute_cost.hpp"
#include "tools/replay/replay_daemon.hpp"
#include "tools/replay/replay_report.hpp"

namespace kvtier::tools {
namespace {

using ::testing::HasSubstr;

TEST(LatencyHistogram, QuantilesAreRightToThreePercent) {
  const uint64_t seed = std::random_device()();
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 random(seed);
  LatencyHistogram histogram;
  std::vector<uint64_t> values;
  for (int i = 0; i < 10'000; ++i) {
    values.push_back(random() >> (20 + random() % 44));
    histogram.record(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double share : {0.01, 0.5, 0.99, 1.0}) {
    const auto at = static_cast<size_t>(share * 10'000) - 1;
    const auto exact = static_cast<double>(values[at]);
    EXPECT_NEAR(histogram.quantile_ns(share), exact, exact * 0.03 + 0.5) << share;
  }
}

TEST(LatencyHistogram, OfNothingIsZeroAndSumsAreOfBoth) {
  LatencyHistogram first, second;
  EXPECT_EQ(first.quantile_ns(0.5), 0);
  first.record(10);
  second.record(60);
  second.record(UINT64_MAX);  // more than fits counts as the most
  first.add(second);
  EXPECT_EQ(first.count(), 3u);
  EXPECT_EQ(first.quantile_ns(0.3), 10);
  EXPECT_EQ(first.quantile_ns(0.6), 60);
  EXPECT_GT(first.quantile_ns(1), 1e14);
}

TEST(HostSizing, CapacityForChunksHoldsThemAndSpareSlots) {
  for (const uint64_t chunks : {1ull, 7ull, 300ull, 9139ull, 18279ull, 1'000'000ull}) {
    for (const uint64_t slot : {8192ull, 73728ull, 2359296ull}) {
      const uint64_t capacity = capacity_for_chunks(chunks, slot, kSegmentBytesMin);
      EXPECT_GE(chunks_in_capacity(capacity, slot, kSegmentBytesMin), chunks + kSpareSlots);
      const uint64_t segment = segment_bytes_of(capacity, slot, kSegmentBytesMin);
      EXPECT_EQ(capacity % segment, 0u) << chunks << " of " << slot;
      EXPECT_LE(capacity, (chunks + kSpareSlots) * slot * 5 / 4 + 8 * segment);
    }
  }
}

TEST(HostSizing, SlotHoldsHeaderAndPayload) {
  EXPECT_EQ(slot_bytes_of(512, 65536), 72u * 1024);
  EXPECT_EQ(slot_bytes_of(256, 1024), 8u * 1024);
}

// 10,000 tokens: (1.606e10 * 1e4 + 524288 * 1e8 / 2) / 4.945e14.
TEST(RecomputeCost, WorkedExample) {
  EXPECT_NEAR(recompute_seconds(kLlama8bOnH100, 10'000), 0.37778, 1e-4);
  EXPECT_EQ(recompute_seconds(kLlama8bOnH100, 0), 0);
  // 2 x 70.6e9 x 10^4 + 2 x 80 x 64 x 256 x 10^8 / 2 FLOPs at 3.956e15 a second.
  EXPECT_NEAR(recompute_seconds(model_cost("llama-3-70b"), 10'000), 0.39005, 1e-4);
  // 2 x 37e9 x 10^4 + 2 x 61 x 128 x 320 x 10^8 / 2 at 3.1648e15.
  EXPECT_NEAR(recompute_seconds(model_cost("deepseek-v3"), 10'000), 0.31278, 1e-4);
  EXPECT_STREQ(model_cost("no such").id, "llama-3-8b");
}

TEST(ReplayConfig, IsTakenByTheDaemon) {
  TraceSummary summary;
  summary.requests = 10;
  summary.blocks_unique = 5000;
  summary.request_blocks_max = 20'000;
  summary.block_tokens_min = summary.block_tokens_max = 512;
  std::vector<ReplayOptions> all(6);
  all[1].host_chunks = 0;
  all[2].host_chunks = 1;
  all[3].host_chunks = 100'000;  // more than the trace has
  all[4].host_bytes = 0;
  all[5].host_bytes = 1 << 20;
  for (const ReplayOptions& options : all) {
    const auto text = config_for_replay(options, summary);
    ASSERT_TRUE(text.ok()) << text.error().message();
    const daemon::ConfigOutcome parsed = daemon::parse_config_text(*text, "replay");
    EXPECT_TRUE(parsed.ok()) << *text;
    EXPECT_EQ(parsed.config.session.lease_cells, 32768u);
    if (options.host_chunks) {
      EXPECT_EQ(parsed.config.host.capacity_chunks, *options.host_chunks);
    }
    if (options.host_bytes) {
      EXPECT_EQ(parsed.config.host.capacity_bytes, *options.host_bytes);
    }
  }
}

TEST(ReplayConfig, RefusesWhatCannotBe) {
  ReplayOptions options;
  options.host_bytes = 1000;
  EXPECT_EQ(config_for_replay(options, {}).code(), Code::kInvalidArgument);
  options.host_bytes = UINT64_MAX / 4;
  EXPECT_EQ(config_for_replay(options, {}).code(), Code::kInvalidArgument);
  options.host_bytes.reset();
  options.host_chunks = 1u << 29;
  const auto refused = config_for_replay(options, {});
  ASSERT_EQ(refused.code(), Code::kInvalidArgument);
  EXPECT_THAT(refused.error().message(), HasSubstr("are available"));
}

TEST(ReplayReport, WrongBytesAreNullUnlessLookedFor) {
  ReplayOptions options;
  ReplayDaemon daemon;
  ReplayOutcome outcome;
  const TraceSummary summary;
  const ReplayReport report{options, daemon, outcome, summary, "a trace", false};
  EXPECT_TRUE(nlohmann::json::parse(replay_json(report))["wrong_bytes"].is_null());
  options.verify = true;
  EXPECT_EQ(nlohmann::json::parse(replay_json(report))["wrong_bytes"], 0);
}

// A daemon that has the trace's chunks already finds more than a cache that begins empty ever
// could.
TEST(ReplayReport, TheBestOfAColdCacheIsNotShownBelowWhatAWarmOneFound) {
  const ReplayOptions options;
  const ReplayDaemon daemon;
  TraceSummary summary;
  summary.requests = 10;
  summary.blocks_asked = 100;
  summary.blocks_hit_infinite = 40;
  ReplayOutcome outcome;
  outcome.totals.requests = 10;
  outcome.totals.blocks_asked = 100;
  const auto text = [&](uint64_t hits) {
    outcome.totals.blocks_hit = hits;
    std::ostringstream out;
    print_replay({options, daemon, outcome, summary, "a trace", false}, out, false);
    return out.str();
  };
  EXPECT_THAT(text(40), HasSubstr("best possible"));
  EXPECT_THAT(text(39), HasSubstr("best possible"));
  EXPECT_EQ(text(100).find("best possible"), std::string::npos);
}

TEST(ReplayReport, ProgressFitsTheTerminal) {
  const ReplayProgress progress{12'345, 1000, 500, 61};
  for (const unsigned columns : {20u, 80u, 200u}) {
    EXPECT_LT(progress_line(progress, 0.5, columns).size(), columns);
  }
  EXPECT_THAT(progress_line(progress, 0.5, 100), HasSubstr("50 %"));
  EXPECT_THAT(progress_line(progress, -1, 100), HasSubstr("12,345 requests"));
}

}  // namespace
}  // namespace kvtier::tools
