// How many bytes may be written to one device: in every window of a second and of a day, wherever
// the window begins, the sum is within the budget. Time is cut into buckets, and the sum over all
// buckets that a window can touch is kept within it; so a budget is used up to 1/21 (second) or
// 1/25 (day) less than allowed. Core thread; no clock of its own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace kvtier::daemon::nvme {

template <size_t kBuckets, uint64_t kBucketNs>
class Window {
 public:
  explicit Window(uint64_t bytes_max) : bytes_max_(bytes_max) {}
  uint64_t bytes_max() const { return bytes_max_; }

  uint64_t left(uint64_t now_ns) {
    advance(now_ns);
    return sum_ >= bytes_max_ ? 0 : bytes_max_ - sum_;
  }
  void charge(uint64_t now_ns, uint64_t bytes) {
    advance(now_ns);
    buckets_[newest_ % kBuckets] += bytes;
    sum_ += bytes;
  }
  // Newest first.
  std::array<uint64_t, kBuckets> history(uint64_t now_ns) {
    advance(now_ns);
    std::array<uint64_t, kBuckets> out;
    for (size_t i = 0; i < kBuckets; ++i) out[i] = buckets_[(newest_ + kBuckets - i) % kBuckets];
    return out;
  }
  // What another process wrote, `age` buckets ago as it saw them.
  void restore(uint64_t now_ns, std::span<const uint64_t, kBuckets> history, uint64_t age) {
    advance(now_ns);
    for (size_t i = 0; i + age < kBuckets; ++i) {
      buckets_[(newest_ + kBuckets - i - age) % kBuckets] += history[i];
      sum_ += history[i];
    }
  }

 private:
  // Bucket numbers start high enough that older ones exist.
  void advance(uint64_t now_ns) {
    const uint64_t current = now_ns / kBucketNs + kBuckets;
    if (newest_ == 0) newest_ = current;
    for (uint64_t steps = 0; newest_ < current; ++steps) {
      if (steps == kBuckets) {
        newest_ = current;
        break;
      }
      ++newest_;
      sum_ -= buckets_[newest_ % kBuckets];
      buckets_[newest_ % kBuckets] = 0;
    }
  }

  uint64_t bytes_max_;
  std::array<uint64_t, kBuckets> buckets_ = {};
  uint64_t newest_ = 0;
  uint64_t sum_ = 0;
};

inline constexpr uint64_t kHourNs = 3600ull * 1'000'000'000;

class WriteBudget {
 public:
  static constexpr size_t kSecondBuckets = 21;
  static constexpr size_t kDayBuckets = 25;
  using Day = Window<kDayBuckets, kHourNs>;

  // UINT64_MAX: no limit.
  WriteBudget(uint64_t bytes_per_second, uint64_t bytes_per_day)
      : second_(bytes_per_second), day_(bytes_per_day) {}

  bool limited() const {
    return second_.bytes_max() != UINT64_MAX || day_.bytes_max() != UINT64_MAX;
  }
  uint64_t left(uint64_t now_ns) {
    const uint64_t second = second_.left(now_ns), day = day_.left(now_ns);
    return second < day ? second : day;
  }
  // UINT64_MAX: no limit.
  uint64_t second_left(uint64_t now_ns) {
    return second_.bytes_max() == UINT64_MAX ? UINT64_MAX : second_.left(now_ns);
  }
  uint64_t day_left(uint64_t now_ns) {
    return day_.bytes_max() == UINT64_MAX ? UINT64_MAX : day_.left(now_ns);
  }
  void charge(uint64_t now_ns, uint64_t bytes) {
    second_.charge(now_ns, bytes);
    day_.charge(now_ns, bytes);
  }
  uint64_t bytes_per_second() const { return second_.bytes_max(); }
  Day& day() { return day_; }

 private:
  Window<kSecondBuckets, 50'000'000> second_;
  Day day_;
};

}  // namespace kvtier::daemon::nvme
