#include "client/argument_area.hpp"

#include <gtest/gtest.h>

#include <random>

namespace kvtier::client {
namespace {

TEST(ArgumentArea, NeverGivesTheSameBytesTwice) {
  constexpr uint64_t kBytes = 64 * 1024 + 100;
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  ArgumentArea area(kBytes);
  std::vector<bool> used(kBytes);
  std::vector<ArgumentBlock> blocks;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0 || blocks.empty()) {
      const uint64_t bytes = 1 + random() % 5000;
      const ArgumentBlock block = area.take(bytes);
      if (!block.held()) continue;
      ASSERT_GE(block.bytes, bytes);
      ASSERT_EQ(block.offset % 8, 0u);
      ASSERT_LE(uint64_t{block.offset} + block.bytes, kBytes);
      for (uint32_t i = block.offset; i < block.offset + block.bytes; ++i) {
        ASSERT_FALSE(used[i]);
        used[i] = true;
      }
      blocks.push_back(block);
    } else {
      const size_t index = random() % blocks.size();
      const ArgumentBlock block = blocks[index];
      for (uint32_t i = block.offset; i < block.offset + block.bytes; ++i) used[i] = false;
      area.give(block);
      blocks.erase(blocks.begin() + static_cast<ptrdiff_t>(index));
    }
  }
  for (const ArgumentBlock& block : blocks) area.give(block);
  EXPECT_TRUE(area.take(area.bytes_max()).held()) << "all of it came back";
}

TEST(ArgumentArea, RefusesWhatCannotFit) {
  ArgumentArea area(4096);
  EXPECT_FALSE(area.take(0).held());
  EXPECT_FALSE(area.take(4097).held());
  EXPECT_FALSE(area.take(UINT64_MAX).held());
  EXPECT_TRUE(area.take(4096).held());
  EXPECT_FALSE(area.take(1).held());
  EXPECT_FALSE(ArgumentArea(100).take(1).held());
}

}  // namespace
}  // namespace kvtier::client
