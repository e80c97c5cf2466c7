// Listening sockets: made beside a lock, so that two daemons never share a path, or taken over from
// the service manager. Any thread; closes and removes what it made when it goes.
#pragma once

#include <string>
#include <vector>

#include "daemon/memory/fd.hpp"
#include "kvtier/result.hpp"

namespace kvtier::daemon {

struct ListenOptions {
  std::string path;
  uint32_t mode = 0660;
  std::string group;   // empty: the process's own
  std::string tenant;  // empty: tenants by uid
};

class Listener {
 public:
  static constexpr int kBacklog = 256;  // clients queue here while the daemon is busy

  // Replaces a socket that a dead daemon left. Errors: permission (another daemon serves there, or
  // something that is no socket lies there), not_found (no such group), system.
  static Result<Listener> open(const ListenOptions& options);
  // A socket that is bound and listens already. Errors: invalid_argument (it is of another kind).
  static Result<Listener> adopt(Fd socket, const ListenOptions& options);

  Listener(Listener&&) noexcept = default;
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  const Fd& fd() const { return socket_; }
  const std::string& path() const { return path_; }
  const std::string& tenant() const { return tenant_; }
  // Refuses new clients from now on: a connect fails at once.
  void close();

 private:
  Listener(Fd socket, const ListenOptions& options);

  Fd lock_;
  Fd socket_;
  std::string path_;
  std::string tenant_;
  bool made_ = false;  // here, so the file goes with us
};

// The path that a listening unix socket is bound to; empty if there is none.
std::string bound_path(const Fd& socket);

}  // namespace kvtier::daemon
