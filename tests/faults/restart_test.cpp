// Host memory over restarts: what was stored is found again after SIGTERM and after SIGKILL, byte
// for byte; processes that were attached go on; slots that they still read or write stay theirs; a
// change of layout or configuration is a cold start or a smaller tier, never wrong bytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/faults/child.hpp"
#include "tests/faults/fault_client.hpp"
#include "tests/faults/fault_daemon.hpp"

namespace kvtier::faults {
namespace {

using std::chrono::milliseconds;
constexpr size_t kChunks = 6;

void expect_whole(FaultClient& engine, uint64_t prompt, size_t chunks = kChunks) {
  const ReadBack back = engine.read(prompt, chunks);
  EXPECT_EQ(back.loaded, chunks) << "prompt " << prompt;
  EXPECT_EQ(back.wrong_bytes, 0u);
  EXPECT_FALSE(back.failed);
}

TEST(Restart, ChunksAreFoundAgainAfterAnOrderlyStop) {
  FaultDaemon daemon(small_pool("32MiB"), Keep::kYes);
  daemon.start();
  EXPECT_EQ(daemon.start_mode(), "cold");
  {
    FaultClient engine({.socket = daemon.socket()});
    ASSERT_TRUE(engine.wait_attached());
    for (uint64_t prompt = 0; prompt < 10; ++prompt) ASSERT_TRUE(engine.store_all(prompt, kChunks));
    engine.close();
  }
  daemon.stop();
  daemon.start();
  EXPECT_EQ(daemon.start_mode(), "warm");
  EXPECT_EQ(daemon.counter("adopted"), 10 * kChunks);
  FaultClient engine({.socket = daemon.socket()});
  ASSERT_TRUE(engine.wait_attached());
  for (uint64_t prompt = 0; prompt < 10; ++prompt) expect_whole(engine, prompt);
  ASSERT_TRUE(engine.store_all(100, kChunks));
  expect_whole(engine, 100);
  EXPECT_TRUE(
      eventually(milliseconds(5000), [&] { return daemon.counter("rechecked") == 10 * kChunks; }));
  EXPECT_EQ(daemon.counter("recheck_failed"), 0u);
}

TEST(Restart, AttachedClientGoesOnAfterAKillWithinASecond) {
  FaultDaemon daemon(small_pool("32MiB"), Keep::kYes);
  daemon.start();
  FaultClient engine({.socket = daemon.socket()});
  ASSERT_TRUE(engine.wait_attached());
  for (uint64_t prompt = 0; prompt < 10; ++prompt) ASSERT_TRUE(engine.store_all(prompt, kChunks));
  const uint64_t epoch = engine.session().epoch();
  for (int restart = 0; restart < 3; ++restart) {
    daemon.kill();
    daemon.start();
    const auto ready = Clock::now();
    ASSERT_TRUE(eventually(milliseconds(5000), [&] { return engine.read(3, 1).loaded == 1; }));
    EXPECT_LT(Clock::now() - ready, milliseconds(1000));
    EXPECT_EQ(daemon.start_mode(), "crash_warm");
    EXPECT_NE(engine.session().epoch(), epoch);
    for (uint64_t prompt = 0; prompt < 10; ++prompt) expect_whole(engine, prompt);
    ASSERT_TRUE(engine.store_all(100 + static_cast<uint64_t>(restart), kChunks));
  }
  for (uint64_t prompt = 100; prompt < 103; ++prompt) expect_whole(engine, prompt);
  // What the ended attachments had is given up by the client itself.
  EXPECT_TRUE(eventually(milliseconds(3000), [&] { return daemon.sessions() == 1; }));
  EXPECT_EQ(daemon.host("granted_slots"), 0u);
  EXPECT_EQ(daemon.host("retired_slots"), 0u);
}

// The pool holds exactly what is granted and leased, so any reuse would have to take those slots.
TEST(Restart, LateWriteIntoAGrantedSlotReachesNobody) {
  FaultDaemon daemon(small_pool("1MiB"), Keep::kYes);
  daemon.start();
  FaultClient writer({.socket = daemon.socket(), .name = "writer"});
  ASSERT_TRUE(writer.wait_attached());
  std::vector<Grant> grants = writer.grants(1, kChunks);
  ASSERT_EQ(grants.size(), kChunks);
  daemon.kill();
  daemon.start();
  EXPECT_EQ(daemon.start_mode(), "crash_warm");
  EXPECT_EQ(daemon.host("granted_slots"), kChunks);

  FaultClient other({.socket = daemon.socket(), .name = "other", .salt = 7});
  ASSERT_TRUE(other.wait_attached());
  for (uint64_t prompt = 50; prompt < 60; ++prompt) {
    other.store(prompt, kChunks, milliseconds(300));
  }
  // The copies that were under way when the daemon was killed end only now.
  for (Grant& grant : grants) std::memset(grant.payload().data(), 0xee, grant.payload().size());
  for (uint64_t prompt = 50; prompt < 60; ++prompt) {
    EXPECT_EQ(other.read(prompt, kChunks).wrong_bytes, 0u);
  }
  EXPECT_EQ(other.session().stats().corrupt, 0u);
  EXPECT_EQ(daemon.host("granted_slots"), kChunks);
  EXPECT_EQ(writer.read(1, kChunks).found, 0u);

  grants.clear();  // done: the library gives the session of before up
  EXPECT_TRUE(eventually(milliseconds(3000), [&] { return daemon.host("granted_slots") == 0; }));
  ASSERT_TRUE(other.store_all(70, kChunks));
  expect_whole(other, 70);
}

TEST(Restart, LeasedBytesStayUntilReleasedAndTheirLoadFails) {
  FaultDaemon daemon(small_pool("1MiB"), Keep::kYes);
  daemon.start();
  FaultClient reader({.socket = daemon.socket(), .name = "reader"});
  ASSERT_TRUE(reader.wait_attached());
  ASSERT_TRUE(reader.store_all(1, kChunks));
  {
    const auto match = reader.match(1, kChunks);
    ASSERT_TRUE(match.ok());
    ASSERT_EQ(match->chunks(), kChunks);
    for (int restart = 0; restart < 2; ++restart) {
      daemon.kill();
      daemon.start();
      FaultClient other({.socket = daemon.socket(), .name = "other", .salt = 7});
      ASSERT_TRUE(other.wait_attached());
      for (uint64_t prompt = 50; prompt < 60; ++prompt) {
        other.store(prompt, kChunks, milliseconds(300));
        EXPECT_EQ(other.read(prompt, kChunks).wrong_bytes, 0u);
      }
      for (size_t i = 0; i < kChunks; ++i) {
        EXPECT_EQ(reader.wrong_bytes(1, i, match->payload(i)), 0u) << "chunk " << i;
      }
      EXPECT_FALSE(match->check().ok());
      EXPECT_EQ(reader.load(*match, 1).loaded, 0u);
      EXPECT_EQ(other.session().stats().corrupt, 0u);
      other.close();
    }
  }
  FaultClient other({.socket = daemon.socket(), .name = "other", .salt = 7});
  ASSERT_TRUE(other.wait_attached());
  EXPECT_TRUE(eventually(milliseconds(5000), [&] { return other.store_all(80, kChunks); }));
  EXPECT_TRUE(eventually(milliseconds(5000), [&] {
    return daemon.host("retired_slots") == 0 && daemon.host("granted_slots") == 0;
  }));
}

TEST(Restart, SlotsOfAClientThatDiedWhileNoDaemonRanComeBack) {
  FaultDaemon daemon(small_pool("1MiB"), Keep::kYes);
  daemon.start();
  const auto child = Child::start([&](Line& line) {
    FaultClient engine({.socket = daemon.socket()});
    if (!engine.wait_attached()) return 1;
    const std::vector<Grant> grants = engine.grants(1, kChunks);
    line.say(std::to_string(grants.size()));
    line.hear();
    return 0;
  });
  ASSERT_EQ(child->line().hear(), std::to_string(kChunks));
  daemon.kill();
  child->kill_now();
  daemon.start();
  EXPECT_TRUE(eventually(milliseconds(2000), [&] { return daemon.host("granted_slots") == 0; }));
  EXPECT_EQ(daemon.sessions(), 0u);
}

TEST(Restart, LessCapacityKeepsWhatWasUsedLast) {
  FaultDaemon daemon(small_pool("16MiB"), Keep::kYes);
  daemon.start();
  FaultClient engine({.socket = daemon.socket()});
  ASSERT_TRUE(engine.wait_attached());
  for (uint64_t prompt = 0; prompt < 30; ++prompt) ASSERT_TRUE(engine.store_all(prompt, kChunks));
  daemon.stop();
  daemon.configure(small_pool("4MiB"));
  daemon.start();
  EXPECT_EQ(daemon.start_mode(), "warm");
  // A segment goes when the jobs that were mapping it are done.
  EXPECT_TRUE(
      eventually(milliseconds(3000), [&] { return daemon.host("allocated_bytes") <= 4u << 20; }));
  ASSERT_TRUE(engine.wait_attached());
  expect_whole(engine, 29);
  EXPECT_EQ(engine.read(0, kChunks).found, 0u);
  ASSERT_TRUE(engine.store_all(100, kChunks));
  daemon.stop();
  daemon.configure(small_pool("32MiB"));
  daemon.start();
  EXPECT_EQ(daemon.start_mode(), "warm");
  ASSERT_TRUE(engine.wait_attached());
  expect_whole(engine, 100);
  for (uint64_t prompt = 200; prompt < 240; ++prompt) {
    ASSERT_TRUE(engine.store_all(prompt, kChunks));
  }
}

TEST(Restart, TenantThatIsNoLongerServedGivesItsMemoryBack) {
  const std::string pool = small_pool("8MiB");
  FaultDaemon daemon(pool + two_tenants(), Keep::kYes);
  daemon.start();
  {
    FaultClient a({.socket = daemon.socket("a")});
    FaultClient b({.socket = daemon.socket("b")});
    ASSERT_TRUE(a.wait_attached());
    ASSERT_TRUE(b.wait_attached());
    ASSERT_TRUE(a.store_all(1, kChunks));
    ASSERT_TRUE(b.store_all(1, kChunks));
  }
  daemon.stop();
  daemon.configure(pool + "[[tenant]]\nname = 'b'\nsocket = '{DIR}/b.sock'\nmode = '0666'\n");
  daemon.start();
  EXPECT_EQ(daemon.start_mode(), "warm");
  EXPECT_EQ(daemon.host("chunks"), kChunks);
  FaultClient b({.socket = daemon.socket("b")});
  ASSERT_TRUE(b.wait_attached());
  expect_whole(b, 1);
}

TEST(Restart, OtherSaltIsAColdStart) {
  FaultDaemon daemon(small_pool("8MiB"), Keep::kYes);
  daemon.start();
  FaultClient engine({.socket = daemon.socket()});
  ASSERT_TRUE(engine.wait_attached());
  ASSERT_TRUE(engine.store_all(1, kChunks));
  daemon.kill();
  daemon.forget_salts();
  daemon.start();
  EXPECT_EQ(daemon.start_mode(), "cold");
  EXPECT_TRUE(daemon.logged("KV1020"));
  ASSERT_TRUE(engine.wait_attached());
  EXPECT_EQ(engine.read(1, kChunks).found, 0u);
  ASSERT_TRUE(engine.store_all(1, kChunks));
  daemon.kill();
  daemon.start();
  EXPECT_EQ(daemon.start_mode(), "crash_warm");
  ASSERT_TRUE(engine.wait_attached());
  expect_whole(engine, 1);
}

}  // namespace
}  // namespace kvtier::faults
