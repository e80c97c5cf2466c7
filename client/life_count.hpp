// A reference count that can be tried at any time, also by a thread that holds nothing yet.
//
// Invariants: 0 is dead; only revive() leaves it, and only the owner of a dead object calls that.
// try_acquire() never takes 0 to 1, so a release() that returns true is the only one for this life.
// The object's memory must outlive all that may try (it is recycled, not freed): a try that began
// in one life and succeeds in the next simply holds the next. tests/client/life_count_test.cpp
// interleaves it.
#pragma once

#include <atomic>
#include <cstdint>

namespace kvtier::client {

class LifeCount {
 public:
  // Owner, when dead. What was written before is seen by whoever acquires.
  void revive() { count_.store(1, std::memory_order_release); }

  bool try_acquire() {
    uint64_t count = count_.load(std::memory_order_relaxed);
    while (count != 0) {
      if (count_.compare_exchange_weak(count, count + 1, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  // For a holder.
  void acquire() { count_.fetch_add(1, std::memory_order_relaxed); }

  // True: this was the last, and the caller tears down.
  bool release() { return count_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

 private:
  std::atomic<uint64_t> count_{0};
};

}  // namespace kvtier::client
