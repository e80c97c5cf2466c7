// The real server and core in one thread with the test: every wait of a client gives the server a
// turn. Clients come over socket pairs (their peer is this process) or a listening socket.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <filesystem>
#include <memory>
#include <string>

#include "daemon/session/server.hpp"
#include "tests/daemon/session/raw_client.hpp"

namespace kvtier::daemon {

// A folder that goes with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "kvtier-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline Config small_config() {
  Config config;
  config.host.capacity_bytes = 8 * wire::MiB;
  config.host.segment_bytes_min = wire::MiB;
  config.host.lock = Demand::kNever;
  config.host.huge_pages = Demand::kNever;
  config.index.huge_pages = Demand::kNever;
  return config;
}

class ServerTest : public testing::Test {
 protected:
  static constexpr uint64_t kPayload = 60 * wire::KiB;

  void SetUp() override { start(small_config()); }
  void TearDown() override { clear(); }

  void clear() {
    server_.reset();
    core_.reset();
    executor_.reset();
  }

  void start(const Config& config, ServerOptions options = {}) {
    clear();
    executor_ = make_inline_executor();
    CoreOptions core_options;
    core_options.config = config;
    core_options.epoch = 42;
    auto core = Core::create(core_options, *executor_, clock_);
    ASSERT_TRUE(core.ok()) << core.error().message();
    core_ = std::move(core).value();
    auto server = Server::create(std::move(options), *core_, *executor_, clock_);
    ASSERT_TRUE(server.ok()) << server.error().message();
    server_ = std::move(server).value();
  }

  void turns(int count = 3) {
    for (int i = 0; i < count; ++i) server_->turn(0);
  }

  // A connection as the kernel before 6.16 has it: fds come through.
  RawClient connect(const std::string& tenant = "") {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    server_->adopt(Fd(ends[0]), tenant);
    RawClient client{Fd(ends[1])};
    client.set_pump([this] { server_->turn(0); });
    return client;
  }

  RawClient attach(const std::string& name = "test", uint32_t flags = 0) {
    RawClient client = connect();
    const std::string problem = client.attach(name, flags);
    EXPECT_EQ(problem, "");
    return client;
  }

  Session& session_of(const RawClient& client) {
    return *core_->find_session(client.attached().session);
  }

  // Reserves and lets the tier grow meanwhile.
  wire::ReserveAnswer reserve(RawClient& client, uint32_t space, uint64_t key) {
    wire::ReserveAnswer answer = client.reserve(space, {key, 1}, kPayload, 16);
    for (int i = 0; i < 64 && answer.outcome == uint32_t(wire::ReserveOutcome::kBusy); ++i) {
      clock_.advance_ns(1'000'000);
      turns();
      answer = client.reserve(space, {key, 1}, kPayload, 16);
    }
    return answer;
  }

  VirtualClock clock_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Core> core_;
  std::unique_ptr<Server> server_;
};

}  // namespace kvtier::daemon
