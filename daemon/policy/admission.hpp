// Which chunks that leave a tier are written to the one below, when not all may be: those whose
// rank is best, as many as the budget pays for. The rank that just passes is found from the ranks
// offered of late; nothing waits for a second use. Core thread; no clock of its own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace kvtier::daemon {

class Admission {
 public:
  // `worth` as Policy::worth() says it; of equals the chunk nearer to its prompt's head passes
  // first, so that what lies below can be reached from the head. `share` is how much of what is
  // offered may be written, 0 to 1.
  bool admits(float worth, uint32_t position, double share);

 private:
  // Quarter octaves of the rank, from 2^-32 to 2^0.
  static constexpr size_t kRanks = 128;
  std::array<double, kRanks> offered_{};
  double offers_ = 0;
};

}  // namespace kvtier::daemon
