// The index as the daemon writes it and readers read it, over the same memory and under load.
#include "daemon/index/published_index.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <unordered_map>
#include <vector>

#include "kvtier/wire/key.hpp"

namespace kvtier::daemon {
namespace {

using wire::Found;
using wire::Place;
using wire::Tier;

ChunkKey key_of(uint64_t number) {
  const XXH128_hash_t hash = XXH3_128bits(&number, sizeof number);
  return {hash.low64, hash.high64};
}

EntryFacts facts_of(ChunkKey key, uint32_t space = 1) {
  EntryFacts facts;
  facts.key = key;
  facts.space = space;
  facts.payload_bytes = 4096;
  facts.tokens = 16;
  return facts;
}

std::unique_ptr<PublishedIndex> make_index(uint32_t entries) {
  IndexOptions options;
  options.epoch = 7;
  options.entries_max = entries;
  auto index = PublishedIndex::create(options);
  EXPECT_TRUE(index.ok()) << index.error().message();
  return std::move(index).value();
}

Place place_of(uint32_t slot, uint32_t generation = 1) {
  return Place::make(Tier::kHost, 0, slot, generation);
}

TEST(PublishedIndex, HashOfAKeyIsAsDocumented) {
  const wire::IndexHash hash = wire::index_hash({0x0123456789abcdef, 0xfedcba9876543210}, 1);
  EXPECT_EQ(hash.first, 0xf6e1b1fau);
  EXPECT_EQ(hash.second, 0x9f143cdeu);
  EXPECT_EQ(hash.tag, 0xfedcu);
}

TEST(PublishedIndex, FindsWhatWasInsertedUnderItsSpaceOnly) {
  const auto index = make_index(100);
  index->insert(facts_of(key_of(1), 1), place_of(5));
  index->insert(facts_of(key_of(1), 2), place_of(6));
  EXPECT_EQ(wire::find_chunk(index->view(), key_of(1), 1).place, place_of(5));
  EXPECT_EQ(wire::find_chunk(index->view(), key_of(1), 2).place, place_of(6));
  EXPECT_EQ(wire::find_chunk(index->view(), key_of(1), 3).found, Found::kAbsent);
  EXPECT_EQ(wire::find_chunk(index->view(), key_of(2), 1).found, Found::kAbsent);
}

TEST(PublishedIndex, FillsToItsLastEntryWithoutOverflowingABucket) {
  constexpr uint32_t kEntries = 1u << 16;
  const auto index = make_index(kEntries);
  for (uint32_t i = 0; i < kEntries; ++i) {
    ASSERT_NE(index->insert(facts_of(key_of(i)), place_of(i)), kNoEntry) << i;
  }
  EXPECT_EQ(index->insert(facts_of(key_of(kEntries)), place_of(0)), kNoEntry);
  EXPECT_EQ(index->bucket_overflows(), 0u);
  for (uint32_t i = 0; i < kEntries; ++i) {
    ASSERT_EQ(wire::find_chunk(index->view(), key_of(i), 1).place, place_of(i)) << i;
  }
}

TEST(PublishedIndex, AnErasedEntryIsUsedAgainAndItsOldKeyIsAMiss) {
  const auto index = make_index(64);
  const uint32_t entry = index->insert(facts_of(key_of(1)), place_of(1));
  index->clear_host(entry);
  index->hide(entry);
  EXPECT_EQ(wire::find_chunk(index->view(), key_of(1), 1).found, Found::kAbsent);
  index->erase(entry);
  EXPECT_EQ(index->insert(facts_of(key_of(2)), place_of(2)), entry);
  EXPECT_EQ(wire::find_chunk(index->view(), key_of(1), 1).found, Found::kAbsent);
  EXPECT_EQ(wire::find_chunk(index->view(), key_of(2), 1).place, place_of(2));
  EXPECT_EQ(index->entries_used(), 1u);
}

TEST(PublishedIndexDeathTest, AnEntryThatReadersCanFindIsNotErased) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto index = make_index(64);
  const uint32_t entry = index->insert(facts_of(key_of(1)), place_of(1));
  EXPECT_DEATH(index->erase(entry), "");
}

TEST(PublishedIndex, APrefixEndsAtTheFirstMissWhateverFollows) {
  const auto index = make_index(1000);
  std::vector<ChunkKey> keys;
  for (uint32_t i = 0; i < 300; ++i) keys.push_back(key_of(i));
  for (uint32_t i = 0; i < 300; ++i) {
    if (i != 123) index->insert(facts_of(keys[i]), place_of(i));
  }
  std::vector<wire::FoundChunk> found(300);
  EXPECT_EQ(wire::find_prefix(index->view(), keys, 1, found), 124u);
  EXPECT_EQ(found[122].found, Found::kHost);
  EXPECT_EQ(found[123].found, Found::kAbsent);
  EXPECT_EQ(wire::find_prefix(index->view(), {}, 1, found), 0u);
}

TEST(PublishedIndex, ReadersSeeOnlyWholeCosts) {
  const auto index = make_index(64);
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (uint64_t i = 1; !stop; ++i) {
      wire::CostBoard& board = index->begin_board();
      board.tiers[0].queued_bytes.store(i, std::memory_order_relaxed);
      board.tiers[0].samples.store(i, std::memory_order_relaxed);
      index->end_board();
    }
  });
  const wire::CostBoard& board = *index->view().board;
  for (int reads = 0; reads < 20000;) {
    const uint64_t before = board.sequence.load(std::memory_order_acquire);
    if (before % 2 != 0) continue;
    const uint64_t one = board.tiers[0].queued_bytes.load(std::memory_order_relaxed);
    const uint64_t two = board.tiers[0].samples.load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (board.sequence.load(std::memory_order_relaxed) != before) continue;
    ASSERT_EQ(one, two);
    ++reads;
  }
  stop = true;
  writer.join();
}

// A reader never pairs a key with the place of another chunk while entries are used again and
// again.
TEST(PublishedIndex, ReadersNeverSeeAnotherChunksPlace) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  constexpr uint32_t kKeys = 64;
  const auto index = make_index(64);
  std::atomic<bool> stop = false;
  // The slot of a place is the number of its key, whatever the generation.
  std::thread writer([&] {
    std::mt19937_64 random(seed);
    std::unordered_map<uint32_t, uint32_t> resident;
    uint32_t generation = 1;
    while (!stop) {
      const auto number = static_cast<uint32_t>(random() % kKeys);
      const auto known = resident.find(number);
      if (known == resident.end()) {
        generation = generation % 1'000'000 + 1;
        resident[number] = index->insert(facts_of(key_of(number)), place_of(number, generation));
      } else {
        index->clear_host(known->second);
        index->hide(known->second);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        index->erase(known->second);
        resident.erase(known);
      }
    }
  });
  uint64_t hits = 0;
  for (uint32_t i = 0; i < 400000; ++i) {
    const wire::FoundChunk found = wire::find_chunk(index->view(), key_of(i % kKeys), 1);
    if (found.found != Found::kHost) continue;
    ++hits;
    ASSERT_EQ(found.place.slot(), i % kKeys);
  }
  stop = true;
  writer.join();
  EXPECT_GT(hits, 0u);
}

}  // namespace
}  // namespace kvtier::daemon
