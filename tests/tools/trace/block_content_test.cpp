// A wrong, moved, swapped or stale byte in a block's payload is always found and counted.
#include "tools/trace/block_content.hpp"

#include <algorithm>
#include <cstring>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace kvtier::tools {
namespace {

constexpr size_t kBytes = 64 * 1024;

std::vector<std::byte> payload(uint64_t id, uint64_t salt = 1, size_t bytes = kBytes) {
  std::vector<std::byte> made(bytes);
  fill_payload(id, salt, made);
  return made;
}

TEST(BlockContent, IsTheDocumentedStream) {
  // The words of the header's formula, by its scalar definition.
  const auto scramble = [](uint64_t x) {
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  };
  const uint64_t seed = scramble(42 ^ scramble(7));
  const uint64_t step = scramble(seed) | 1;
  const std::vector<std::byte> made = payload(42, 7, 1000);
  for (uint64_t i = 0; i < made.size() / 8; ++i) {
    uint64_t word = 0;
    std::memcpy(&word, made.data() + 8 * i, 8);
    const uint64_t x = seed + i * step;
    ASSERT_EQ(word, x ^ (x >> 31)) << i;
  }
}

TEST(BlockContent, OfAnySizeAndAlignmentIsAPrefixOfTheLonger) {
  const std::vector<std::byte> whole = payload(5);
  for (const size_t bytes : {0u, 1u, 7u, 8u, 63u, 64u, 65u, 127u, 200u, 4097u}) {
    for (const size_t offset : {0u, 1u, 8u}) {
      std::vector<std::byte> room(bytes + offset + 1, std::byte{0xee});
      const std::span<std::byte> part(room.data() + offset, bytes);
      fill_payload(5, 1, part);
      EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin()));
      EXPECT_EQ(room.back(), std::byte{0xee}) << "wrote beyond the end";
      EXPECT_EQ(count_wrong_bytes(5, 1, part), 0u);
    }
  }
}

TEST(BlockContent, CountsEachWrongByteOnce) {
  std::vector<std::byte> bytes = payload(5, 1, 1003);
  const std::vector<std::byte> right = bytes;
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] ^= std::byte{0x10};
    ASSERT_EQ(count_wrong_bytes(5, 1, bytes), 1u) << i;
    bytes[i] = right[i];
  }
  for (std::byte& byte : bytes) byte = ~byte;
  EXPECT_EQ(count_wrong_bytes(5, 1, bytes), bytes.size());
}

TEST(BlockContent, FindsSwappedWords) {
  const std::vector<std::byte> right = payload(9);
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (const size_t unit : {8u, 64u, 512u, 4096u}) {
    for (int i = 0; i < 200; ++i) {
      const size_t one = random() % (kBytes / unit);
      const size_t other = random() % (kBytes / unit);
      if (one == other) continue;
      std::vector<std::byte> bytes = right;
      std::swap_ranges(bytes.begin() + static_cast<long>(one * unit),
                       bytes.begin() + static_cast<long>((one + 1) * unit),
                       bytes.begin() + static_cast<long>(other * unit));
      // Every one of the words at both places is wrong in at least one byte.
      ASSERT_GE(count_wrong_bytes(9, 1, bytes), 2 * unit / 8) << unit << " " << one << " " << other;
    }
  }
}

TEST(BlockContent, FindsBytesThatAreMovedByAnyDistance) {
  const std::vector<std::byte> longer = payload(9, 1, kBytes + 4096);
  for (size_t distance = 1; distance <= 4096; ++distance) {
    const std::span<const std::byte> moved(longer.data() + distance, 4096);
    ASSERT_GE(count_wrong_bytes(9, 1, moved), 4096u / 8) << distance;
  }
}

TEST(BlockContent, FindsAnotherBlockSpaceOrNothing) {
  for (uint64_t id = 0; id < 300; ++id) {
    EXPECT_GT(count_wrong_bytes(id, 1, payload(id + 1)), kBytes / 2);
    EXPECT_GT(count_wrong_bytes(id, 2, payload(id, 1)), kBytes / 2);
  }
  EXPECT_GT(count_wrong_bytes(1, 2, payload(2, 1)), kBytes / 2);
  EXPECT_GT(count_wrong_bytes(0, 0, std::vector<std::byte>(kBytes)), kBytes / 2);
  // The second half of a chunk left over from another block.
  std::vector<std::byte> torn = payload(3);
  const std::vector<std::byte> stale = payload(4);
  std::copy(stale.begin() + kBytes / 2, stale.end(), torn.begin() + kBytes / 2);
  EXPECT_GT(count_wrong_bytes(3, 1, torn), kBytes / 4);
}

TEST(BlockTokens, AreEqualForEqualIdsAndDifferForOthers) {
  std::set<std::vector<uint32_t>> all;
  std::set<uint32_t> firsts;
  size_t ids = 0;
  const auto add = [&](uint64_t id, size_t count) {
    std::vector<uint32_t> tokens(count);
    std::vector<uint32_t> again(count);
    fill_tokens(id, tokens);
    fill_tokens(id, again);
    EXPECT_EQ(tokens, again);
    EXPECT_TRUE(all.insert(tokens).second) << id;
    ++ids;
    if (id <= UINT32_MAX) firsts.insert(tokens[0]);
  };
  for (uint64_t id = 0; id < 20'000; ++id) add(id, 2);
  EXPECT_EQ(firsts.size(), 20'000u);
  for (uint64_t id = 0; id < 20'000; ++id) add((id << 32) + 20'000, 2);
  for (int bit = 40; bit < 64; ++bit) add((uint64_t{1} << bit) - 1, 2);
  EXPECT_EQ(all.size(), ids);
}

TEST(BlockTokens, FillTheWholeBlockAndAreAPrefixOfTheLonger) {
  std::vector<uint32_t> tokens(512);
  fill_tokens(77, tokens);
  EXPECT_GT(std::set<uint32_t>(tokens.begin(), tokens.end()).size(), 505u);
  for (const size_t count : {0u, 1u, 2u, 3u, 256u}) {
    std::vector<uint32_t> part(count);
    fill_tokens(77, part);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), tokens.begin())) << count;
  }
}

}  // namespace
}  // namespace kvtier::tools
