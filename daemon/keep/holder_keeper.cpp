// See holder_keeper.hpp.
#include "daemon/keep/holder_keeper.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <utility>

namespace kvtier::daemon {
namespace {

constexpr int kHolderFd = 3;
constexpr time_t kAnswerSeconds = 5;
constexpr int kBusyTries = 300;  // 10 ms apart
constexpr int kBusyWaitMs = 10;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Error::format(Code::kInvalidArgument,
                         "the holder's socket %.150s has %zu bytes; at most %zu fit: set a shorter "
                         "daemon.socket, or daemon.keep = \"off\"",
                         path.c_str(), path.size(), sizeof address.sun_path - 1);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

Result<Fd> new_socket() {
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket) return Error::system(errno, "making a socket for the holder");
  const timeval patience = {kAnswerSeconds, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return socket;
}

// An empty Fd: nobody listens there.
Result<Fd> connect_holder(const sockaddr_un& address) {
  Result<Fd> socket = new_socket();
  if (!socket.ok()) return socket;
  if (::connect(socket->get(), generic(address), sizeof address) == 0) return socket;
  if (errno == ENOENT || errno == ECONNREFUSED) return Fd();
  return Error::system(errno, "reaching the holder");
}

// In a copy of this process: only calls that are safe there.
[[noreturn]] void become_holder(int listener, char* const* arguments) {
  if (::setsid() < 0 || ::fork() != 0) ::_exit(0);  // the grandchild is nobody's child
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int nowhere = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < kHolderFd; ++fd) ::dup2(nowhere, fd);
  if (listener == kHolderFd) {
    ::fcntl(listener, F_SETFD, 0);
  } else {
    ::dup2(listener, kHolderFd);
  }
  // Nothing else of the daemon's is to live as long as the holder.
  ::close_range(kHolderFd + 1, ~0U, CLOSE_RANGE_CLOEXEC);
  if (::chdir("/") != 0) ::_exit(127);
  ::execve("/proc/self/exe", arguments, environ);
  ::_exit(127);
}

Status start_holder(const HolderPlace& place, const sockaddr_un& address) {
  Result<Fd> listener = new_socket();
  if (!listener.ok()) return listener.error();
  struct stat found = {};
  if (::lstat(place.path.c_str(), &found) == 0) {
    if (!S_ISSOCK(found.st_mode)) {
      return Error::format(Code::kPermission, "%s exists and is no socket: remove it",
                           place.path.c_str());
    }
    ::unlink(place.path.c_str());
  }
  if (::bind(listener->get(), generic(address), sizeof address) != 0) {
    return Error::system(errno, ("binding " + place.path).c_str());
  }
  // Nobody can connect before listen(), so the mode it was born with does not matter.
  if (::chmod(place.path.c_str(), 0600) != 0 || ::listen(listener->get(), 8) != 0) {
    return Error::system(errno, ("listening on " + place.path).c_str());
  }
  std::string words[] = {"kvtierd", "--hold", place.path,
                         std::to_string(place.keep_for_ns / 1'000'000'000)};
  char* const arguments[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(),
                             nullptr};
  const pid_t child = ::fork();
  if (child == 0) become_holder(listener->get(), arguments);
  if (child < 0) return Error::system(errno, "starting the holder");
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return {};
}

}  // namespace

std::string holder_path(const std::string& attach_socket) {
  return attach_socket + ".keep";
}

Result<std::unique_ptr<FdKeeper>> HolderKeeper::open(const HolderPlace& place) {
  const Result<sockaddr_un> address = address_of(place.path);
  if (!address.ok()) return address.error();
  Result<Fd> socket = connect_holder(*address);
  if (!socket.ok()) return socket.error();
  if (!*socket) {
    if (Status started = start_holder(place, *address); !started) return started.error();
    socket = connect_holder(*address);
    if (!socket.ok()) return socket.error();
    if (!*socket) return Error(Code::kUnavailable, "the holder ended at once");
  }
  return over(std::move(socket).value());
}

Result<std::unique_ptr<FdKeeper>> HolderKeeper::over(Fd socket) {
  std::unique_ptr<HolderKeeper> keeper(new HolderKeeper(std::move(socket)));
  if (Status taken = keeper->ask_for_everything(); !taken) return taken.error();
  return std::unique_ptr<FdKeeper>(std::move(keeper));
}

Status HolderKeeper::ask_for_everything() {
  for (int tries = 0;;) {
    const int error = send_hold(socket_, hold_message(HoldOp::kTake), -1, 0);
    if (error != 0) return Error::system(error, "asking the holder");
    for (;;) {
      HoldMessage message = {};
      Fd fd;
      const HoldReceived received = receive_hold(socket_, &message, &fd, 0);
      if (received != HoldReceived::kMessage) {
        return Error(Code::kUnavailable, "the holder does not answer: end it, and start again");
      }
      if (message.op == HoldOp::kItem) {
        // Without a descriptor (this process may have no more): the start will miss it, and say so.
        names_.insert(message.name);
        if (fd) taken_.push_back({message.name, std::move(fd)});
        continue;
      }
      if (message.op == HoldOp::kDone) {
        fds_max_ = message.value;
        return {};
      }
      if (++tries == kBusyTries) {
        return Error::format(Code::kPermission,
                             "another kvtierd (process %llu) serves this socket: stop it, or set "
                             "another daemon.socket",
                             static_cast<unsigned long long>(message.value));
      }
      break;  // its process is about to end
    }
    ::poll(nullptr, 0, kBusyWaitMs);
  }
}

std::vector<KeptFd> HolderKeeper::take() {
  return std::exchange(taken_, {});
}

Status HolderKeeper::keep(const std::string& name, const Fd& fd) {
  tend();
  if (lost_) return {};  // the next start is cold, whatever is kept now
  if (!to_forget_.empty()) return Error(Code::kFull, "the holder is behind");
  if (names_.size() >= fds_max_) {
    return Error::format(Code::kFull, "the holder keeps %zu descriptors, the most it may",
                         names_.size());
  }
  const int error = send_hold(socket_, hold_message(HoldOp::kKeep, name), fd.get(), MSG_DONTWAIT);
  if (error == EAGAIN) return Error(Code::kFull, "the holder is behind");
  if (error == EPIPE || error == ECONNRESET) {
    lost_ = true;
    return {};
  }
  if (error != 0) return Error::system(error, "handing memory to the holder");
  names_.insert(name);
  return {};
}

void HolderKeeper::forget(const std::string& name) {
  if (names_.erase(name) == 0) return;
  to_forget_.push_back(name);
  tend();
}

void HolderKeeper::tend() {
  if (lost_) to_forget_.clear();
  size_t done = 0;
  while (done < to_forget_.size()) {
    const int error =
        send_hold(socket_, hold_message(HoldOp::kForget, to_forget_[done]), -1, MSG_DONTWAIT);
    if (error == EAGAIN) break;
    ++done;
  }
  to_forget_.erase(to_forget_.begin(), to_forget_.begin() + static_cast<std::ptrdiff_t>(done));
  pollfd end = {socket_.get(), POLLRDHUP, 0};
  if (!lost_ && ::poll(&end, 1, 0) > 0) lost_ = true;
}

std::string HolderKeeper::trouble() const {
  if (!lost_) return {};
  return "the holder process has ended, so host memory will not survive the next restart: restart "
         "the daemon when that suits";
}

Status end_holder(const std::string& path) {
  const Result<sockaddr_un> address = address_of(path);
  if (!address.ok()) return address.error();
  Result<Fd> socket = connect_holder(*address);
  if (!socket.ok()) return socket.error();
  if (!*socket) return Error::format(Code::kNotFound, "no holder listens on %s", path.c_str());
  const int error = send_hold(*socket, hold_message(HoldOp::kEnd), -1, 0);
  if (error != 0) return Error::system(error, "telling the holder to end");
  HoldMessage message = {};
  Fd fd;
  if (receive_hold(*socket, &message, &fd, 0) != HoldReceived::kMessage) {
    return Error(Code::kUnavailable, "the holder did not answer");
  }
  if (message.op == HoldOp::kBusy) {
    return Error::format(Code::kPermission,
                         "kvtierd (process %llu) is running on it: stop the daemon first",
                         static_cast<unsigned long long>(message.value));
  }
  return {};
}

}  // namespace kvtier::daemon
