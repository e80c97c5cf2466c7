// Deadlines: saturating sums, and what ppoll wants. Pure, any thread.
#pragma once

#include <poll.h>
#include <time.h>

#include <algorithm>
#include <chrono>

#include "kvtier/kvtier.hpp"

namespace kvtier::client {

// Now plus `wait`, without running over.
inline Clock::time_point after(std::chrono::nanoseconds wait) {
  const Clock::time_point now = Clock::now();
  return wait > Clock::time_point::max() - now ? Clock::time_point::max() : now + wait;
}

inline bool passed(Clock::time_point deadline) {
  return deadline != Clock::time_point::max() && Clock::now() >= deadline;
}

// Waits for `fds` until the deadline, in slices of at most a second, so that a lost wake-up costs
// a second and not for ever. What poll() returns; 0 also when a slice ended.
inline int poll_until(pollfd* fds, nfds_t count, Clock::time_point deadline) {
  constexpr std::chrono::nanoseconds kSlice = std::chrono::seconds(1);
  std::chrono::nanoseconds wait = kSlice;
  if (deadline != Clock::time_point::max()) {
    wait = std::clamp<std::chrono::nanoseconds>(deadline - Clock::now(),
                                                std::chrono::nanoseconds(0), kSlice);
  }
  const timespec time = {.tv_sec = wait.count() / 1'000'000'000,
                         .tv_nsec = wait.count() % 1'000'000'000};
  return ::ppoll(fds, count, &time, nullptr);
}

}  // namespace kvtier::client
