// How often one message may be written: a token bucket in one atomic word. Any thread, no locks.
// Invariant: `next_ns_` is when the bucket would be full again; every admitted message moves it one
// interval on, so at most burst + elapsed/interval messages pass, however many threads ask
// (tested by RateLimit.ThreadsTogetherGetNoMoreThanTheBurst).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace kvtier::daemon {

class RateLimit {
 public:
  struct Rate {
    uint64_t burst_max;    // messages at once
    uint64_t interval_ns;  // then one each
  };
  struct Verdict {
    bool admitted;
    uint64_t suppressed;  // of an admitted message: how many were refused since the last one
  };

  Verdict admit(Rate rate, uint64_t now_ns) {
    const uint64_t tolerance = (rate.burst_max - 1) * rate.interval_ns;
    uint64_t next = next_ns_.load(std::memory_order_relaxed);
    do {
      if (next > now_ns + tolerance) {
        suppressed_.fetch_add(1, std::memory_order_relaxed);
        return {false, 0};
      }
    } while (!next_ns_.compare_exchange_weak(next, std::max(next, now_ns) + rate.interval_ns,
                                             std::memory_order_relaxed));
    return {true, take_suppressed()};
  }

  // Refused messages that no admitted one has reported yet; they count as reported from here on.
  uint64_t take_suppressed() { return suppressed_.exchange(0, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> next_ns_{0};
  std::atomic<uint64_t> suppressed_{0};
};

}  // namespace kvtier::daemon
