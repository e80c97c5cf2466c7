// SO_PEERCRED and SO_PEERPIDFD.
#include "daemon/session/peer.hpp"

#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>

namespace kvtier::daemon {
namespace {

constexpr int kSoPeerPidfd = 77;  // Linux 6.5, asm-generic/socket.h; the C library is older

}  // namespace

Result<Peer> identify_peer(const Fd& socket) {
  ucred credentials = {};
  socklen_t bytes = sizeof credentials;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) {
    return Error::system(errno, "asking who connected");
  }
  Peer peer;
  peer.pid = credentials.pid;
  peer.uid = credentials.uid;
  int pidfd = -1;
  bytes = sizeof pidfd;
  if (::getsockopt(socket.get(), SOL_SOCKET, kSoPeerPidfd, &pidfd, &bytes) == 0) {
    peer.pidfd = Fd(pidfd);
    return peer;
  }
  if (errno != ENOPROTOOPT) return Error::system(errno, "watching the process that connected");
  // Before Linux 6.5. If the process ended and its number was given away between its connect and
  // now, the wrong process is watched: the session then lives too long, never too short.
  peer.pidfd = Fd(static_cast<int>(::syscall(SYS_pidfd_open, credentials.pid, 0)));
  if (!peer.pidfd) return Error::system(errno, "watching the process that connected");
  return peer;
}

}  // namespace kvtier::daemon
