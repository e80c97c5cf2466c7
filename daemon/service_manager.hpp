// The service manager's side: telling it how we are, and taking over sockets that it made. Plain
// environment variables and datagrams, see sd_notify(3) and sd_listen_fds(3); no library.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/keep/fd_keeper.hpp"
#include "daemon/memory/fd.hpp"

namespace kvtier::daemon {

// "READY=1\nSTATUS=..."; does nothing without a service manager. Never waits. Any thread.
void tell_service_manager(const std::string& text);

// Around reading the configuration again: RELOADING=1 with the time, and READY=1 with how it went.
void tell_reloading();
void tell_reloaded(const std::string& outcome);

// Tells the service manager that the core thread turns. It restarts a daemon that stops telling.
// One thread: the core's, from its own loop, so that nothing else can speak for it.
class Watchdog {
 public:
  // $WATCHDOG_USEC, unless $WATCHDOG_PID names another process.
  static Watchdog from_environment();

  explicit Watchdog(uint64_t timeout_ns) : timeout_ns_(timeout_ns) {}
  // How often feed() must be called, at least; 0: the service manager does not watch.
  uint64_t interval_ns() const { return timeout_ns_ / kFeedsPerTimeout; }
  // Tells, if the last time was an interval ago. True if it did.
  bool feed(uint64_t now_ns);

 private:
  static constexpr uint64_t kFeedsPerTimeout = 4;
  uint64_t timeout_ns_;
  uint64_t next_ns_ = 0;
};

// What was handed over to this process: listening sockets, and memory that the daemon before had
// put into the descriptor store (by its names, see daemon/keep/). Once, at the start.
struct Inherited {
  std::vector<Fd> sockets;
  std::vector<KeptFd> kept;
};
Inherited take_inherited();

}  // namespace kvtier::daemon
