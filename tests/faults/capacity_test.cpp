// No room, and too many who want it: a pool full of leased chunks, capacities of nothing and of
// less than a chunk, and one chunk stored by two at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/faults/child.hpp"
#include "tests/faults/fault_client.hpp"
#include "tests/faults/fault_daemon.hpp"

namespace kvtier::faults {
namespace {

using std::chrono::milliseconds;

size_t count(const std::vector<StoreOutcome>& outcomes, StoreOutcome outcome) {
  return static_cast<size_t>(std::count(outcomes.begin(), outcomes.end(), outcome));
}

TEST(FaultsOfCapacity, PoolFullOfLeasedChunksRefusesAtOnceAndServesOn) {
  FaultDaemon daemon(small_pool("2MiB"));  // leases may last 30 s
  daemon.start();
  FaultClient engine(ClientOptions{.socket = daemon.socket()});
  ASSERT_TRUE(engine.wait_attached());
  engine.store(1, 64);  // more than fit: the head stays
  auto match = engine.match(1, 64);
  ASSERT_TRUE(match.ok());
  const size_t leased = match->chunks();
  ASSERT_EQ(leased, daemon.host("chunks"));  // every chunk there is

  const auto began = Clock::now();
  const auto outcomes = engine.store(2, 8, milliseconds(300));
  EXPECT_LT(Clock::now() - began, milliseconds(2000));
  EXPECT_EQ(count(outcomes, StoreOutcome::kStored), 0u);
  EXPECT_EQ(count(outcomes, StoreOutcome::kFull) + count(outcomes, StoreOutcome::kBusy), 8u);
  EXPECT_GT(daemon.counter("full") + daemon.counter("busy"), 0u);
  EXPECT_TRUE(daemon.logged("KV3002") || daemon.counter("full") == 0);
  // Those who hold them read on, and the bytes are theirs.
  const ReadBack back = engine.load(*match, 1);
  EXPECT_EQ(back.loaded, leased);
  EXPECT_EQ(back.wrong_bytes, 0u);
  match->release();
  ASSERT_TRUE(engine.store_all(2, 8));
  EXPECT_EQ(engine.read(2, 8).loaded, 8u);
}

void expect_no_tier(const std::string& config, uint64_t chunk_bytes) {
  FaultDaemon daemon(config);
  daemon.start();
  FaultClient engine(ClientOptions{.socket = daemon.socket(), .chunk_bytes = chunk_bytes});
  ASSERT_TRUE(engine.wait_attached());
  for (const StoreOutcome outcome : engine.store(1, 3)) {
    EXPECT_EQ(outcome, StoreOutcome::kDeclined) << store_outcome_name(outcome);
  }
  const ReadBack back = engine.read(1, 3);
  EXPECT_FALSE(back.failed);
  EXPECT_EQ(back.found, 0u);
  EXPECT_EQ(back.ended, MissReason::kAbsent);
  const KeyChain keys = engine.chain(1, 3);
  const auto brought = engine.space().prefetch(keys, 0, 3, in(milliseconds(500)));
  ASSERT_TRUE(brought.ok()) << brought.error().message();
  EXPECT_EQ(*brought, 0u);
  EXPECT_TRUE(engine.space().hint(keys, 0, 3, Hint::kSessionEnd, 0).ok());
  EXPECT_EQ(daemon.host("allocated_bytes"), 0u);
  EXPECT_EQ(daemon.counter("declined"), 3u);
  daemon.stop();
}

TEST(FaultsOfCapacity, NoHostTierDeclinesEveryStoreAndFailsNothing) {
  expect_no_tier("[host]\ncapacity = '0B'\n", 64 * wire::KiB);
}
TEST(FaultsOfCapacity, NoChunksDeclinesEveryStoreAndFailsNothing) {
  expect_no_tier("[host]\ncapacity_chunks = 0\n", 64 * wire::KiB);
}
TEST(FaultsOfCapacity, CapacityBelowOneChunkDeclinesEveryStoreAndFailsNothing) {
  expect_no_tier(small_pool("1MiB"), 2 * wire::MiB);
}

// Two processes store the same chunks at the same moment, a hundred times.
TEST(FaultsOfCapacity, OneChunkStoredByTwoAtOnceIsStoredOnce) {
  constexpr size_t kRounds = 100;
  constexpr size_t kChunks = 4;
  FaultDaemon daemon(small_pool("64MiB"));
  daemon.start();
  const auto racer = [&](Line& line) {
    FaultClient engine(ClientOptions{.socket = daemon.socket(), .name = "racer"});
    if (!engine.wait_attached()) return 1;
    line.say("ready");
    for (size_t round = 0; round < kRounds; ++round) {
      if (line.hear() != "go") return 2;
      const auto outcomes = engine.store(round, kChunks);
      std::string text;
      for (const StoreOutcome outcome : outcomes) {
        text += static_cast<char>('0' + static_cast<int>(outcome));
      }
      line.say(text);
      if (line.hear() != "read") return 3;
      const ReadBack back = engine.read(round, kChunks);
      EXPECT_EQ(back.loaded, kChunks) << "round " << round;
      EXPECT_EQ(back.wrong_bytes, 0u) << "round " << round;
      line.say("done");
    }
    return 0;
  };
  const auto first = Child::start(racer);
  const auto second = Child::start(racer);
  ASSERT_EQ(first->line().hear(), "ready");
  ASSERT_EQ(second->line().hear(), "ready");
  size_t met = 0;
  for (size_t round = 0; round < kRounds; ++round) {
    first->line().say("go");
    second->line().say("go");
    const std::string one = first->line().hear();
    const std::string two = second->line().hear();
    ASSERT_EQ(one.size(), kChunks);
    ASSERT_EQ(two.size(), kChunks);
    for (size_t i = 0; i < kChunks; ++i) {
      const int stored = (one[i] == '0') + (two[i] == '0');
      EXPECT_EQ(stored, 1) << "round " << round << " chunk " << i << ": " << one << " " << two;
      const char other = one[i] == '0' ? two[i] : one[i];
      EXPECT_TRUE(other == '1' || other == '2') << one << " " << two;  // present, in progress
      met += other == '2' ? 1 : 0;
    }
    for (Child* child : {first.get(), second.get()}) child->line().say("read");
    for (Child* child : {first.get(), second.get()}) ASSERT_EQ(child->line().hear(), "done");
  }
  EXPECT_EQ(first->wait(), 0);
  EXPECT_EQ(second->wait(), 0);
  EXPECT_EQ(daemon.counter("committed"), kRounds * kChunks);
  std::printf("[          ] %zu of %zu stores met one under way\n", met, kRounds * kChunks);
}

}  // namespace
}  // namespace kvtier::faults
