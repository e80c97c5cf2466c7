// A real kvtierd in a folder of the test's own, its numbers as its operators see them, and the
// means to stop, kill and start it again at the same place. One thread.
#pragma once

#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/cli/spawn.hpp"

namespace kvtier::faults {

// Whether host memory outlives the daemon.
enum class Keep : uint8_t { kNo, kYes };

class FaultDaemon {
 public:
  // TOML. "{DIR}" in it is the folder that holds kvtier.sock; a [[tenant]] can have its socket
  // there. Not started yet.
  explicit FaultDaemon(const std::string& config, Keep keep = Keep::kNo);
  ~FaultDaemon();

  // Throws, which ends the test, if it does not come up.
  void start();
  // The next start() is of the tests' own build of kvtierd, which ends with SIGKILL at this kill
  // point (daemon/memory/kill_point.hpp), the `passing`th time that it gets there.
  void die_at(const std::string& point, uint64_t passing);
  int kill();    // SIGKILL; how it ended, as the shell shows it, perhaps before that
  void stop();   // SIGTERM; waits for its end
  void pause();  // SIGSTOP
  void resume();
  bool running() { return daemon_ != nullptr && daemon_->running(); }

  // Of everybody, or of the tenant with that name.
  std::string socket(const std::string& tenant = "kvtier") const {
    return directory_ + "/" + tenant + ".sock";
  }
  // Lets other users reach the sockets.
  void admit_everybody() const;
  const tools::SpawnedDaemon& process() const { return *daemon_; }

  // What GET answers; null if the daemon does not.
  nlohmann::json ask(const std::string& target, const char* method = "GET") const;
  nlohmann::json status() const { return ask("/v1/status"); }
  // "cold", "warm", "crash_warm".
  std::string start_mode() const;
  // As if the state directory had been lost.
  void forget_salts() const;
  // Writes another configuration for the next start().
  void configure(const std::string& config);
  uint64_t host(const char* field) const;     // of the host tier, e.g. granted_slots
  uint64_t counter(const char* name) const;   // of the core
  uint64_t client_counter(const char* name);  // added up over the tenants, ended sessions too
  uint64_t sessions() const;
  // One sample of /metrics, e.g. kvtier_process_open_fds; with its labels where it has some.
  double metric(const std::string& sample) const;
  std::string metrics() const;
  // Whether a message with this code, e.g. KV3001, is (or comes soon) among the last of the log.
  bool logged(const char* code) const;

 private:
  std::string directory_;
  std::string config_;
  Keep keep_;
  std::string kill_at_;  // of the next start(): "point#passing", or ""
  std::unique_ptr<tools::SpawnedDaemon> daemon_;
};

// Looks again and again until it holds. False when that takes longer.
bool eventually(std::chrono::milliseconds patience, const std::function<bool()>& holds);

// Configuration that most tests begin with; `host` is added to its [host] table.
std::string small_pool(const char* capacity, const char* host = "");

// Two tenants "a" and "b", each with a socket that anybody may open.
std::string two_tenants();

}  // namespace kvtier::faults
