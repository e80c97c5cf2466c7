// See service_manager_keeper.hpp.
#include "daemon/keep/service_manager_keeper.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

namespace kvtier::daemon {

Result<std::unique_ptr<FdKeeper>> ServiceManagerKeeper::open(Options options) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string& path = options.socket;
  if (path.size() < 2 || (path[0] != '/' && path[0] != '@') ||
      path.size() >= sizeof address.sun_path) {
    return Error::format(Code::kInvalidArgument,
                         "NOTIFY_SOCKET is '%s': there is no service manager that could keep "
                         "memory; set daemon.keep to \"holder\" or \"off\"",
                         path.c_str());
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';
  Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return Error::system(errno, "making a socket for the service manager");
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), bytes) != 0) {
    return Error::system(errno, "reaching the service manager");
  }
  return std::unique_ptr<FdKeeper>(new ServiceManagerKeeper(std::move(socket), std::move(options)));
}

ServiceManagerKeeper::ServiceManagerKeeper(Fd socket, Options options)
    : socket_(std::move(socket)), options_(std::move(options)) {
  for (const KeptFd& one : options_.inherited) names_.insert(one.name);
}

std::vector<KeptFd> ServiceManagerKeeper::take() {
  return std::exchange(options_.inherited, {});
}

int ServiceManagerKeeper::send(const std::string& text, const Fd* fd) {
  iovec part = {const_cast<char*>(text.data()), text.size()};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {};
  if (fd != nullptr) {
    message.msg_control = room;
    message.msg_controllen = sizeof room;
    cmsghdr* control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int));
    const int number = fd->get();
    std::memcpy(CMSG_DATA(control), &number, sizeof number);
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? errno : 0;
}

Status ServiceManagerKeeper::keep(const std::string& name, const Fd& fd) {
  tend();
  // A removal that is sent later would take away what is kept now.
  if (!to_forget_.empty()) return Error(Code::kFull, "the service manager is behind");
  if (names_.size() >= options_.fds_max) {
    return Error::format(Code::kFull, "the service manager keeps %zu descriptors, the most it may",
                         names_.size());
  }
  // FDPOLL=0: a descriptor that becomes ready, as a process's does at its end, is not thrown away.
  const int error = send("FDSTORE=1\nFDNAME=" + name + "\nFDPOLL=0\n", &fd);
  if (error == EAGAIN) return Error(Code::kFull, "the service manager is behind");
  if (error != 0) return Error::system(error, "handing memory to the service manager");
  names_.insert(name);
  return {};
}

void ServiceManagerKeeper::forget(const std::string& name) {
  if (names_.erase(name) == 0) return;
  to_forget_.push_back(name);
  tend();
}

void ServiceManagerKeeper::tend() {
  size_t done = 0;
  while (done < to_forget_.size() &&
         send("FDSTOREREMOVE=1\nFDNAME=" + to_forget_[done] + "\n", nullptr) != EAGAIN) {
    ++done;
  }
  to_forget_.erase(to_forget_.begin(), to_forget_.begin() + static_cast<std::ptrdiff_t>(done));
}

}  // namespace kvtier::daemon
