// See doorbell.hpp.
#include "daemon/session/doorbell.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include <cerrno>
#include <csignal>
#include <cstdint>

namespace kvtier::daemon {
namespace {

// Its only effect is that a waiting system call of the thread returns.
void interrupted(int) {}

int interrupt_signal() {
  return SIGRTMIN;
}

}  // namespace

Result<Fd> Doorbell::make_eventfd() {
  Fd fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd) return Error::system(errno, "making an eventfd for a session");
  return fd;
}

Doorbell::~Doorbell() {
  if (has_timer_) ::timer_delete(timer_);
}

bool Doorbell::ring(const Fd& eventfd) {
  if (!running_) running_ = start_timer();
  rung_ = true;
  const int flags = ::fcntl(eventfd.get(), F_GETFL);
  if (flags < 0 || (flags & O_NONBLOCK) == 0) return false;
  const uint64_t one = 1;
  if (::write(eventfd.get(), &one, sizeof one) == sizeof one) return true;
  return errno == EAGAIN;  // full: readable as it is. Interrupted: it had become blocking
}

void Doorbell::rest() {
  if (running_ && !rung_) {
    set_interval(0);
    running_ = false;
  }
  rung_ = false;
}

bool Doorbell::start_timer() {
  if (!has_timer_) {
    struct sigaction action = {};
    action.sa_handler = interrupted;  // without SA_RESTART, on purpose
    sigemptyset(&action.sa_mask);
    ::sigaction(interrupt_signal(), &action, nullptr);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, interrupt_signal());
    ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    sigevent event = {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = interrupt_signal();
    event._sigev_un._tid = static_cast<pid_t>(::syscall(SYS_gettid));
    has_timer_ = ::timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
  }
  if (has_timer_) set_interval(kInterruptNs);
  return has_timer_;
}

void Doorbell::set_interval(long nanoseconds) {
  itimerspec spec = {};
  spec.it_value.tv_nsec = nanoseconds;
  spec.it_interval.tv_nsec = nanoseconds;
  ::timer_settime(timer_, 0, &spec, nullptr);
}

}  // namespace kvtier::daemon
