// Who is at the other end of a unix socket. Core thread. Never believes what a peer says of itself.
#pragma once

#include <cstdint>

#include "daemon/memory/fd.hpp"
#include "kvtier/result.hpp"

namespace kvtier::daemon {

struct Peer {
  int pid = 0;
  uint32_t uid = 0;
  Fd pidfd;  // readable once the process has ended
};

// The process that connected, by the kernel's word. Errors: system (out of fds; or the process has
// ended already; or the kernel has no pidfds).
Result<Peer> identify_peer(const Fd& socket);

}  // namespace kvtier::daemon
