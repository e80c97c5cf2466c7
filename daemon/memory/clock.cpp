// CLOCK_MONOTONIC as the core's clock.
#include "daemon/memory/clock.hpp"

#include <ctime>

namespace kvtier::daemon {

uint64_t SystemClock::now_ns() const {
  timespec time = {};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000ULL +
         static_cast<uint64_t>(time.tv_nsec);
}

}  // namespace kvtier::daemon
