// GreedyDual-Size-Frequency (Cherkasova, 1998) by what it costs to compute a chunk again: a deep
// chunk costs more than one at a prompt's head, because each of its tokens attends to all before.
// The chunk with the least L + uses x cost / bytes goes first, L being that of the last that went.
// Core thread. About 90 bytes a slot.
#pragma once

#include <set>
#include <vector>

#include "daemon/policy/policy.hpp"

namespace kvtier::daemon {

class GdsfPolicy final : public Policy {
 public:
  void inserted(SlotId slot, const ChunkFacts& facts) override;
  void touched(SlotId slot, uint32_t position) override;
  void removed(SlotId slot, Removal how) override;
  size_t victims(std::span<SlotId> out, const VictimFilter& filter) override;
  void hinted(SlotId slot, Outlook outlook) override;

 private:
  struct Rank {
    double height = 0;
    uint64_t order = 0;  // of equals the one used first
    SlotId slot = kNoSlot;
    auto operator<=>(const Rank&) const = default;
  };
  struct Note {
    Rank rank;
    float cost = 0;  // a byte
    uint32_t uses = 0;
  };

  void place(SlotId slot);

  std::set<Rank> ranks_;
  std::vector<Note> notes_;  // uses 0: not resident
  double inflation_ = 0;
  uint64_t order_ = 0;
};

}  // namespace kvtier::daemon
