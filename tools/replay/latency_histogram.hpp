// Times of many calls in bounded memory: buckets of 1/32 of an octave from 1 ns to 78 hours, so a
// percentile is right to about 2 %. Owned by one thread; add() of another's merges.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace kvtier::tools {

class LatencyHistogram {
 public:
  void record(uint64_t nanoseconds) {
    ++buckets_[bucket_of(nanoseconds)];
    ++count_;
  }
  void add(const LatencyHistogram& other) {
    for (size_t i = 0; i < kBuckets; ++i) buckets_[i] += other.buckets_[i];
    count_ += other.count_;
  }
  uint64_t count() const { return count_; }

  // The middle of the bucket below or in which `share` (0 to 1) of all times lie; 0 if there are
  // none.
  double quantile_ns(double share) const {
    if (count_ == 0) return 0;
    const double wanted = share * static_cast<double>(count_);
    uint64_t seen = 0;
    for (size_t i = 0; i < kBuckets; ++i) {
      seen += buckets_[i];
      if (static_cast<double>(seen) >= wanted && seen > 0) return middle_of(i);
    }
    return middle_of(kBuckets - 1);
  }

 private:
  static constexpr uint32_t kStepBits = 5;
  static constexpr size_t kSteps = size_t{1} << kStepBits;
  static constexpr size_t kOctaves = 48;
  static constexpr size_t kBuckets = kOctaves * kSteps;

  // The first two kSteps values have a bucket each; then kSteps buckets an octave.
  static size_t bucket_of(uint64_t value) {
    if (value < 2 * kSteps) return value;
    const auto octave = static_cast<size_t>(std::bit_width(value)) - 1;
    const size_t step = (value >> (octave - kStepBits)) & (kSteps - 1);
    const size_t bucket = (octave - kStepBits) * kSteps + kSteps + step;
    return bucket < kBuckets ? bucket : kBuckets - 1;
  }
  static double middle_of(size_t bucket) {
    if (bucket < 2 * kSteps) return static_cast<double>(bucket);
    const size_t octave = bucket / kSteps - 1 + kStepBits;
    const size_t step = bucket % kSteps;
    const double unit = static_cast<double>(uint64_t{1} << (octave - kStepBits));
    return (static_cast<double>(kSteps + step) + 0.5) * unit;
  }

  std::array<uint64_t, kBuckets> buckets_ = {};
  uint64_t count_ = 0;
};

}  // namespace kvtier::tools
