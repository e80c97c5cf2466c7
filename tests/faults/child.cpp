#include "tests/faults/child.hpp"

#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace kvtier::faults {
namespace {

constexpr int kLineFd = 3;  // in the child, behind its standard streams

int poll_in(int fd, std::chrono::milliseconds patience) {
  pollfd entry = {fd, POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&entry, 1, static_cast<int>(patience.count()));
  } while (ready < 0 && errno == EINTR);
  return ready;
}

int shell_status(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

Line::~Line() {
  if (fd_ >= 0) ::close(fd_);
}

void Line::say(const std::string& text) {
  (void)!::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
}

std::string Line::hear(std::chrono::milliseconds patience) {
  if (poll_in(fd_, patience) <= 0) return "";
  char text[4096];
  const ssize_t bytes = ::recv(fd_, text, sizeof text, 0);
  return bytes <= 0 ? "" : std::string(text, static_cast<size_t>(bytes));
}

bool become_user(uint32_t uid) {
  return ::setgroups(0, nullptr) == 0 && ::setresgid(uid, uid, uid) == 0 &&
         ::setresuid(uid, uid, uid) == 0;
}

std::unique_ptr<Child> Child::start(const std::function<int(Line&)>& body,
                                    const ChildOptions& options) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
  std::fflush(nullptr);  // or the child would print it again
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) std::abort();
  if (pid == 0) {
    // Nothing of the parent's stays open here: no lock, no session, no other child's line.
    const int line_fd = ::dup2(ends[1], kLineFd);
    ::close_range(kLineFd + 1, ~0u, 0);
    if (options.uid != 0 && !become_user(options.uid)) ::_exit(126);
    // Changing the user clears it, so this comes second.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    int status = 0;
    {
      Line line(line_fd);
      status = body(line);
    }
    if (status == 0 && ::testing::Test::HasFailure()) status = 1;
    std::fflush(nullptr);
    ::_exit(status);
  }
  ::close(ends[1]);
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  return std::unique_ptr<Child>(new Child(pid, pidfd, ends[0]));
}

Child::~Child() {
  kill_now();
  if (pidfd_ >= 0) ::close(pidfd_);
}

void Child::send(int signal) {
  if (!status_) ::kill(pid_, signal);
}

void Child::stop_and_wait() {
  send(SIGSTOP);
  int status = 0;
  while (::waitpid(pid_, &status, WUNTRACED) < 0 && errno == EINTR) {
  }
}

int Child::wait(std::chrono::milliseconds patience) {
  if (status_) return *status_;
  if (poll_in(pidfd_, patience) <= 0) {
    kill_now();
    return -1;
  }
  return reap();
}

int Child::kill_now() {
  if (status_) return *status_;
  ::kill(pid_, SIGKILL);
  return reap();
}

int Child::reap() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  status_ = shell_status(status);
  return *status_;
}

}  // namespace kvtier::faults
