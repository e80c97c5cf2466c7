// See listen.hpp.
#include "daemon/admin/listen.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

namespace kvtier::daemon {
namespace {

constexpr int kBacklog = 64;

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Error::format(Code::kInvalidArgument,
                         "the admin socket's path has %zu bytes, 1 to %zu fit: %.100s", path.size(),
                         sizeof address.sun_path - 1, path.c_str());
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

// A socket whose daemon is gone is removed; anything else stays.
Status clear_path(const std::string& path, const sockaddr_un& address) {
  struct stat found;
  if (lstat(path.c_str(), &found) != 0) return {};
  if (!S_ISSOCK(found.st_mode)) {
    return Error::format(Code::kPermission,
                         "%s is not a socket: remove it or set daemon.admin_socket", path.c_str());
  }
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return Error::system(errno, "cannot make a socket");
  const int connected = connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int reason = errno;
  close(probe);
  // A full backlog answers EAGAIN: somebody is there too.
  if (connected == 0 || reason == EAGAIN) {
    return Error::format(Code::kPermission,
                         "another daemon answers at %s: stop it, or set daemon.admin_socket",
                         path.c_str());
  }
  if (reason != ECONNREFUSED && reason != ENOENT) {
    return Error::system(reason, ("cannot look at " + path).c_str());
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return Error::system(errno, ("cannot remove the old socket " + path).c_str());
  }
  return {};
}

Error closed(int fd, const Error& error) {
  close(fd);
  return error;
}

Result<TcpListener> bind_loopback(const sockaddr* address, socklen_t bytes,
                                  const std::string& text) {
  TcpListener listener;
  listener.v6 = address->sa_family == AF_INET6;
  listener.fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listener.fd < 0) return Error::system(errno, "cannot make a socket");
  const int on = 1;
  setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener.fd, address, bytes) != 0 || listen(listener.fd, kBacklog) != 0) {
    return closed(listener.fd,
                  Error::system(errno, ("cannot listen on daemon.metrics_listen " + text).c_str()));
  }
  sockaddr_storage bound{};
  socklen_t bound_bytes = sizeof bound;
  getsockname(listener.fd, reinterpret_cast<sockaddr*>(&bound), &bound_bytes);
  listener.port = ntohs(listener.v6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                    : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  return listener;
}

}  // namespace

Result<UnixListener> listen_unix(const std::string& path, std::optional<gid_t> readers) {
  const Result<sockaddr_un> address = unix_address(path);
  if (!address) return address.error();
  if (Status clear = clear_path(path, *address); !clear) return clear.error();

  UnixListener listener;
  listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listener.fd < 0) return Error::system(errno, "cannot make a socket");
  // The file is born with the mode of the socket: never open wider than it will be.
  if (fchmod(listener.fd, 0600) != 0 ||
      bind(listener.fd, reinterpret_cast<const sockaddr*>(&*address), sizeof(sockaddr_un)) != 0) {
    return closed(listener.fd, Error::system(errno, ("cannot bind " + path).c_str()));
  }
  struct stat made;
  if (lstat(path.c_str(), &made) == 0) {
    listener.device = made.st_dev;
    listener.inode = made.st_ino;
  }
  // Who is not in the group cannot set it; then the group of the process stands, and reads nothing.
  if (readers) {
    [[maybe_unused]] const int changed = chown(path.c_str(), static_cast<uid_t>(-1), *readers);
  }
  if (chmod(path.c_str(), 0660) != 0 || listen(listener.fd, kBacklog) != 0) {
    const Error error = Error::system(errno, ("cannot listen on " + path).c_str());
    unlink_unix(path, listener);
    return closed(listener.fd, error);
  }
  return listener;
}

void unlink_unix(const std::string& path, const UnixListener& listener) {
  struct stat found;
  if (lstat(path.c_str(), &found) == 0 && found.st_dev == listener.device &&
      found.st_ino == listener.inode) {
    unlink(path.c_str());
  }
}

Result<TcpListener> listen_loopback(const std::string& text) {
  const auto refused = [&text](const char* why) {
    return Error::format(Code::kInvalidArgument,
                         "daemon.metrics_listen is '%.80s': %s; write 127.0.0.1:9464 or [::1]:9464",
                         text.c_str(), why);
  };
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return refused("it has no port");
  uint16_t port = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + colon + 1, end, port);
  if (parsed.ec != std::errc() || parsed.ptr != end) return refused("the port is no number");
  std::string host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  if (host == "localhost") host = "127.0.0.1";

  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  if (inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
    if (ntohl(v4.sin_addr.s_addr) >> 24 != 127) return refused("it is not a loopback address");
    return bind_loopback(reinterpret_cast<sockaddr*>(&v4), sizeof v4, text);
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  if (inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) != 1) return refused("it is no address");
  if (!IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr)) return refused("it is not a loopback address");
  return bind_loopback(reinterpret_cast<sockaddr*>(&v6), sizeof v6, text);
}

}  // namespace kvtier::daemon
