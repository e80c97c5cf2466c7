// See access.hpp.
#include "daemon/admin/access.hpp"

#include <grp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59  // since Linux 4.13
#endif

namespace kvtier::daemon {

std::optional<Peer> peer_of(int socket_fd) {
  ucred credentials{};
  socklen_t bytes = sizeof credentials;
  if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) return {};
  Peer peer{credentials.uid, credentials.gid, credentials.pid, std::vector<gid_t>(64)};
  for (int attempt = 0; attempt < 2; ++attempt) {
    bytes = static_cast<socklen_t>(peer.groups.size() * sizeof(gid_t));
    const int got = getsockopt(socket_fd, SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(), &bytes);
    const bool too_small = got != 0 && errno == ERANGE;
    if (got != 0 && !too_small) bytes = 0;
    peer.groups.resize(bytes / sizeof(gid_t));
    if (!too_small) return peer;
  }
  peer.groups.clear();
  return peer;
}

std::optional<gid_t> group_number(const std::string& name) {
  if (name.empty()) return {};
  std::vector<char> text(16 * 1024);
  group found{};
  group* result = nullptr;
  if (getgrnam_r(name.c_str(), &found, text.data(), text.size(), &result) != 0) return {};
  return result == nullptr ? std::nullopt : std::optional<gid_t>(found.gr_gid);
}

Access access_of(const Peer& peer, uid_t owner, std::optional<gid_t> readers) {
  if (peer.uid == 0 || peer.uid == owner) return Access::kChange;
  if (!readers) return Access::kNone;
  const bool member = peer.gid == *readers || std::find(peer.groups.begin(), peer.groups.end(),
                                                        *readers) != peer.groups.end();
  return member ? Access::kRead : Access::kNone;
}

}  // namespace kvtier::daemon
