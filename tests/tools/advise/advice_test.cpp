// Advice from curves whose answers are known.
#include "tools/advise/advice.hpp"

#include <gtest/gtest.h>

namespace kvtier::tools {
namespace {

using Json = nlohmann::ordered_json;
constexpr double kGiB = 1024.0 * 1024 * 1024;

// Chunks of 1 MiB and 1000 asked tokens a second: a tier of n chunks hits n / 8192 of the tokens,
// up to half of them; a token is worth a millisecond.
Json curve(double host_chunks, double lower_chunks = 0, uint64_t prompts = 2000) {
  Json points = Json::array({{1.0, 0.0, 0.0}, {4096.0, 1.8e6, 1.8e3}});
  return {{"tenant", "t"},
          {"host_chunks", host_chunks},
          {"host_bytes", host_chunks * 1048576},
          {"lower_chunks", lower_chunks},
          {"lower_bytes", lower_chunks * 1048576},
          {"windows",
           {{{"window", "1h"},
             {"seconds", 3600},
             {"tokens_asked", 3.6e6},
             {"compute_seconds_asked", 3.6e3},
             {"samples", 10 * prompts},
             {"prompts_sampled", prompts},
             {"points", points}}}}};
}
Json curves(const Json& one) {
  return {{"curves", Json::array({one})}};
}
Json tier(const char* name, double gib, double bandwidth = 1e9) {
  return {{"name", name},
          {"capacity_bytes", gib * kGiB},
          {"capacity_chunks", nullptr},
          {"load_bandwidth_p50_bytes_per_second", bandwidth},
          {"load_bandwidth_p10_bytes_per_second", bandwidth / 2},
          {"load_samples", 500}};
}
Json space(double seconds_per_token, double per_pair = 0) {
  return {{"tenant", "t"},
          {"model", "m"},
          {"tokens_per_chunk", 100},
          {"chunks", 1000},
          {"payload_bytes", 1e9},
          {"prefill_seconds_per_token", seconds_per_token},
          {"prefill_seconds_per_token_and_position", per_pair},
          {"prefill_samples", 500}};
}
Json status(const Json& tiers, const Json& spaces = Json::array(), double refused = 0,
            double demoted = 0) {
  return {{"tiers", tiers},
          {"spaces", spaces},
          {"counters", {{"dropped_budget", refused}, {"demoted", demoted}}}};
}

TEST(Advice, MoreHostMemoryIsReadOffTheCurve) {
  const Advice advice =
      make_advice(curves(curve(1024)), status(Json::array({tier("host", 1)})), "1h");
  ASSERT_EQ(advice.sizes.size(), 1u);
  const TierSizes& host = advice.sizes[0];
  EXPECT_NEAR(host.hit_rate, 0.125, 0.001);
  ASSERT_GE(host.steps.size(), 2u);
  EXPECT_NEAR(host.steps[0].gain, 0.125, 0.001) << "1 GiB more";
  EXPECT_NEAR(host.steps[0].gpu_seconds, 0.125 * 3600, 5) << "of 3600 in the hour";
  EXPECT_NEAR(host.steps[1].gain, 0.25, 0.001) << "2 GiB more";
  EXPECT_EQ(host.trust, Trust::kHigh);
  ASSERT_FALSE(advice.sentences.empty());
  EXPECT_NE(advice.sentences[0].find("more host gives +"), std::string::npos)
      << advice.sentences[0];
}

TEST(Advice, WhereTheCurveIsFlatMoreBuysNothing) {
  const Advice advice =
      make_advice(curves(curve(8192)), status(Json::array({tier("host", 8)})), "1h");
  EXPECT_NEAR(advice.sizes[0].hit_rate, 0.5, 0.001);
  EXPECT_NEAR(advice.sizes[0].steps[0].gain, 0, 1e-9);
  EXPECT_NE(advice.sentences[0].find("buys nothing"), std::string::npos);
}

TEST(Advice, WhatLiesBelowCountsOnce) {
  const Json tiers = Json::array({tier("host", 1), tier("nvme", 3)});
  const Advice advice =
      make_advice(curves(curve(1024, 3072)), status(tiers, Json::array(), 0, 50), "1h");
  EXPECT_NEAR(advice.sizes[0].tier_hit_rate, 0.125, 0.001);
  EXPECT_NEAR(advice.sizes[0].hit_rate, 0.375, 0.001);
  EXPECT_NEAR(advice.sizes[0].steps[0].gain, 0, 0.001) << "what is below already";
  EXPECT_NEAR(advice.sizes[0].steps[0].tier_hit_rate, 0.25, 0.001) << "but from faster memory";
  EXPECT_NEAR(advice.sizes[1].steps[0].gain, 0.125, 0.001);
}

TEST(Advice, ATightWriteBudgetIsSaidWithWhatItCosts) {
  const Json tiers = Json::array({tier("host", 1), tier("nvme", 3)});
  const Advice advice =
      make_advice(curves(curve(1024, 3072)), status(tiers, Json::array(), 6000, 4000), "1h");
  EXPECT_NEAR(advice.budget.refused, 0.6, 1e-9);
  EXPECT_NEAR(advice.budget.lost_hit_rate, 0.6 * 0.25, 0.001);
  EXPECT_EQ(advice.budget.trust, Trust::kHigh);
  const Advice loose =
      make_advice(curves(curve(1024, 3072)), status(tiers, Json::array(), 0, 4000), "1h");
  EXPECT_EQ(loose.budget.lost_hit_rate, 0);
  for (const std::string& line : loose.sentences) {
    EXPECT_EQ(line.find("budget"), std::string::npos) << line;
  }
}

// A chunk of 1 MB and 100 tokens at 1 GB/s takes a millisecond.
TEST(Advice, ATierIsTooSlowWhereComputingIsFaster) {
  const auto worth = [](double per_token, double per_pair) {
    const Advice advice = make_advice(
        curves(curve(1024)),
        status(Json::array({tier("host", 1)}), Json::array({space(per_token, per_pair)})), "1h");
    EXPECT_EQ(advice.loads.size(), 1u);
    return advice.loads.at(0);
  };
  EXPECT_EQ(worth(2e-5, 0).worth_from_tokens, 0) << "computing takes 2 ms";
  EXPECT_LT(worth(5e-6, 0).worth_from_tokens, 0) << "computing takes half a millisecond anywhere";
  EXPECT_NEAR(worth(5e-6, 1e-9).worth_from_tokens, 4950, 1) << "until attention makes it dearer";
  EXPECT_EQ(worth(2e-5, 0).trust, Trust::kHigh);
}

TEST(Advice, FewPromptsAreNoBasis) {
  const Advice advice =
      make_advice(curves(curve(1024, 0, 5)), status(Json::array({tier("host", 1)})), "1h");
  EXPECT_EQ(advice.sizes[0].trust, Trust::kNone);
  EXPECT_TRUE(advice.sentences.empty());
}

TEST(Advice, NoTrafficAndWrongAnswersAreNoError) {
  EXPECT_TRUE(make_advice(Json::object(), Json::object(), "1h").sizes.empty());
  const Advice advice =
      make_advice(curves(Json::object()), status(Json::array({tier("host", 1)})), "1d");
  ASSERT_EQ(advice.sizes.size(), 1u);
  EXPECT_TRUE(advice.sizes[0].steps.empty());
}

}  // namespace
}  // namespace kvtier::tools
