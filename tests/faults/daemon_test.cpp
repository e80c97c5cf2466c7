// Faults of the daemon: absent, stuck, killed, restarted, ended in order. Every call of a client
// returns within its deadline, nothing stale is called good, and the client comes back by itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "tests/faults/child.hpp"
#include "tests/faults/fault_client.hpp"
#include "tests/faults/fault_daemon.hpp"

namespace kvtier::faults {
namespace {

using std::chrono::milliseconds;
constexpr size_t kChunks = 6;
constexpr milliseconds kDeadline{300};
// What a call may take longer than its deadline on a machine with other work.
constexpr milliseconds kSlack{700};

// Runs a call and expects it back in time.
template <typename Call>
auto timed(const char* what, Call&& call) {
  const auto began = Clock::now();
  auto result = call();
  EXPECT_LT(Clock::now() - began, kDeadline + kSlack) << what;
  return result;
}

// Every call of a space, with nobody there to answer.
void expect_calls_return(FaultClient& engine, const KeyChain& keys) {
  Space& space = engine.space();
  timed("lookup", [&] { return space.lookup(keys).chunks; });
  timed("match", [&] { return space.match(keys).ok(); });
  const auto outcomes = timed("store", [&] { return engine.store(77, 3, kDeadline); });
  for (const StoreOutcome outcome : outcomes) EXPECT_EQ(outcome, StoreOutcome::kFailed);
  const size_t wanted[] = {0, 1};
  const KeyChain others = engine.chain(78, 2);
  EXPECT_FALSE(timed("reserve", [&] { return space.reserve(others, wanted, in(kDeadline)).ok(); }));
  EXPECT_FALSE(timed("prefetch", [&] {
    const auto brought = space.prefetch(others, 0, 2, in(kDeadline));
    return brought.ok() && *brought > 0;
  }));
  EXPECT_FALSE(timed("flush", [&] { return space.flush_touches(in(kDeadline)).ok(); }));
  timed("touch", [&] { return space.touch(keys, keys.size()), 0; });
  timed("hint", [&] { return space.hint(keys, 0, 1, Hint::kSessionEnd, 0).ok(); });
  timed("report", [&] { return space.report_prefill(100, 0, 0.1).ok(); });
  timed("open_space", [&] {
    SpaceSpec other = space.spec();
    other.model = "another";
    return engine.session().open_space(other).ok();
  });
}

ClientOptions hasty(const FaultDaemon& daemon) {
  return {.socket = daemon.socket(), .call_deadline = kDeadline};
}

TEST(FaultsOfTheDaemon, AbsentDaemonIsAMissAndIsFoundWhenItComes) {
  FaultDaemon daemon(small_pool("32MiB"));
  FaultClient engine(hasty(daemon));
  EXPECT_FALSE(timed("wait", [&] { return engine.session().wait_attached(in(kDeadline)); }).ok());
  EXPECT_FALSE(engine.session().attached());
  expect_calls_return(engine, KeyChain());
  EXPECT_EQ(engine.read(1, kChunks).found, 0u);

  daemon.start();
  ASSERT_TRUE(engine.wait_attached());
  ASSERT_TRUE(engine.store_all(1, kChunks));
  const ReadBack back = engine.read(1, kChunks);
  EXPECT_EQ(back.loaded, kChunks);
  EXPECT_EQ(back.wrong_bytes, 0u);
}

TEST(FaultsOfTheDaemon, StuckDaemonFailsStoresInTimeWhileResidentChunksAreServed) {
  FaultDaemon daemon(small_pool("32MiB"));
  daemon.start();
  FaultClient engine(hasty(daemon));
  ASSERT_TRUE(engine.wait_attached());
  ASSERT_TRUE(engine.store_all(1, kChunks));
  EXPECT_EQ(engine.read(1, kChunks).loaded, kChunks);
  const KeyChain keys = engine.chain(1, kChunks);

  daemon.pause();
  for (int i = 0; i < 3; ++i) {  // no message is needed
    const ReadBack back = timed("read", [&] { return engine.read(1, kChunks); });
    EXPECT_EQ(back.loaded, kChunks);
    EXPECT_EQ(back.wrong_bytes, 0u);
  }
  expect_calls_return(engine, keys);
  EXPECT_TRUE(engine.session().attached());
  FaultClient late(hasty(daemon));  // one that comes now
  EXPECT_FALSE(timed("wait", [&] { return late.session().wait_attached(in(kDeadline)); }).ok());

  daemon.resume();
  // What was granted to those who had given up goes back by itself.
  EXPECT_TRUE(eventually(milliseconds(3000), [&] { return daemon.host("granted_slots") == 0; }));
  EXPECT_EQ(engine.read(77, 3).found, 0u);
  ASSERT_TRUE(late.wait_attached());
  ASSERT_TRUE(engine.store_all(2, kChunks));
  EXPECT_EQ(late.read(2, kChunks).wrong_bytes, 0u);
  EXPECT_EQ(late.read(2, kChunks).loaded, kChunks);
}

// What follows an end of the daemon, however it came.
void expect_cold_start(FaultDaemon& daemon, FaultClient& engine, const Match& match,
                       uint64_t epoch) {
  EXPECT_FALSE(match.check().ok());
  // What is mapped stays readable, and is what it was; only nobody may call it good.
  for (size_t i = 0; i < match.chunks(); ++i) {
    EXPECT_EQ(engine.wrong_bytes(1, i, match.payload(i)), 0u);
  }
  EXPECT_EQ(engine.load(match, 1).loaded, 0u);

  daemon.start();
  ASSERT_TRUE(engine.wait_attached());
  EXPECT_NE(engine.session().epoch(), epoch);
  EXPECT_FALSE(match.check().ok());
  EXPECT_EQ(engine.load(match, 1).loaded, 0u);
  const ReadBack cold = engine.read(1, kChunks);
  EXPECT_FALSE(cold.failed);
  EXPECT_EQ(cold.found, 0u);
  ASSERT_TRUE(engine.store_all(1, kChunks));
  const ReadBack back = engine.read(1, kChunks);
  EXPECT_EQ(back.loaded, kChunks);
  EXPECT_EQ(back.wrong_bytes, 0u);
  EXPECT_EQ(engine.session().stats().attachments, 2u);
}

TEST(FaultsOfTheDaemon, KilledDaemonEndsLoadsUnderWayAndComesBackCold) {
  FaultDaemon daemon(small_pool("32MiB"));
  daemon.start();
  FaultClient engine(hasty(daemon));
  ASSERT_TRUE(engine.wait_attached());
  ASSERT_TRUE(engine.store_all(1, kChunks));
  const auto match = engine.match(1, kChunks);
  ASSERT_TRUE(match.ok());
  ASSERT_EQ(match->chunks(), kChunks);
  ASSERT_TRUE(match->check().ok());
  const uint64_t epoch = engine.session().epoch();
  const KeyChain keys = engine.chain(1, kChunks);
  daemon.kill();
  // The socket says it, so it is known at once.
  EXPECT_TRUE(eventually(milliseconds(1000), [&] { return !match->check().ok(); }));
  expect_calls_return(engine, keys);
  expect_cold_start(daemon, engine, *match, epoch);
}

TEST(FaultsOfTheDaemon, DaemonStoppedInOrderEndsLoadsUnderWayAndComesBackCold) {
  FaultDaemon daemon(small_pool("32MiB"));
  daemon.start();
  FaultClient engine(hasty(daemon));
  ASSERT_TRUE(engine.wait_attached());
  ASSERT_TRUE(engine.store_all(1, kChunks));
  const auto match = engine.match(1, kChunks);
  ASSERT_TRUE(match.ok());
  ASSERT_EQ(match->chunks(), kChunks);
  const uint64_t epoch = engine.session().epoch();
  daemon.stop();
  EXPECT_FALSE(match->check().ok());  // the epoch was closed before the process ended
  expect_cold_start(daemon, engine, *match, epoch);
}

TEST(FaultsOfTheDaemon, GrantOutlivesItsDaemonUselessButHarmless) {
  FaultDaemon daemon(small_pool("32MiB"));
  daemon.start();
  FaultClient engine(hasty(daemon));
  ASSERT_TRUE(engine.wait_attached());
  std::vector<Grant> grants = engine.grants(1, kChunks);
  ASSERT_EQ(grants.size(), kChunks);
  daemon.kill();
  const auto outcomes = timed("commit", [&] { return engine.commit(1, grants); });
  for (const StoreOutcome outcome : outcomes) EXPECT_EQ(outcome, StoreOutcome::kFailed);
  daemon.start();
  ASSERT_TRUE(engine.wait_attached());
  EXPECT_EQ(engine.read(1, kChunks).found, 0u);
  EXPECT_EQ(daemon.host("granted_slots"), 0u);
}

// Three engines store and load without a pause while the daemon is killed and started again.
TEST(FaultsOfTheDaemon, RestartsUnderLoadGiveNoWrongByteAndNoHungCall) {
  constexpr int kRestarts = 4;
  constexpr uint64_t kPrompts = 30;
  FaultDaemon daemon(small_pool("8MiB"));  // less than they ask for: stores never end
  daemon.start();
  const auto engine = [&](Line& line) {
    FaultClient client(hasty(daemon));
    if (!client.wait_attached()) return 1;
    line.say("ready");
    uint64_t round = static_cast<uint64_t>(::getpid());
    uint64_t hits = 0;
    while (line.hear(milliseconds(0)).empty()) {
      const uint64_t prompt = round++ * 7 % kPrompts;
      const ReadBack back = timed("read", [&] { return client.read(prompt, kChunks); });
      EXPECT_EQ(back.wrong_bytes, 0u);
      EXPECT_FALSE(back.failed);
      hits += back.loaded;
      if (back.loaded < kChunks) {
        timed("store", [&] { return client.store(prompt, kChunks, kDeadline); });
      }
    }
    // After the last restart everything works again.
    EXPECT_TRUE(client.wait_attached());
    EXPECT_TRUE(client.store_all(1000 + static_cast<uint64_t>(::getpid()), kChunks));
    EXPECT_GE(client.session().stats().attachments, 2u);
    EXPECT_EQ(client.session().stats().corrupt, 0u);
    line.say("loaded " + std::to_string(hits));
    return 0;
  };
  std::vector<std::unique_ptr<Child>> engines;
  for (int i = 0; i < 3; ++i) engines.push_back(Child::start(engine));
  for (const auto& child : engines) ASSERT_EQ(child->line().hear(), "ready");
  for (int i = 0; i < kRestarts; ++i) {
    // Until there was real work under this daemon.
    ASSERT_TRUE(
        eventually(milliseconds(10'000), [&] { return daemon.counter("committed") > 400; }));
    daemon.kill();
    daemon.start();
  }
  for (const auto& child : engines) child->line().say("end");
  for (const auto& child : engines) {
    std::printf("[          ] an engine %s chunks\n", child->line().hear().c_str());
    EXPECT_EQ(child->wait(), 0);
  }
}

}  // namespace
}  // namespace kvtier::faults
