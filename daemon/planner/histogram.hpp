// Counts of values by size, log-linear: each power of two in 32 steps, so a percentile is at most
// 3 % off, whatever the unit. Fixed size, mergeable, no allocation; one thread. Ages: when it has
// seen kAgeAt values all counts are halved, so percentiles are of the last few thousand.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace kvtier::daemon {

class Histogram {
 public:
  static constexpr uint32_t kStepBits = 5;
  static constexpr uint32_t kSteps = 1u << kStepBits;
  static constexpr uint32_t kCells = (64 - kStepBits + 1) * kSteps;
  static constexpr uint64_t kAgeAt = 8192;

  void add(uint64_t value) {
    ++cells_[cell_of(value)];
    ++total_;
    if (++count_ >= kAgeAt) age();
  }
  void merge(const Histogram& other) {
    for (uint32_t i = 0; i < kCells; ++i) cells_[i] += other.cells_[i];
    count_ += other.count_;
    total_ += other.total_;
    while (count_ >= kAgeAt) age();
  }
  // A value that this share (0 to 1) of the values do not exceed, within a step; 0 of none.
  uint64_t quantile(double share) const {
    if (count_ == 0) return 0;
    const double wanted = std::clamp(share, 0.0, 1.0) * static_cast<double>(count_);
    const uint64_t rank = std::max<uint64_t>(static_cast<uint64_t>(std::ceil(wanted)), 1);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < kCells; ++i) {
      seen += cells_[i];
      if (seen >= rank) return middle_of(i);
    }
    return middle_of(kCells - 1);
  }
  uint64_t count() const { return count_; }  // that still counts
  uint64_t total() const { return total_; }  // ever added

  static uint32_t cell_of(uint64_t value) {
    if (value < kSteps) return static_cast<uint32_t>(value);
    const auto top = static_cast<uint32_t>(std::bit_width(value)) - 1;
    const uint32_t shift = top - kStepBits;
    return (shift + 1) * kSteps + static_cast<uint32_t>((value >> shift) & (kSteps - 1));
  }
  static uint64_t middle_of(uint32_t cell) {
    if (cell < kSteps) return cell;
    const uint32_t shift = cell / kSteps - 1;
    const uint64_t low = uint64_t{kSteps + cell % kSteps} << shift;
    return low + (shift == 0 ? 0 : uint64_t{1} << (shift - 1));
  }

 private:
  void age() {
    count_ = 0;
    for (uint32_t& cell : cells_) count_ += cell /= 2;
  }

  std::array<uint32_t, kCells> cells_ = {};
  uint64_t count_ = 0;
  uint64_t total_ = 0;
};

}  // namespace kvtier::daemon
