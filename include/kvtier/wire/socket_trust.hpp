// Whether a socket's path may be trusted: in a place where everybody may create files (the
// temporary directory), somebody else's folder or socket could be waiting for us, and get what we
// send. Used by every program that connects. A few system calls; any thread.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "kvtier/result.hpp"

namespace kvtier::wire {

namespace detail {

inline std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

inline bool world_writable(const std::string& path) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) == 0 && (status.st_mode & S_IWOTH) != 0;
}

// Root's or our own.
inline bool ours(const struct stat& status) {
  return status.st_uid == 0 || status.st_uid == ::geteuid();
}

}  // namespace detail

// Ok for whatever lies below folders that only their owners write; also for what does not exist
// (the connection will say so). Errors: permission, with the owner that was found.
inline Status check_socket_trust(const std::string& path) {
  const std::string folder = detail::parent_of(path);
  struct stat status = {};
  if (detail::world_writable(folder)) {
    // Directly in a public folder: the socket itself must be ours.
    if (::lstat(path.c_str(), &status) != 0 || detail::ours(status)) return {};
    return Error::format(Code::kPermission,
                         "%.100s belongs to uid %u and lies where anybody may create files: not "
                         "used. Name another socket",
                         path.c_str(), status.st_uid);
  }
  if (!detail::world_writable(detail::parent_of(folder))) return {};
  if (::lstat(folder.c_str(), &status) != 0) return {};
  if (S_ISDIR(status.st_mode) && detail::ours(status)) return {};
  return Error::format(Code::kPermission,
                       "%.100s belongs to uid %u, neither to root nor to uid %u: its socket is not "
                       "used. Name another one, or remove the folder",
                       folder.c_str(), status.st_uid, static_cast<unsigned>(::geteuid()));
}

}  // namespace kvtier::wire
