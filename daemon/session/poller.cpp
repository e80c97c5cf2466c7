// epoll.
#include "daemon/session/poller.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>

namespace kvtier::daemon {
namespace {

constexpr uint64_t kMillisecondNs = 1'000'000;
constexpr unsigned kSourceShift = 56;

int whole_milliseconds(uint64_t wait_ns) {
  if (wait_ns == Poller::kForever) return -1;
  const uint64_t whole = wait_ns / kMillisecondNs + (wait_ns % kMillisecondNs != 0 ? 1 : 0);
  return static_cast<int>(std::min<uint64_t>(whole, INT_MAX));
}

}  // namespace

Result<Poller> Poller::create() {
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Error::system(errno, "creating the event loop");
  return Poller(std::move(epoll));
}

Status Poller::add(const Fd& fd, Ready meaning, Trigger trigger) {
  return add(fd.get(), meaning, trigger);
}

Status Poller::add(int fd, Ready meaning, Trigger trigger) {
  epoll_event event = {};
  event.events = EPOLLIN | (trigger == Trigger::kEdge ? EPOLLET : 0u);
  event.data.u64 = (static_cast<uint64_t>(meaning.source) << kSourceShift) | meaning.number;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return Error::system(errno, "watching a descriptor");
}

void Poller::remove(const Fd& fd) {
  if (fd) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd.get(), nullptr);
}

std::span<const Ready> Poller::wait(uint64_t wait_ns) {
  std::array<epoll_event, kEventsMax> events;
  const int found = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                 whole_milliseconds(wait_ns));
  const size_t count = found > 0 ? static_cast<size_t>(found) : 0;  // interrupted: nothing
  for (size_t i = 0; i < count; ++i) {
    const uint64_t word = events[i].data.u64;
    ready_[i].source = static_cast<Source>(word >> kSourceShift);
    ready_[i].number = word & ((uint64_t{1} << kSourceShift) - 1);
  }
  return {ready_.data(), count};
}

}  // namespace kvtier::daemon
