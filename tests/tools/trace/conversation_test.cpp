// The generated conversation workload: the same everywhere, shaped like recorded chats.
#include "tools/trace/conversation.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/trace/draw.hpp"
#include "tools/trace/reference_cache.hpp"
#include "tools/trace/trace_line.hpp"
#include "tools/trace/trace_statistics.hpp"

namespace kvtier::tools {
namespace {

using testing::HasSubstr;

std::vector<TraceRequest> generate(const ConversationOptions& options) {
  auto source = generate_conversation(options);
  EXPECT_TRUE(source.ok());
  std::vector<TraceRequest> requests;
  TraceRequest request;
  while (*(*source)->next(request)) requests.push_back(request);
  EXPECT_FALSE(*(*source)->next(request)) << "the end must last";
  EXPECT_EQ((*source)->progress(), 1);
  return requests;
}

// FNV-1a, 64 bits, over the lines as a trace file would hold them.
uint64_t hash_of(const std::vector<TraceRequest>& requests) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const TraceRequest& request : requests) {
    for (const char byte : format_trace_line(request) + "\n") {
      hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
    }
  }
  return hash;
}

TEST(Conversation, IsTheSameForTheSameSeedEverywhere) {
  // Recorded results name this workload by its seed: a change of the generator makes them void.
  EXPECT_EQ(hash_of(generate({.seed = 1, .requests = 2'000})), 1069363431178150679u);
  EXPECT_EQ(hash_of(generate({.seed = 2, .requests = 500, .users = 50, .block_tokens = 256})),
            12779454116486883284u);
}

TEST(Conversation, DiffersForAnotherSeed) {
  EXPECT_NE(hash_of(generate({.seed = 3, .requests = 100})),
            hash_of(generate({.seed = 4, .requests = 100})));
}

TEST(Conversation, SaysThatItIsGenerated) {
  auto source = generate_conversation({.seed = 17, .requests = 5, .users = 2});
  ASSERT_TRUE(source.ok());
  EXPECT_TRUE((*source)->generated());
  EXPECT_EQ((*source)->description(),
            "generated conversation workload (no recorded traffic): seed 17, 5 requests, 2 users, "
            "blocks of 512 tokens");
}

TEST(Conversation, HasTheShapeOfRecordedChats) {
  for (const uint64_t seed : {1u, 2u, 3u}) {
    const std::vector<TraceRequest> requests = generate({.seed = seed});
    TraceStatistics statistics;
    std::vector<uint64_t> inputs;
    for (const TraceRequest& request : requests) {
      ASSERT_TRUE(statistics.add(request).ok());
      inputs.push_back(request.input_length);
    }
    const TraceSummary sum = statistics.summary();
    EXPECT_GT(sum.hit_rate_infinite(), 0.35);
    EXPECT_LT(sum.hit_rate_infinite(), 0.60);
    EXPECT_EQ(sum.timestamps_backwards, 0u);
    EXPECT_EQ(sum.ids_beyond_input, 0u);
    std::ranges::sort(inputs);
    EXPECT_NEAR(static_cast<double>(inputs[inputs.size() / 2]), 6'900, 1'500);
    EXPECT_NEAR(static_cast<double>(inputs[inputs.size() * 99 / 100]), 85'000, 25'000);
    EXPECT_LE(inputs.back(), 131'072u);
    // A cache of a tenth helps, and is still far from one that holds everything.
    ReferenceLru cache(capacity_of_percent(sum.blocks_unique, 10));
    for (const TraceRequest& request : requests) cache.serve(request.hash_ids);
    EXPECT_GT(cache.result().hit_rate(), 0.5 * sum.hit_rate_infinite());
    EXPECT_LT(cache.result().hit_rate(), 0.95 * sum.hit_rate_infinite());
  }
}

TEST(Conversation, GrowsEachChatOnItsOwnPrefix) {
  std::map<std::string, TraceRequest> before;
  std::map<uint64_t, uint64_t> parents;
  std::set<std::string> ended;
  for (const TraceRequest& request : generate({.requests = 5'000})) {
    const std::vector<uint64_t>& ids = request.hash_ids;
    ASSERT_EQ(ids.size(), (request.input_length + 511) / 512);
    // An id names the whole prefix, so it stands behind one and the same id always.
    for (size_t i = 0; i < ids.size(); ++i) {
      const uint64_t parent = i == 0 ? UINT64_MAX : ids[i - 1];
      ASSERT_EQ(parents.try_emplace(ids[i], parent).first->second, parent);
    }
    ASSERT_TRUE(request.session.has_value());
    ASSERT_FALSE(ended.contains(*request.session)) << "a request after the session's end";
    if (request.session_end) ended.insert(*request.session);
    const auto found = before.find(*request.session);
    if (found != before.end()) {
      const TraceRequest& last = found->second;
      ASSERT_GE(request.input_length, last.input_length);
      ASSERT_GT(request.timestamp_ms, last.timestamp_ms);
      const auto whole = static_cast<long>(last.input_length / 512);
      ASSERT_TRUE(std::equal(ids.begin(), ids.begin() + whole, last.hash_ids.begin()));
    }
    before[*request.session] = request;
  }
  EXPECT_GT(ended.size(), 1'000u);
}

TEST(Conversation, RefusesOptionsOutOfRange) {
  const auto refusal = [](const ConversationOptions& options) {
    auto source = generate_conversation(options);
    EXPECT_EQ(source.code(), Code::kInvalidArgument);
    return std::string(source.ok() ? "accepted" : source.error().message());
  };
  EXPECT_THAT(refusal({.users = 0}), HasSubstr("users is 0, expected 1 to 65536"));
  EXPECT_THAT(refusal({.users = 65'537}), HasSubstr("users is 65537"));
  EXPECT_THAT(refusal({.block_tokens = 15}), HasSubstr("block_tokens is 15"));
  EXPECT_THAT(refusal({.context_tokens_max = 100}), HasSubstr("context_tokens_max is 100"));
  EXPECT_TRUE(generate({.requests = 0}).empty());
}

TEST(Draw, OfPowersIsExactToSixteenBits) {
  for (int64_t x = -16 * 65536; x < 32 * 65536; x += 77) {
    const double expected = std::exp2(static_cast<double>(x) / 65536) * 65536;
    ASSERT_NEAR(static_cast<double>(exp2_fixed(x)), expected, 1 + expected * 1e-8) << x;
  }
}

TEST(Draw, OfLogNormalQuantitiesHasItsMedianAndSpread) {
  Draw draw(1);
  std::vector<uint64_t> values;
  for (int i = 0; i < 40'001; ++i) {
    values.push_back(
        draw.log_normal({.median = 10'000, .spread_16ths = 16, .min = 1'000, .max = 90'000}));
  }
  std::ranges::sort(values);
  EXPECT_NEAR(static_cast<double>(values[20'000]), 10'000, 250);
  EXPECT_NEAR(static_cast<double>(values[33'653]), 20'000, 700);  // 84.13 %: one spread above
  EXPECT_NEAR(static_cast<double>(values[6'347]), 5'000, 175);
  EXPECT_EQ(values.front(), 1'000u);
  EXPECT_EQ(values.back(), 90'000u);
}

}  // namespace
}  // namespace kvtier::tools
