// Which chunks that leave a tier are written to the one below, when not all may be: those whose
// rank is best, as many as the budget pays for. The rank that just passes is found from the ranks
// offered of late; nothing waits for a second use. Core thread; no clock of its own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "daemon/policy/tag_table.hpp"

namespace kvtier::daemon {

class Admission {
 public:
  // How often a chunk that was refused had been used: it comes back as one that is known. 0 of
  // others.
  uint32_t uses_before(const ChunkKey& key);
  // `uses` of the chunk in the tier above, its store included: no feature of a chunk tells better
  // whether it will be asked for again. 0: its session is said to be over. Of equals the one nearer
  // to its prompt's head passes first, so that what lies below can be reached from the head.
  // `share` is how much of what is offered may be written, 0 to 1.
  bool admits(const ChunkKey& key, uint32_t uses, uint32_t position, double share);

 private:
  // Sixteenths of octaves of the rank, from 2^-16 to 2^16: so fine that hardly more than one
  // position of the chunks used once is cut in two, and prompts below keep their heads.
  static constexpr size_t kRanksPerOctave = 16;
  static constexpr size_t kRanks = 32 * kRanksPerOctave;
  bool passes(uint32_t tag, uint32_t uses, uint32_t position, double share);

  TagTable refused_;  // uses as a place's list, offers as its moment; half a MiB
  uint32_t offered_so_far_ = 0;
  std::array<double, kRanks> offered_{};
  double offers_ = 0;
};

}  // namespace kvtier::daemon
