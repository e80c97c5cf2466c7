// See holder.hpp.
#include "daemon/keep/holder.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <vector>

#include "daemon/keep/fd_keeper.hpp"
#include "daemon/keep/hold_protocol.hpp"

namespace kvtier::daemon {
namespace {

constexpr size_t kGuestsMax = 8;           // connections at once
constexpr int kLookMs = 1000;              // at the path, while no daemon is there
constexpr size_t kFdsReserved = 32;        // of this process's limit
constexpr int kSoPeerPidfd = 77;           // Linux 6.5, asm-generic/socket.h
constexpr time_t kSendTimeoutSeconds = 5;  // to a daemon that takes nothing

uint64_t now_ns() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// As many descriptors as this process may have.
size_t raise_fd_limit() {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur > kFdsReserved ? limit.rlim_cur - kFdsReserved : 0;
}

bool has_ended(const Fd& pidfd) {
  pollfd one = {pidfd.get(), POLLIN, 0};
  return ::poll(&one, 1, 0) > 0;
}

struct Guest {
  Fd socket;
  Fd process;
  int pid = 0;
  bool over = false;
};

class Holder {
 public:
  explicit Holder(const HolderOptions& options)
      : options_(options),
        listen_(options.listen_fd),
        fds_max_(std::min(raise_fd_limit(), kKeptFdsMax)) {
    struct stat found = {};
    if (::lstat(options.path.c_str(), &found) == 0) inode_ = found.st_ino;
    alone_since_ns_ = now_ns();
  }

  int run() {
    while (!ended_) {
      wait();
      accept_one();
      for (Guest& guest : guests_) serve(guest);
      std::erase_if(guests_, [](const Guest& guest) { return guest.over; });
      look_around();
    }
    if (path_is_ours()) ::unlink(options_.path.c_str());
    return 0;
  }

 private:
  bool daemon_runs() const { return owner_ && !has_ended(owner_); }

  void wait() {
    std::vector<pollfd> fds;
    fds.push_back({listen_.get(), POLLIN, 0});
    if (daemon_runs()) fds.push_back({owner_.get(), POLLIN, 0});
    const int timeout = fds.size() > 1 ? -1 : kLookMs;
    for (const Guest& guest : guests_) fds.push_back({guest.socket.get(), POLLIN, 0});
    ::poll(fds.data(), fds.size(), timeout);
  }

  void accept_one() {
    Guest guest;
    guest.socket = Fd(::accept4(listen_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!guest.socket || guests_.size() >= kGuestsMax) return;
    ucred peer = {};
    socklen_t bytes = sizeof peer;
    if (::getsockopt(guest.socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) return;
    if (peer.uid != ::geteuid() && peer.uid != 0) return;
    int process = -1;
    bytes = sizeof process;
    if (::getsockopt(guest.socket.get(), SOL_SOCKET, kSoPeerPidfd, &process, &bytes) != 0) {
      process = static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0));
    }
    if (process < 0) return;
    guest.process = Fd(process);
    guest.pid = peer.pid;
    const timeval patience = {kSendTimeoutSeconds, 0};
    ::setsockopt(guest.socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    guests_.push_back(std::move(guest));
  }

  // Everything that has arrived. What a daemon sent before it was killed is read like the rest.
  void serve(Guest& guest) {
    while (!guest.over && !ended_) {
      HoldMessage message = {};
      Fd fd;
      const HoldReceived received = receive_hold(guest.socket, &message, &fd, MSG_DONTWAIT);
      if (received == HoldReceived::kNothing) return;
      if (received == HoldReceived::kEnd) {
        guest.over = true;
        return;
      }
      act(guest, message, std::move(fd));
    }
  }

  void act(Guest& guest, const HoldMessage& message, Fd fd) {
    switch (message.op) {
      case HoldOp::kTake:
        return give(guest);
      case HoldOp::kKeep:
        if (guest.pid == owner_pid_ && fd) held_[message.name] = std::move(fd);
        return;
      case HoldOp::kForget:
        if (guest.pid == owner_pid_) held_.erase(message.name);
        return;
      case HoldOp::kEnd:
        if (daemon_runs()) return say(guest, HoldOp::kBusy, static_cast<uint64_t>(owner_pid_));
        held_.clear();  // before the answer, so that the memory is back when it arrives
        ended_ = true;
        return say(guest, HoldOp::kDone, 0);
      default:
        guest.over = true;
    }
  }

  void give(Guest& guest) {
    if (daemon_runs() && guest.pid != owner_pid_) {
      return say(guest, HoldOp::kBusy, static_cast<uint64_t>(owner_pid_));
    }
    // The one before has ended, so all it ever sent is here; some of it may not be read yet.
    for (Guest& other : guests_) {
      if (&other != &guest && other.pid == owner_pid_) serve(other);
    }
    owner_pid_ = guest.pid;
    owner_ = std::move(guest.process);
    for (const auto& [name, fd] : held_) {
      if (send_hold(guest.socket, hold_message(HoldOp::kItem, name), fd.get(), 0) != 0) {
        guest.over = true;
        return;
      }
    }
    say(guest, HoldOp::kDone, fds_max_);
  }

  void say(Guest& guest, HoldOp op, uint64_t value) {
    if (send_hold(guest.socket, hold_message(op, "", value), -1, 0) != 0) guest.over = true;
  }

  bool path_is_ours() const {
    struct stat found = {};
    return ::lstat(options_.path.c_str(), &found) == 0 && found.st_ino == inode_;
  }

  void look_around() {
    const uint64_t now = now_ns();
    if (daemon_runs()) {
      alone_since_ns_ = now;
      return;
    }
    if (now - alone_since_ns_ > options_.keep_for_ns || !path_is_ours()) ended_ = true;
  }

  HolderOptions options_;
  Fd listen_;
  size_t fds_max_;
  ino_t inode_ = 0;
  std::vector<Guest> guests_;
  std::map<std::string, Fd> held_;
  Fd owner_;  // pidfd of the daemon that has, or had, everything
  int owner_pid_ = 0;
  uint64_t alone_since_ns_ = 0;
  bool ended_ = false;
};

}  // namespace

int run_holder(const HolderOptions& options) {
  ::fcntl(options.listen_fd, F_SETFD, FD_CLOEXEC);
  ::fcntl(options.listen_fd, F_SETFL, O_NONBLOCK);
  return Holder(options).run();
}

}  // namespace kvtier::daemon
