// Faults of clients: killed, stopped, forked, ended in the middle of a store. What they held comes
// back, what they did not finish is never seen, and the others go on.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "kernels/checksum.hpp"
#include "tests/faults/child.hpp"
#include "tests/faults/fault_client.hpp"
#include "tests/faults/fault_daemon.hpp"

namespace kvtier::faults {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kOneSecond{1000};
constexpr size_t kLeases = 8;
constexpr size_t kGrants = 4;

size_t count(const std::vector<StoreOutcome>& outcomes, StoreOutcome outcome) {
  return static_cast<size_t>(std::count(outcomes.begin(), outcomes.end(), outcome));
}

uint64_t leases(const FaultDaemon& daemon) {
  uint64_t sum = 0;
  const nlohmann::json status = daemon.status();
  for (const nlohmann::json& session : status.at("sessions")) {
    sum += session.at("leases").get<uint64_t>();
  }
  return sum;
}

// Leases prompt 1, holds grants of prompt 2 with half of their bytes written, says so, and waits.
int hold(const std::string& socket, Line& line) {
  FaultClient engine(ClientOptions{.socket = socket, .name = "holder"});
  if (!engine.wait_attached()) return 1;
  const auto match = engine.match(1, kLeases);
  if (!match.ok() || match->chunks() != kLeases) return 2;
  const std::vector<Grant> grants = engine.grants(2, kGrants);
  if (grants.size() != kGrants) return 3;
  for (const Grant& grant : grants) {
    const std::vector<std::byte> bytes = engine.bytes_of(2, grant.chunk());
    std::memcpy(grant.payload().data(), bytes.data(), bytes.size() / 2);
  }
  line.say("holding");
  line.hear(milliseconds(60'000));
  return 0;
}

TEST(FaultsOfClients, KilledClientGivesLeasesAndGrantsBackWithinASecond) {
  FaultDaemon daemon(small_pool("32MiB"));
  daemon.start();
  FaultClient engine(ClientOptions{.socket = daemon.socket()});
  ASSERT_TRUE(engine.wait_attached());
  ASSERT_TRUE(engine.store_all(1, kLeases));
  const auto holder = Child::start([&](Line& line) { return hold(daemon.socket(), line); });
  ASSERT_EQ(holder->line().hear(), "holding");
  EXPECT_EQ(daemon.host("granted_slots"), kGrants);
  EXPECT_EQ(leases(daemon), kLeases);
  EXPECT_EQ(count(engine.store(2, kGrants, milliseconds(100)), StoreOutcome::kInProgress), kGrants);
  const uint64_t aborted =
      daemon.counter("aborted");  // a store that waits for room gives some back

  holder->kill_now();
  const auto died = Clock::now();
  EXPECT_TRUE(eventually(kOneSecond, [&] {
    return daemon.host("granted_slots") == 0 && leases(daemon) == 0 && daemon.sessions() == 1;
  }));
  EXPECT_LT(Clock::now() - died, kOneSecond);
  EXPECT_EQ(daemon.host("retired_slots"), 0u);
  EXPECT_EQ(daemon.counter("aborted"), aborted + kGrants);
  EXPECT_TRUE(daemon.logged("KV2005"));
  EXPECT_EQ(engine.read(2, kGrants).found, 0u);  // nothing of a store that did not end
  ASSERT_TRUE(engine.store_all(2, kGrants));
  EXPECT_EQ(engine.read(2, kGrants).wrong_bytes, 0u);
  EXPECT_EQ(engine.read(2, kGrants).loaded, kGrants);
}

TEST(FaultsOfClients, AbortedStoreIsNeverVisible) {
  FaultDaemon daemon(small_pool("32MiB"));
  daemon.start();
  FaultClient engine(ClientOptions{.socket = daemon.socket()});
  ASSERT_TRUE(engine.wait_attached());
  {
    const std::vector<Grant> grants = engine.grants(1, kGrants);
    ASSERT_EQ(grants.size(), kGrants);
    const std::vector<std::byte> bytes = engine.bytes_of(1, grants[0].chunk());
    std::memcpy(grants[0].payload().data(), bytes.data(), bytes.size());
    EXPECT_EQ(engine.read(1, kGrants).found, 0u);
  }  // dropped: given back
  EXPECT_TRUE(eventually(kOneSecond, [&] { return daemon.host("granted_slots") == 0; }));
  EXPECT_EQ(engine.read(1, kGrants).found, 0u);
  EXPECT_EQ(daemon.counter("aborted"), kGrants);
  EXPECT_EQ(daemon.counter("committed"), 0u);
}

// A claim that the bytes are right does not make them so: a commit with a wrong checksum is a miss.
TEST(FaultsOfClients, CommitWithAWrongChecksumIsNeverServed) {
  FaultDaemon daemon(small_pool("32MiB"));
  daemon.start();
  FaultClient engine(ClientOptions{.socket = daemon.socket()});
  ASSERT_TRUE(engine.wait_attached());
  std::vector<Grant> grants = engine.grants(1, 1);
  ASSERT_EQ(grants.size(), 1u);
  std::memset(grants[0].payload().data(), 7, grants[0].payload().size());
  const uint64_t checksums[] = {12345};
  ASSERT_TRUE(engine.space().commit(grants, checksums, in(kOneSecond)).ok());
  const ReadBack back = engine.read(1, 1);
  EXPECT_EQ(back.loaded, 0u);
  EXPECT_TRUE(eventually(kOneSecond, [&] { return daemon.counter("corrupt_checksum") == 1; }));
}

// A holder of everything is stopped: the others get its slots after host.lease_max, and what it
// loaded before is no longer called good once a slot of it went to somebody else.
TEST(FaultsOfClients, StoppedClientDoesNotKeepThePoolFromOthers) {
  FaultDaemon daemon(small_pool("2MiB", "lease_max = '200ms'\ngrant_stale_after = '200ms'"));
  daemon.start();
  FaultClient engine(ClientOptions{.socket = daemon.socket()});
  ASSERT_TRUE(engine.wait_attached());
  constexpr size_t kMost = 64;  // more than fit
  engine.store(1, kMost);
  const auto holder = Child::start([&](Line& line) {
    FaultClient held(ClientOptions{.socket = daemon.socket(), .name = "holder"});
    if (!held.wait_attached()) return 1;
    const auto match = held.match(1, kMost);
    if (!match.ok() || match->chunks() == 0) return 2;
    line.say(std::to_string(match->chunks()));
    if (line.hear() != "go") return 3;
    // Stopped here; continued after the others have stored.
    const ReadBack back = held.load(*match, 1);
    line.say(match->check().ok() ? "good" : "revoked");
    EXPECT_EQ(back.wrong_bytes, 0u);
    EXPECT_EQ(back.loaded, 0u);
    return 0;
  });
  const size_t leased = static_cast<size_t>(std::atoi(holder->line().hear().c_str()));
  ASSERT_GT(leased, 10u);
  holder->stop_and_wait();

  // Nothing is hung while the leases are young, and room comes when they are old.
  EXPECT_TRUE(eventually(milliseconds(5000), [&] {
    const auto began = Clock::now();
    const auto outcomes = engine.store(2, 8, milliseconds(200));
    EXPECT_LT(Clock::now() - began, kOneSecond);
    return count(outcomes, StoreOutcome::kStored) + count(outcomes, StoreOutcome::kPresent) == 8;
  }));
  EXPECT_GT(daemon.counter("revoked"), 0u);
  EXPECT_TRUE(daemon.logged("KV2006"));
  const ReadBack back = engine.read(2, 8);
  EXPECT_EQ(back.loaded, 8u);
  EXPECT_EQ(back.wrong_bytes, 0u);

  holder->line().say("go");
  holder->send(SIGCONT);
  EXPECT_EQ(holder->line().hear(), "revoked");
  EXPECT_EQ(holder->wait(), 0);
  EXPECT_TRUE(eventually(kOneSecond, [&] { return daemon.host("retired_slots") == 0; }));
}

TEST(FaultsOfClients, ClientStoppedInAStoreCommitsAfterwards) {
  FaultDaemon daemon(small_pool("32MiB"));
  daemon.start();
  FaultClient engine(ClientOptions{.socket = daemon.socket()});
  ASSERT_TRUE(engine.wait_attached());
  const auto writer = Child::start([&](Line& line) {
    FaultClient stopped(ClientOptions{.socket = daemon.socket(), .name = "writer"});
    if (!stopped.wait_attached()) return 1;
    std::vector<Grant> grants = stopped.grants(1, kGrants);
    if (grants.size() != kGrants) return 2;
    line.say("granted");
    if (line.hear() != "go") return 3;
    const auto outcomes = stopped.commit(1, grants);
    EXPECT_EQ(count(outcomes, StoreOutcome::kStored), kGrants);
    line.say("committed");
    line.hear();
    return 0;
  });
  ASSERT_EQ(writer->line().hear(), "granted");
  writer->stop_and_wait();
  // The others go on; only what it stores is not there yet.
  ASSERT_TRUE(engine.store_all(2, 20));
  EXPECT_EQ(engine.read(2, 20).loaded, 20u);
  EXPECT_EQ(engine.read(1, kGrants).found, 0u);
  EXPECT_EQ(count(engine.store(1, kGrants, milliseconds(50)), StoreOutcome::kInProgress), kGrants);
  writer->line().say("go");
  writer->send(SIGCONT);
  ASSERT_EQ(writer->line().hear(), "committed");
  const ReadBack back = engine.read(1, kGrants);
  EXPECT_EQ(back.loaded, kGrants);
  EXPECT_EQ(back.wrong_bytes, 0u);
  writer->line().say("end");
  EXPECT_EQ(writer->wait(), 0);
}

TEST(FaultsOfClients, ChunkOfAClientStoppedForLongIsStoredByAnotherAndTheFirstCommitWins) {
  FaultDaemon daemon(small_pool("32MiB", "grant_stale_after = '200ms'"));
  daemon.start();
  FaultClient engine(ClientOptions{.socket = daemon.socket()});
  ASSERT_TRUE(engine.wait_attached());
  const auto writer = Child::start([&](Line& line) {
    FaultClient stopped(ClientOptions{.socket = daemon.socket(), .name = "writer"});
    if (!stopped.wait_attached()) return 1;
    std::vector<Grant> grants = stopped.grants(1, kGrants);
    if (grants.size() != kGrants) return 2;
    line.say("granted");
    if (line.hear() != "go") return 3;
    const auto outcomes = stopped.commit(1, grants);
    EXPECT_EQ(count(outcomes, StoreOutcome::kPresent), kGrants);
    const ReadBack back = stopped.read(1, kGrants);
    EXPECT_EQ(back.loaded, kGrants);
    EXPECT_EQ(back.wrong_bytes, 0u);
    return 0;
  });
  ASSERT_EQ(writer->line().hear(), "granted");
  writer->stop_and_wait();
  EXPECT_TRUE(eventually(milliseconds(5000), [&] {
    const auto outcomes = engine.store(1, kGrants);
    return count(outcomes, StoreOutcome::kInProgress) == 0;
  }));
  EXPECT_EQ(engine.read(1, kGrants).loaded, kGrants);
  writer->line().say("go");
  writer->send(SIGCONT);
  EXPECT_EQ(writer->wait(), 0);
  EXPECT_TRUE(eventually(kOneSecond, [&] { return daemon.host("granted_slots") == 0; }));
  const ReadBack back = engine.read(1, kGrants);
  EXPECT_EQ(back.loaded, kGrants);
  EXPECT_EQ(back.wrong_bytes, 0u);
}

// The socket lives on in a child; the session must end with the process that attached.
TEST(FaultsOfClients, SessionEndsWithItsProcessThoughAChildInheritedTheSocket) {
  FaultDaemon daemon(small_pool("32MiB"));
  daemon.start();
  FaultClient engine(ClientOptions{.socket = daemon.socket()});
  ASSERT_TRUE(engine.wait_attached());
  ASSERT_TRUE(engine.store_all(1, kLeases));
  const auto parent = Child::start([&](Line& line) {
    FaultClient forking(ClientOptions{.socket = daemon.socket(), .name = "forking"});
    if (!forking.wait_attached()) return 1;
    const auto match = forking.match(1, kLeases);
    const std::vector<Grant> grants = forking.grants(2, kGrants);
    if (!match.ok() || match->chunks() != kLeases || grants.size() != kGrants) return 2;
    if (::fork() == 0) {
      // Everything answers "forked", and nothing of the parent's is let go.
      const bool refuses = forking.match(1, kLeases).code() == Code::kForked &&
                           match->check().code() == Code::kForked && !grants[0].held() &&
                           match->payload(0).empty();
      line.say(refuses ? std::to_string(::getpid()) : "0");
      for (;;) ::pause();
    }
    for (;;) ::pause();
  });
  const pid_t grandchild = std::atoi(parent->line().hear().c_str());
  ASSERT_GT(grandchild, 0);
  EXPECT_EQ(daemon.host("granted_slots"), kGrants);
  EXPECT_EQ(leases(daemon), kLeases);

  parent->kill_now();
  EXPECT_TRUE(eventually(kOneSecond, [&] {
    return daemon.host("granted_slots") == 0 && leases(daemon) == 0 && daemon.sessions() == 1;
  }));
  EXPECT_EQ(::kill(grandchild, 0), 0);  // it does live, with the socket
  ::kill(grandchild, SIGKILL);
}

}  // namespace
}  // namespace kvtier::faults
