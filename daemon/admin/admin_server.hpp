// Serves operators: HTTP/1.1 with JSON and Prometheus metrics on a unix socket and, if asked to,
// metrics on a loopback port. A thread of its own, which owns everything here and reaches the core
// only through its mailbox. Never shows payloads, token ids or salts; keys only where asked for.
// The interface is described in docs/admin.md.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "daemon/core/control.hpp"
#include "kvtier/result.hpp"

namespace kvtier::daemon {

struct AdminOptions {
  std::string socket;               // absolute path; a socket left by a dead daemon is replaced
  std::string group = "kvtier";     // its members may read; empty or unknown: nobody by group
  uid_t uid = geteuid();            // may change things, as root may
  std::string metrics_listen = {};  // loopback "address:port", port 0: any; empty: off
  uint32_t connections_max = 64;    // on the socket; a quarter of it on the port
  std::chrono::milliseconds client_timeout{5'000};  // to send a request, to take an answer
  std::chrono::milliseconds core_timeout{2'000};    // after it the answer is 503
};

class AdminServer {
 public:
  // Listens when it returns. `mailbox` must outlive the server. Errors: permission (somebody else
  // answers there, or something that is no socket lies there), invalid_argument, system.
  static Result<std::unique_ptr<AdminServer>> start(const AdminOptions& options, Mailbox& mailbox);

  // Closes all connections, removes the socket and joins the thread; on the core thread it takes
  // core_timeout at worst, because a request may be waiting for that thread.
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  uint16_t metrics_port() const;  // 0: off

 private:
  struct Impl;
  explicit AdminServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvtier::daemon
