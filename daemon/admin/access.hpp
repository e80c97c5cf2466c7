// Who may do what on the admin socket: by uid and groups of the process at the other end, as the
// kernel knows them. Any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace kvtier::daemon {

enum class Access : uint8_t { kNone = 0, kRead = 1, kChange = 2 };

struct Peer {
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t pid = 0;
  std::vector<gid_t> groups = {};  // supplementary
};

// Nothing if the kernel does not say.
std::optional<Peer> peer_of(int socket_fd);

// The group's number, or nothing if there is no such group.
std::optional<gid_t> group_number(const std::string& name);

// Root and `owner` change; members of `readers` read; nobody else.
Access access_of(const Peer& peer, uid_t owner, std::optional<gid_t> readers);

}  // namespace kvtier::daemon
