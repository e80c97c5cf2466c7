// The simulation's only source of chance: the same numbers for a seed on every machine.
#pragma once

#include <cstdint>

#include "kvtier/wire/key.hpp"

namespace kvtier::simulation {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(XXH3_64bits(&seed, sizeof seed)) {}
  uint64_t next() {
    uint64_t z = (state_ += 0x9e37'79b9'7f4a'7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d0'49bb'1331'11ebULL;
    return z ^ (z >> 31);
  }
  // 0 .. n-1
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(next() % n); }
  uint32_t between(uint32_t low, uint32_t high) { return low + below(high - low + 1); }
  bool percent(uint32_t p) { return below(100) < p; }

 private:
  uint64_t state_;
};

}  // namespace kvtier::simulation
