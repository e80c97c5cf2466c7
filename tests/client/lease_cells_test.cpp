#include "client/lease_cells.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <thread>
#include <vector>

namespace kvtier::client {
namespace {

struct Memory {
  wire::SessionHeader header = {};
  std::vector<std::atomic<uint64_t>> cells = std::vector<std::atomic<uint64_t>>(64);
};

TEST(LeaseCells, TheMarkIsAboveEveryTakenCell) {
  const auto shared = std::make_unique<Memory>();  // aligned as shared memory is
  Memory& memory = *shared;
  LeaseCells cells(&memory.header, memory.cells.data(), 64);
  uint32_t taken[64];
  ASSERT_EQ(cells.take(3, taken), 3u);
  EXPECT_EQ(memory.header.cells_high_water.load(), 3u);
  EXPECT_EQ(std::set<uint32_t>(taken, taken + 3), (std::set<uint32_t>{0, 1, 2}));
  cells.give(taken, 3);
  ASSERT_EQ(cells.take(2, taken), 2u);
  EXPECT_EQ(memory.header.cells_high_water.load(), 3u) << "low cells are used again first";
}

TEST(LeaseCells, GivesWhatThereIs) {
  const auto shared = std::make_unique<Memory>();  // aligned as shared memory is
  Memory& memory = *shared;
  LeaseCells cells(&memory.header, memory.cells.data(), 64);
  uint32_t taken[80];
  EXPECT_EQ(cells.take(80, taken), 64u);
  EXPECT_EQ(cells.take(1, taken + 64), 0u);
  EXPECT_EQ(memory.header.cells_high_water.load(), 64u);
}

TEST(LeaseCells, NoCellIsHeldTwice) {
  const auto shared = std::make_unique<Memory>();  // aligned as shared memory is
  Memory& memory = *shared;
  LeaseCells cells(&memory.header, memory.cells.data(), 64);
  std::vector<std::atomic<int>> owners(64);
  std::atomic<int> twice{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      uint32_t taken[30];
      for (int i = 0; i < 5000; ++i) {
        const uint32_t count = cells.take(30, taken);
        for (uint32_t k = 0; k < count; ++k) twice += owners[taken[k]].fetch_add(1) != 0;
        for (uint32_t k = 0; k < count; ++k) owners[taken[k]].fetch_sub(1);
        cells.give(taken, count);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(twice.load(), 0);
}

}  // namespace
}  // namespace kvtier::client
