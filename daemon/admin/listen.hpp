// Listening sockets of the admin thread: made here, served elsewhere. Any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "kvtier/result.hpp"

namespace kvtier::daemon {

struct UnixListener {
  int fd = -1;
  dev_t device = 0;  // of the socket's file, so that only our own is removed
  ino_t inode = 0;
};

// Mode 0660; group `readers` where it may be set. Replaces a socket at which nobody answers.
// Errors: permission (another daemon answers there, or it is no socket), invalid_argument, system.
Result<UnixListener> listen_unix(const std::string& path, std::optional<gid_t> readers);

// Removes the file if it is still the one that was made.
void unlink_unix(const std::string& path, const UnixListener& listener);

struct TcpListener {
  int fd = -1;
  bool v6 = false;
  uint16_t port = 0;
};
// "127.0.0.1:9464" or "[::1]:9464". Errors: invalid_argument (not a loopback address), system.
Result<TcpListener> listen_loopback(const std::string& address);

}  // namespace kvtier::daemon
