// What the core thread waits on: an epoll set whose members carry a kind and a number. Numbers are
// never used twice, so an event of something that has gone meanwhile finds nothing. Core thread.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <span>

#include "daemon/memory/fd.hpp"
#include "kvtier/result.hpp"

namespace kvtier::daemon {

enum class Source : uint8_t {
  kListener,    // number: of the listening socket
  kSocket,      // the rest: number of the connection, or 0
  kSubmission,  //
  kProcess,     // a pidfd
  kExecutor,
  kMailbox,
  kSignal,
  kTier,
};

struct Ready {
  Source source;
  uint64_t number;
};

// Only the arrival of something new is reported; for descriptors that are never read.
enum class Trigger : uint8_t { kLevel, kEdge };

class Poller {
 public:
  static constexpr size_t kEventsMax = 64;  // a call; the kernel hands out the rest in turn
  static constexpr uint64_t kForever = UINT64_MAX;

  static Result<Poller> create();

  // Errors: system.
  Status add(const Fd& fd, Ready meaning, Trigger trigger = Trigger::kLevel);
  Status add(int fd, Ready meaning, Trigger trigger = Trigger::kLevel);
  void remove(const Fd& fd);
  // Valid until the next call. Waits at least `wait_ns`, in whole milliseconds; may return early.
  std::span<const Ready> wait(uint64_t wait_ns);

 private:
  explicit Poller(Fd epoll) : epoll_(std::move(epoll)) {}

  Fd epoll_;
  std::array<Ready, kEventsMax> ready_{};
};

}  // namespace kvtier::daemon
