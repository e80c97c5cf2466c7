// What the client's tests share: a fake daemon in a folder of its own, a session, a space, prompts.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <numeric>

#include "client/deadline.hpp"
#include "kvtier/kvtier.hpp"
#include "tests/client/fake_daemon.hpp"

namespace kvtier::testing {

constexpr uint32_t kTokensPerChunk = 16;
constexpr uint64_t kChunkBytes = 20'000;  // not a multiple of anything

class ClientTest : public ::testing::Test {
 protected:
  ClientTest() {
    char name[] = "/tmp/kvtier-client-XXXXXX";
    folder_ = ::mkdtemp(name);
    socket_ = folder_ + "/kvtier.sock";
  }
  ~ClientTest() override {
    space_.reset();
    session_.reset();
    daemon_.reset();
    ::rmdir(folder_.c_str());
  }

  void start_daemon(FakeOptions options = {}) {
    daemon_ = std::make_unique<FakeDaemon>(socket_, std::move(options));
  }
  SessionOptions session_options() const {
    SessionOptions options;
    options.socket = socket_;
    options.name = "test";
    options.retry_first = std::chrono::milliseconds(1);
    options.retry_last = std::chrono::milliseconds(8);
    return options;
  }
  static SpaceSpec spec() {
    SpaceSpec made;
    made.model = "model@1";
    made.layout = "flat-1";
    made.tokens_per_chunk = kTokensPerChunk;
    made.chunk_bytes = kChunkBytes;
    return made;
  }
  static Clock::time_point in(std::chrono::nanoseconds time) { return client::after(time); }

  void open_session(const SessionOptions& options) {
    auto session = Session::open(options);
    ASSERT_TRUE(session.ok()) << session.error().message();
    session_ = *std::move(session);
  }
  // A daemon, an attached session, a space.
  void start(FakeOptions options = {}) {
    start_daemon(std::move(options));
    open_session(session_options());
    const Status status = session_->wait_attached(in(std::chrono::seconds(5)));
    ASSERT_TRUE(status.ok()) << status.error().message();
    auto space = session_->open_space(spec());
    ASSERT_TRUE(space.ok()) << space.error().message();
    space_ = *space;
  }

  static std::vector<uint32_t> prompt(size_t chunks, uint32_t first = 100) {
    std::vector<uint32_t> tokens(chunks * kTokensPerChunk);
    std::iota(tokens.begin(), tokens.end(), first);
    return tokens;
  }
  KeyChain derive(std::span<const uint32_t> tokens) {
    auto chain = space_->derive({.tokens = tokens});
    EXPECT_TRUE(chain.ok()) << (chain.ok() ? "" : chain.error().message());
    return *std::move(chain);
  }
  // The payload of a chunk in these tests.
  static std::vector<std::byte> payload(size_t chunk, size_t bytes = kChunkBytes) {
    std::vector<std::byte> made(bytes);
    for (size_t i = 0; i < bytes; ++i)
      made[i] = static_cast<std::byte>(i * 31 + chunk * 7 + i / 256);
    return made;
  }
  // Stores chunks [0, count) of a chain.
  std::vector<StoreOutcome> store(const KeyChain& chain, size_t count) {
    std::vector<std::vector<std::byte>> payloads;
    std::vector<ConstFragment> fragments;
    std::vector<StoreSource> sources;
    for (size_t i = 0; i < count; ++i) payloads.push_back(payload(i));
    for (size_t i = 0; i < count; ++i) fragments.push_back({payloads[i].data(), kChunkBytes});
    for (size_t i = 0; i < count; ++i) sources.push_back({i, {&fragments[i], 1}});
    auto outcomes = space_->store(chain, sources, in(std::chrono::seconds(5)));
    EXPECT_TRUE(outcomes.ok()) << (outcomes.ok() ? "" : outcomes.error().message());
    return outcomes.ok() ? *outcomes : std::vector<StoreOutcome>();
  }
  // Loads chunks [0, count) of a match into `buffers`.
  Result<LoadResult> load(const Match& match, size_t count,
                          std::vector<std::vector<std::byte>>* buffers) {
    buffers->assign(count, std::vector<std::byte>(kChunkBytes));
    std::vector<Fragment> fragments;
    std::vector<LoadTarget> targets;
    for (auto& buffer : *buffers) fragments.push_back({buffer.data(), buffer.size()});
    for (size_t i = 0; i < count; ++i) targets.push_back({i, {&fragments[i], 1}});
    return space_->load(match, targets);
  }

  std::string folder_;
  std::string socket_;
  std::unique_ptr<FakeDaemon> daemon_;
  std::unique_ptr<Session> session_;
  std::shared_ptr<Space> space_;
};

}  // namespace kvtier::testing
