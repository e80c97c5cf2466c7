// See listener.hpp. The lock is on PATH.lock, is of the open file (so that it ends with the
// process, however that ends), and its file stays: removing it would let two daemons lock two files
// of one name.
#include "daemon/session/listener.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "daemon/session/packet.hpp"

namespace kvtier::daemon {
namespace {

Error at_path(const char* what, const std::string& path) {
  return Error::system(errno, (std::string(what) + ' ' + path).c_str());
}

Result<Fd> lock_beside(const std::string& path) {
  const std::string name = path + ".lock";
  Fd file(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return at_path("opening the lock", name);
  struct flock whole = {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (::fcntl(file.get(), F_OFD_SETLK, &whole) == 0) return file;
  if (errno != EAGAIN && errno != EACCES) return at_path("locking", name);
  return Error::format(Code::kPermission,
                       "another kvtierd serves %s: stop it, or set another daemon.socket",
                       path.c_str());
}

// Under the lock nobody serves there, so a socket is one that a dead daemon left.
Status remove_stale(const std::string& path) {
  struct stat found;
  if (::lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return {};
    return at_path("looking at", path);
  }
  if (!S_ISSOCK(found.st_mode)) {
    return Error::format(Code::kPermission,
                         "%s exists and is no socket: remove it, or set another daemon.socket",
                         path.c_str());
  }
  if (::unlink(path.c_str()) != 0) return at_path("removing the old socket", path);
  return {};
}

Status give_to_group(const std::string& path, const std::string& group) {
  if (group.empty()) return {};
  std::vector<char> text(16 * 1024);  // more members than that do not matter here
  struct group entry = {};
  struct group* found = nullptr;
  ::getgrnam_r(group.c_str(), &entry, text.data(), text.size(), &found);
  if (found == nullptr) {
    return Error::format(Code::kNotFound,
                         "there is no group '%s' for %s: create it, or set "
                         "another socket group",
                         group.c_str(), path.c_str());
  }
  if (::chown(path.c_str(), static_cast<uid_t>(-1), found->gr_gid) != 0) {
    return at_path("changing the group of", path);
  }
  return {};
}

Status bind_and_listen(const Fd& socket, const ListenOptions& options) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (options.path.empty() || options.path.size() >= sizeof address.sun_path) {
    return Error::format(Code::kInvalidArgument, "a socket path of %zu bytes; 1 to %zu fit",
                         options.path.size(), sizeof address.sun_path - 1);
  }
  std::memcpy(address.sun_path, options.path.data(), options.path.size());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return at_path("binding", options.path);
  }
  // Nobody can connect before listen(), so the mode that the socket was born with does not matter.
  if (Status given = give_to_group(options.path, options.group); !given) return given;
  if (::chmod(options.path.c_str(), options.mode) != 0) {
    return at_path("setting the mode of", options.path);
  }
  if (::listen(socket.get(), Listener::kBacklog) != 0) return at_path("listening on", options.path);
  return {};
}

}  // namespace

Listener::Listener(Fd socket, const ListenOptions& options)
    : socket_(std::move(socket)), path_(options.path), tenant_(options.tenant) {
  refuse_fds(socket_);  // what is accepted from it inherits that
}

Result<Listener> Listener::open(const ListenOptions& options) {
  Result<Fd> lock = lock_beside(options.path);
  if (!lock.ok()) return lock.error();
  if (Status removed = remove_stale(options.path); !removed) return removed.error();
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return Error::system(errno, "making the attach socket");
  if (Status ready = bind_and_listen(socket, options); !ready) return ready.error();
  Listener listener(std::move(socket), options);
  listener.lock_ = std::move(lock).value();
  listener.made_ = true;
  return listener;
}

Result<Listener> Listener::adopt(Fd socket, const ListenOptions& options) {
  int type = 0;
  int listens = 0;
  socklen_t bytes = sizeof type;
  ::getsockopt(socket.get(), SOL_SOCKET, SO_TYPE, &type, &bytes);
  bytes = sizeof listens;
  ::getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes);
  if (type != SOCK_SEQPACKET || listens == 0) {
    return Error::format(Code::kInvalidArgument,
                         "the service manager gave a socket for %s that is no listening "
                         "SOCK_SEQPACKET one: use ListenSequentialPacket=",
                         options.path.c_str());
  }
  // Again, so that the credentials that clients see on it are this process's.
  if (::listen(socket.get(), kBacklog) != 0) return at_path("listening on", options.path);
  ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  ::fcntl(socket.get(), F_SETFD, FD_CLOEXEC);
  return Listener(std::move(socket), options);
}

Listener::~Listener() {
  close();
}

void Listener::close() {
  if (!socket_) return;
  if (made_) ::unlink(path_.c_str());
  socket_.reset();
}

std::string bound_path(const Fd& socket) {
  sockaddr_un address = {};
  socklen_t bytes = sizeof address;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &bytes) != 0 ||
      address.sun_family != AF_UNIX || bytes <= offsetof(sockaddr_un, sun_path)) {
    return "";
  }
  const size_t room = bytes - offsetof(sockaddr_un, sun_path);
  return {address.sun_path, ::strnlen(address.sun_path, room)};
}

}  // namespace kvtier::daemon
