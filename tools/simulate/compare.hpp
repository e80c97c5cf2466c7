// Two settings on one trace: is the difference of their hit rates more than chance? Pure; any
// thread.
#pragma once

#include <cstdint>
#include <span>

namespace kvtier::tools {

struct Difference {
  double rate_a = 0, rate_b = 0;  // of the blocks asked
  double low = 0, high = 0;       // of rate_b - rate_a, nineteen times of twenty
  double p = 1;                   // so often chance alone shows as much, either way
  uint64_t runs = 0;              // of requests, that were drawn from
};

// A paired bootstrap: runs of consecutive requests (their sessions overlap, so single requests are
// not independent) are drawn with replacement, both settings' hits with them, 2,000 times. `asked`
// and the hits are of the same requests.
Difference compare(std::span<const uint32_t> asked, std::span<const uint32_t> hits_a,
                   std::span<const uint32_t> hits_b, uint64_t seed);

}  // namespace kvtier::tools
