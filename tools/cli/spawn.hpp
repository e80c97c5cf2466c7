// A kvtierd that belongs to this process: found beside this program, else on PATH; started with a
// configuration in a folder of its own, stopped with it, killed by the kernel if this process dies.
// Never leaves a daemon behind. One thread (the one that started it must live as long as the
// daemon: the kernel ties the child to the thread).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "kvtier/result.hpp"

namespace kvtier::tools {

struct SpawnOptions {
  // Created 0700, or must be empty, or left by an earlier spawn (it has a marker file); kept with
  // the configuration and kvtierd.log. Empty: a temporary folder, removed at the end.
  std::string directory = {};
  // TOML; sockets and state directory are set by spawn and may be left out. Empty: defaults.
  std::string config_text = {};
  std::chrono::milliseconds start_timeout{15'000};  // until the daemon is ready
  std::chrono::milliseconds stop_timeout{15'000};   // from SIGTERM to SIGKILL
  std::string program = {};                         // empty: found as above
  std::vector<std::string> environment = {};        // "NAME=value", added
  bool keep = false;  // host memory outlives the daemon, in a holder process that ends by itself
                      // when the directory is removed
};

struct SpawnUsage {
  int exit_status = -1;    // as the shell shows it; 128 + signal if a signal ended it
  bool killed = false;     // it did not stop in time
  double cpu_seconds = 0;  // user and system
  uint64_t rss_bytes_max = 0;
};

class SpawnedDaemon {
 public:
  // Returns when the daemon serves clients and answers administrators. Errors: not_found (no
  // kvtierd), invalid_argument (the directory is somebody else's, or in use), unavailable (it ended
  // while starting: the message has its last words), deadline, system.
  static Result<std::unique_ptr<SpawnedDaemon>> start(const SpawnOptions& options);
  ~SpawnedDaemon();  // stops
  SpawnedDaemon(const SpawnedDaemon&) = delete;
  SpawnedDaemon& operator=(const SpawnedDaemon&) = delete;

  const std::string& socket() const { return socket_; }
  const std::string& admin_socket() const { return admin_socket_; }
  const std::string& directory() const { return directory_; }
  const std::string& log_path() const { return log_path_; }
  pid_t pid() const { return pid_; }

  bool running();
  double cpu_seconds() const;  // so far, all threads, exact to the nanosecond; 0 once it ended
  uint64_t rss_bytes() const;  // now; shared memory that it mapped and touched included
  std::string log_tail(size_t lines) const;

  // SIGTERM, then SIGKILL after stop_timeout. The second call returns what the first did.
  const SpawnUsage& stop();
  // SIGKILL at once, for tests of sudden death.
  const SpawnUsage& kill_now();

 private:
  SpawnedDaemon() = default;
  Status prepare_directory(const std::string& wanted);
  Status prepare_sockets();
  Status write_config(const SpawnOptions& options);
  Status launch(const SpawnOptions& options);
  Status wait_ready(std::chrono::milliseconds timeout);
  Error early_end();
  bool wait_end(std::chrono::milliseconds timeout);
  void reap(bool block);

  std::string directory_, socket_directory_, socket_, admin_socket_, log_path_, config_path_;
  bool remove_directory_ = false, remove_socket_directory_ = false;
  int lock_fd_ = -1;
  int pidfd_ = -1;
  pid_t pid_ = -1;
  bool ended_ = false;
  std::chrono::milliseconds stop_timeout_{0};
  SpawnUsage usage_;
};

// The kvtierd beside this program's binary, else the first on PATH. Errors: not_found.
Result<std::string> find_daemon_program();

}  // namespace kvtier::tools
