// Where the core's time comes from, so that the whole core can run on a virtual clock.
#pragma once

#include <cstdint>

namespace kvtier::daemon {

// Monotonic nanoseconds. Never the wall clock: a jump of it must not expire anything.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual uint64_t now_ns() const = 0;
};

// CLOCK_MONOTONIC.
class SystemClock final : public Clock {
 public:
  uint64_t now_ns() const override;
};

// Moves only when told to.
class VirtualClock final : public Clock {
 public:
  uint64_t now_ns() const override { return now_ns_; }
  void advance_ns(uint64_t nanoseconds) { now_ns_ += nanoseconds; }

 private:
  uint64_t now_ns_ = 1'000'000'000;
};

}  // namespace kvtier::daemon
