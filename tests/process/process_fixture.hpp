// A folder, a configuration in it and a kvtierd that serves there.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <optional>
#include <string>

#include "tests/daemon/session/server_fixture.hpp"
#include "tests/process/processes.hpp"

namespace kvtier::process {

using daemon::RawClient;
using daemon::TemporaryFolder;

class ProcessTest : public testing::Test {
 protected:
  static constexpr uint64_t kPayload = 60 * wire::KiB;

  std::string socket() const { return folder_ / "kvtier.sock"; }
  std::string config_file() const { return folder_ / "kvtier.toml"; }

  // Options by their full names: "host.capacity = \"8MiB\"".
  void write_config(const std::string& more = "") {
    std::ofstream(config_file()) << "daemon.socket = \"" << socket() << "\"\n"
                                 << "host.segment_bytes_min = \"1MiB\"\n"
                                 << (more.find("host.capacity") == std::string::npos
                                         ? "host.capacity = \"8MiB\"\n"
                                         : "")
                                 << more << "\n";
  }
  DaemonOptions options() const { return {.arguments = {"--config", config_file()}}; }

  // Returns when it serves.
  void start(const std::string& more = "") {
    write_config(more);
    start(options());
  }
  void start(const DaemonOptions& options) {
    daemon_.emplace(Daemon::start(options));
    ASSERT_TRUE(daemon_->said("KV1001")) << daemon_->log();
  }
  void kill_daemon() {
    daemon_->process().kill_and_wait();
    daemon_.reset();
  }

  RawClient attach(const std::string& name = "test", uint32_t flags = 0) const {
    RawClient client(RawClient::connect(socket()));
    EXPECT_EQ(client.attach(name, flags), "");
    return client;
  }

  // Reserves, waiting while the tier grows.
  static wire::ReserveAnswer reserve(RawClient& client, uint32_t space, uint64_t key) {
    wire::ReserveAnswer answer = {};
    eventually([&] {
      answer = client.reserve(space, {key, 1}, kPayload, 16);
      return answer.outcome != static_cast<uint32_t>(wire::ReserveOutcome::kBusy);
    });
    return answer;
  }
  static bool granted(RawClient& client, uint32_t space, uint64_t key) {
    return reserve(client, space, key).outcome ==
           static_cast<uint32_t>(wire::ReserveOutcome::kGranted);
  }

  TemporaryFolder folder_;
  std::optional<Daemon> daemon_;
};

}  // namespace kvtier::process
