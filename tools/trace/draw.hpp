// Random draws for generated workloads, the same on every machine: integers only, since the last
// bit of log() or cos() may differ from library to library. Owned by one thread.
#pragma once

#include <cstdint>

namespace kvtier::tools {

// A log-normal quantity as its median and its spread in doublings, both as whole numbers:
// two thirds of all draws lie within median / 2^(spread/16) to median * 2^(spread/16).
struct LogNormal {
  uint32_t median;
  uint32_t spread_16ths;
  uint32_t min;
  uint32_t max;
};

class Draw {
 public:
  explicit Draw(uint64_t seed) : state_(seed) {}

  uint64_t bits();               // 64 of them: SplitMix64
  uint64_t below(uint64_t end);  // 0 to end - 1; end is at most 2^32
  bool chance(uint32_t percent) { return below(100) < percent; }
  uint64_t log_normal(const LogNormal& shape);

 private:
  uint64_t state_;
};

// 2^(x / 65536) in 1/2^16, rounded down; -16 * 65536 <= x < 32 * 65536.
uint64_t exp2_fixed(int64_t x);

}  // namespace kvtier::tools
