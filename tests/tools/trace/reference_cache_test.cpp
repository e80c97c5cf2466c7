// The reference caches against their definition, and against the published numbers of the recorded
// traces.
#include "tools/trace/reference_cache.hpp"

#include <algorithm>
#include <array>
#include <list>
#include <random>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/trace/trace_test_support.hpp"

namespace kvtier::tools {
namespace {

using Ids = std::vector<uint64_t>;

TEST(ReferenceLru, EvictsTheTailOfTheOldestRequestFirst) {
  ReferenceLru cache(4);
  EXPECT_EQ(cache.serve(Ids{1, 2, 3}), 0u);
  EXPECT_EQ(cache.serve(Ids{7, 8}), 0u);  // 3 goes: the oldest of the older request
  EXPECT_FALSE(cache.resident(3));
  EXPECT_TRUE(cache.resident(2));
  EXPECT_EQ(cache.serve(Ids{1, 2, 3}), 2u);  // 8 goes, not 1 or 2
  EXPECT_FALSE(cache.resident(8));
  EXPECT_EQ(cache.result().blocks_asked, 8u);
  EXPECT_EQ(cache.result().blocks_hit, 2u);
  EXPECT_EQ(cache.result().blocks_inserted, 6u);
  EXPECT_EQ(cache.result().blocks_evicted, 2u);
}

TEST(ReferenceLru, KeepsTheHeadOfARequestLargerThanTheCache) {
  ReferenceLru cache(3);
  cache.serve(Ids{1, 2});
  EXPECT_EQ(cache.serve(Ids{1, 2, 3, 4, 5, 6}), 2u);
  EXPECT_EQ(cache.result().blocks_inserted, 3u);  // 1 and 2 stayed, only 3 came
  EXPECT_EQ(cache.serve(Ids{1, 2, 3, 4}), 3u);
}

TEST(ReferenceLru, DoesNotEvictWhatTheRunningRequestStillNeeds) {
  ReferenceLru cache(3);
  cache.serve(Ids{1, 2, 3});
  cache.serve(Ids{9});  // 3 goes; now 2 is the oldest
  cache.serve(Ids{1, 2, 5});
  EXPECT_EQ(cache.result().blocks_inserted, 5u);  // 2 was not thrown out to make room for 5
  EXPECT_FALSE(cache.resident(9));
}

TEST(ReferenceLru, HitsABlockBehindAHoleOnlyAsAPrefix) {
  ReferenceLru cache(8);
  cache.serve(Ids{1, 2, 3});
  EXPECT_EQ(cache.serve(Ids{4, 2, 3}), 0u);
  EXPECT_EQ(cache.serve(Ids{1, 5, 3}), 1u);
}

TEST(ReferenceLru, OfNoCapacityHitsNothing) {
  ReferenceLru cache(0);
  cache.serve(Ids{1});
  EXPECT_EQ(cache.serve(Ids{1}), 0u);
  EXPECT_EQ(cache.result().blocks_inserted, 0u);
  EXPECT_EQ(cache.serve(Ids{}), 0u);
}

// Rules 1 to 3 of the header, word for word, on a list.
uint64_t serve_by_definition(std::list<uint64_t>& newest_first, const Ids& ids, size_t capacity) {
  const auto find = [&](uint64_t id) { return std::ranges::find(newest_first, id); };
  uint64_t hit = 0;
  while (hit < ids.size() && find(ids[hit]) != newest_first.end()) ++hit;
  const Ids head(ids.begin(), ids.begin() + static_cast<long>(std::min(ids.size(), capacity)));
  for (size_t i = head.size(); i-- > 0;) {
    const auto found = find(head[i]);
    if (found != newest_first.end()) {
      newest_first.erase(found);
    } else if (newest_first.size() == capacity) {
      auto victim = std::prev(newest_first.end());
      while (std::ranges::find(head, *victim) != head.end()) --victim;
      newest_first.erase(victim);
    }
    newest_first.push_front(head[i]);
  }
  return hit;
}

Ids random_path(std::mt19937_64& random) {
  Ids ids{random() % 3};
  while (ids.size() < 12 && random() % 6 != 0) ids.push_back(ids.back() * 3 + 10 + random() % 2);
  return ids;
}

TEST(ReferenceLru, DoesWhatItsDefinitionSays) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (const size_t capacity : {1u, 2u, 7u, 30u}) {
    ReferenceLru cache(capacity);
    std::list<uint64_t> expected;
    for (int i = 0; i < 2000; ++i) {
      const Ids ids = random_path(random);
      ASSERT_EQ(cache.serve(ids), serve_by_definition(expected, ids, capacity));
      for (const uint64_t id : expected) ASSERT_TRUE(cache.resident(id));
    }
  }
}

TEST(ReferenceMin, IsNoWorseThanLruAndMeetsInfiniteCapacity) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::vector<TraceRequest> requests(1500);
  std::set<uint64_t> seen;
  uint64_t hit_infinite = 0;
  for (TraceRequest& request : requests) {
    request.hash_ids = random_path(random);
    size_t hit = 0;
    while (hit < request.hash_ids.size() && seen.contains(request.hash_ids[hit])) ++hit;
    hit_infinite += hit;
    seen.insert(request.hash_ids.begin(), request.hash_ids.end());
  }
  for (const uint64_t capacity : {4u, 16u, 64u, 256u}) {
    ReferenceLru lru(capacity);
    for (const TraceRequest& request : requests) lru.serve(request.hash_ids);
    EXPECT_GE(simulate_min(requests, capacity).blocks_hit, lru.result().blocks_hit) << capacity;
  }
  EXPECT_EQ(simulate_min(requests, seen.size()).blocks_hit, hit_infinite);
  EXPECT_EQ(simulate_min(requests, 0).blocks_hit, 0u);
}

struct Published {
  uint64_t percent;  // of the unique blocks
  double lru;
  double min;  // 0: not published
};

void expect_published(const std::string& path, uint64_t unique, std::span<const Published> rows) {
  std::string error;
  const std::vector<TraceRequest> requests = read_all(path, &error);
  ASSERT_EQ(error, "");
  for (const Published& row : rows) {
    const uint64_t capacity = capacity_of_percent(unique, row.percent);
    ReferenceLru cache(capacity);
    for (const TraceRequest& request : requests) cache.serve(request.hash_ids);
    // Two printed digits: the definition is met exactly, not merely nearly.
    EXPECT_NEAR(100 * cache.result().hit_rate(), row.lru, 0.0051) << row.percent << " %";
    if (row.min == 0) continue;
    EXPECT_NEAR(100 * simulate_min(requests, capacity).hit_rate(), row.min, 0.0051)
        << row.percent << " %";
  }
}

TEST(RecordedTraces, OfConversationsHitAsPublished) {
  const std::string path = recorded_trace("conversation.jsonl");
  SKIP_WITHOUT_TRACE(path, "conversation.jsonl");
  constexpr std::array<Published, 5> kRows{{{1, 5.25, 24.64},
                                            {5, 19.58, 36.64},
                                            {10, 27.89, 36.64},
                                            {25, 35.35, 36.64},
                                            {50, 36.31, 36.64}}};
  expect_published(path, 182'790, kRows);
}

TEST(RecordedTraces, OfAgentsHitAsPublished) {
  const std::string path = recorded_trace("agents.jsonl.zst");
  SKIP_WITHOUT_TRACE(path, "agents.jsonl.zst");
  constexpr std::array<Published, 6> kRows{{{1, 14.16, 45.07},
                                            {2, 39.77, 67.75},
                                            {5, 83.53, 90.30},
                                            {10, 93.52, 95.53},
                                            {25, 95.78, 0},
                                            {50, 95.93, 0}}};
  expect_published(path, 160'175, kRows);
}

}  // namespace
}  // namespace kvtier::tools
