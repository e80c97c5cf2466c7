// Sessions: without a daemon, with one that goes and comes back, spaces that open again.
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

#include "tests/client/fixture.hpp"

namespace kvtier::testing {
namespace {

class SessionTest : public ClientTest {};

TEST_F(SessionTest, WithoutADaemonEveryCallReturnsAtOnceWithItsCode) {
  const auto began = Clock::now();
  open_session(session_options());
  auto space = session_->open_space(spec());
  ASSERT_TRUE(space.ok()) << "works without a daemon";
  space_ = *space;
  EXPECT_FALSE(session_->attached());
  EXPECT_EQ(session_->epoch(), 0u);
  EXPECT_EQ(session_->id(), 0u);
  EXPECT_EQ(session_->wait_attached(in(std::chrono::milliseconds(20))).code(), Code::kUnavailable);
  EXPECT_EQ(space_->derive({.tokens = prompt(1)}).code(), Code::kUnavailable);
  const KeyChain empty;
  EXPECT_EQ(space_->lookup(empty).ended, MissReason::kUnavailable);
  EXPECT_EQ(space_->match(empty)->chunks(), 0u);
  EXPECT_EQ(space_->reserve(empty, {}, in(std::chrono::seconds(1)))->size(), 0u);
  EXPECT_EQ(space_->store(empty, {}, in(std::chrono::seconds(1)))->size(), 0u);
  space_->touch(empty, 1);
  EXPECT_EQ(space_->flush_touches(in(std::chrono::seconds(1))).code(), Code::kUnavailable);
  EXPECT_EQ(space_->prefetch(empty, 0, 0, in(std::chrono::seconds(1))).code(), Code::kUnavailable);
  EXPECT_EQ(space_->hint(empty, 0, 0, Hint::kSessionEnd, 0).code(), Code::kUnavailable);
  EXPECT_EQ(space_->report_prefill(1, 0, 1).code(), Code::kUnavailable);
  EXPECT_EQ(space_->plan(Lookup()).load_chunks, 0u);
  session_.reset();
  EXPECT_LT(Clock::now() - began, std::chrono::seconds(2));
  EXPECT_EQ(space_->report_prefill(1, 0, 1).code(), Code::kUnavailable) << "space after session";
}

TEST_F(SessionTest, AttachesWhenTheDaemonComes) {
  open_session(session_options());
  space_ = *session_->open_space(spec());
  ASSERT_EQ(session_->wait_attached(in(std::chrono::milliseconds(5))).code(), Code::kUnavailable);
  start_daemon();
  ASSERT_TRUE(session_->wait_attached(in(std::chrono::seconds(5))).ok());
  const KeyChain chain = derive(prompt(2));
  EXPECT_EQ(store(chain, 2), std::vector<StoreOutcome>(2, StoreOutcome::kStored))
      << "the space opened with the attachment";
}

TEST_F(SessionTest, AttachesAgainAfterTheEndAndGivesUpTheOldSession) {
  start();
  const KeyChain chain = derive(prompt(2));
  store(chain, 2);
  Match held = *space_->match(chain);
  const uint32_t first = session_->id();
  daemon_->drop_connections();
  ASSERT_TRUE(
      FakeDaemon::eventually([&] { return session_->attached() && session_->id() != first; }));
  EXPECT_EQ(held.check().code(), Code::kUnavailable) << "the old attachment's";
  EXPECT_EQ(held.payload(0)[5], payload(0)[5]) << "and still mapped";
  EXPECT_TRUE(daemon_->given_up().empty()) << "its copies are not done";
  Match again = *space_->match(chain);
  EXPECT_EQ(again.chunks(), 2u);
  EXPECT_TRUE(again.check().ok());
  held = Match();
  EXPECT_TRUE(
      FakeDaemon::eventually([&] { return daemon_->given_up() == std::vector<uint32_t>{first}; }));
  EXPECT_EQ(session_->stats().attachments, 2u);
  EXPECT_GE(session_->stats().chunks_hit, 4u) << "counted over both attachments";
}

TEST_F(SessionTest, AWaitingCallEndsWhenTheDaemonGoes) {
  start();
  const KeyChain chain = derive(prompt(1));
  daemon_->set_stuck(true);
  std::thread ends([&] { daemon_.reset(); });
  const size_t chunk = 0;
  const auto began = Clock::now();
  const auto reserved = space_->reserve(chain, {&chunk, 1}, in(std::chrono::seconds(20)));
  EXPECT_EQ(reserved.code(), Code::kUnavailable);
  EXPECT_LT(Clock::now() - began, std::chrono::seconds(10));
  ends.join();
}

TEST_F(SessionTest, ClosingDetachesInOrder) {
  start();
  const KeyChain chain = derive(prompt(1));
  store(chain, 1);
  { const Match held = *space_->match(chain); }
  session_.reset();
  EXPECT_EQ(daemon_->detaches(), 1u);
}

TEST_F(SessionTest, AMatchOutlivesItsSession) {
  start();
  const KeyChain chain = derive(prompt(1));
  store(chain, 1);
  Match held = *space_->match(chain);
  space_.reset();
  session_.reset();
  EXPECT_EQ(daemon_->detaches(), 0u);
  EXPECT_TRUE(held.check().ok());
  EXPECT_EQ(held.payload(0)[100], payload(0)[100]);
  held.release();
  EXPECT_EQ(daemon_->detaches(), 1u) << "now all copies are done";
}

TEST_F(SessionTest, ClosingDoesNotHangOnAStuckDaemon) {
  start();
  daemon_->set_stuck(true);
  const auto began = Clock::now();
  session_.reset();
  EXPECT_LT(Clock::now() - began, std::chrono::seconds(2));
}

TEST_F(SessionTest, AnIncompatibleDaemonIsSaidAtOnce) {
  FakeOptions options;
  options.on_attach = [](AttachAnswer& answer) { answer.reply.version = 3; };
  start_daemon(options);
  open_session(session_options());
  const auto began = Clock::now();
  EXPECT_EQ(session_->wait_attached(in(std::chrono::seconds(20))).code(), Code::kIncompatible);
  EXPECT_LT(Clock::now() - began, std::chrono::seconds(10));
}

TEST_F(SessionTest, TheSameSpecIsTheSameSpace) {
  start();
  EXPECT_EQ(space_, *session_->open_space(spec()));
  SpaceSpec other = spec();
  other.layout = "flat-2";
  EXPECT_NE(space_, *session_->open_space(other));
}

TEST_F(SessionTest, TheDaemonsLimitOfSpacesIsSaid) {
  start();
  SpaceSpec other = spec();
  Code last = Code::kOk;
  for (uint32_t i = 0; i < 17; ++i) {
    other.layers = i + 1;
    last = session_->open_space(other).code();
  }
  EXPECT_EQ(last, Code::kFull);
}

TEST_F(SessionTest, BadSpecsAndOptionsAreRefused) {
  open_session(session_options());
  const auto refused = [&](auto change) {
    SpaceSpec wrong = spec();
    change(wrong);
    return session_->open_space(wrong).code() == Code::kInvalidArgument;
  };
  EXPECT_TRUE(refused([](SpaceSpec& s) { s.model = ""; }));
  EXPECT_TRUE(refused([](SpaceSpec& s) { s.model = std::string(256, 'm'); }));
  EXPECT_TRUE(refused([](SpaceSpec& s) { s.layout = std::string("a\0b", 3); }));
  EXPECT_TRUE(refused([](SpaceSpec& s) { s.tokens_per_chunk = 0; }));
  EXPECT_TRUE(refused([](SpaceSpec& s) { s.tokens_per_chunk = 16'385; }));
  EXPECT_TRUE(refused([](SpaceSpec& s) { s.shards = 0; }));
  EXPECT_TRUE(refused([](SpaceSpec& s) { s.shard = 1; }));
  EXPECT_TRUE(refused([](SpaceSpec& s) { s.chunk_bytes = 0; }));
  EXPECT_TRUE(refused([](SpaceSpec& s) { s.chunk_bytes = wire::kChunkBytesMax + 1; }));
  SessionOptions options = session_options();
  options.name = std::string(64, 'n');
  EXPECT_EQ(Session::open(options).code(), Code::kInvalidArgument);
  options = session_options();
  options.socket = std::string(200, 's');
  EXPECT_EQ(Session::open(options).code(), Code::kInvalidArgument);
  options = session_options();
  options.retry_last = std::chrono::nanoseconds(1);
  EXPECT_EQ(Session::open(options).code(), Code::kInvalidArgument);
}

TEST_F(SessionTest, ManyThreadsShareASession) {
  start({.slots = 128});
  const auto tokens = prompt(16);
  store(derive(tokens), 16);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const KeyChain chain = derive(tokens);
      const KeyChain mine = derive(prompt(4, 10'000 + static_cast<uint32_t>(t) * 1000));
      for (int i = 0; i < 50; ++i) {
        auto match = space_->match(chain);
        std::vector<std::vector<std::byte>> buffers;
        if (match->chunks() != 16 || load(*match, 16, &buffers)->chunks != 16) ++wrong;
        if (buffers.size() == 16 && buffers[7] != payload(7)) ++wrong;
        const auto stored = store(mine, 4);
        if (stored[0] != StoreOutcome::kStored && stored[0] != StoreOutcome::kPresent) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST_F(SessionTest, TheEnvironmentNamesTheSocket) {
  ::setenv("KVTIER_SOCKET", "/somewhere/k.sock", 1);
  EXPECT_EQ(default_socket_path(), "/somewhere/k.sock");
  ::unsetenv("KVTIER_SOCKET");
  if (::access("/run/kvtier/kvtier.sock", F_OK) == 0) GTEST_SKIP() << "a daemon is installed here";
  ::setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
  EXPECT_EQ(default_socket_path(), "/run/user/7/kvtier/kvtier.sock");
  ::unsetenv("XDG_RUNTIME_DIR");
  ::setenv("TMPDIR", "/var/tmp", 1);
  EXPECT_EQ(default_socket_path(),
            "/var/tmp/kvtier-" + std::to_string(::geteuid()) + "/kvtier.sock");
  ::unsetenv("TMPDIR");
}

}  // namespace
}  // namespace kvtier::testing
