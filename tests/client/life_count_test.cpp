#include "client/life_count.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace kvtier::client {
namespace {

TEST(LifeCount, TheDeadAreNotAcquired) {
  LifeCount life;
  EXPECT_FALSE(life.try_acquire());
  life.revive();
  EXPECT_TRUE(life.try_acquire());
  EXPECT_FALSE(life.release());
  EXPECT_TRUE(life.release());
  EXPECT_FALSE(life.try_acquire());
}

// Threads try all the time while lives end and begin: each life is torn down once, and never while
// somebody holds it.
TEST(LifeCount, EachLifeIsTornDownOnceAndByTheLast) {
  LifeCount life;
  std::atomic<int> holders{0};
  std::atomic<int> torn{0};
  std::atomic<int> wrong{0};
  std::atomic<bool> stop{false};
  const auto let_go = [&] {
    if (!life.release()) return;
    if (holders.load() != 0) ++wrong;
    ++torn;
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      while (!stop.load()) {
        if (!life.try_acquire()) {
          std::this_thread::yield();
          continue;
        }
        ++holders;
        --holders;
        let_go();
      }
    });
  }
  constexpr int kLives = 200;  // each costs a few turns of every thread
  for (int i = 0; i < kLives; ++i) {
    life.revive();
    std::this_thread::yield();
    let_go();
    while (torn.load() != i + 1) std::this_thread::yield();
  }
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(torn.load(), kLives);
  EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace kvtier::client
