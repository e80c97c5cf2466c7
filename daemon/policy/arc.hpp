// ARC (Megiddo and Modha, FAST'03): one list of what was used once, one of what was used again, and
// how the tier is shared between them follows the hits among the keys that each has lost lately.
// Core thread. 16 bytes a slot, and up to about 56 for each key remembered, as many as are
// resident.
#pragma once

#include <list>
#include <unordered_map>

#include "daemon/policy/policy.hpp"
#include "daemon/policy/slot_lists.hpp"

namespace kvtier::daemon {

class ArcPolicy final : public Policy {
 public:
  void inserted(SlotId slot, const ChunkFacts& facts) override;
  void touched(SlotId slot, uint32_t position) override;
  void removed(SlotId slot, Removal how) override;
  size_t victims(std::span<SlotId> out, const VictimFilter& filter) override;
  void hinted(SlotId slot, Outlook outlook) override;

 private:
  static constexpr uint32_t kOnce = 0, kAgain = 1, kEnded = 2;
  struct Lost {
    bool again;
    std::list<uint32_t>::iterator place;
  };

  void forget_oldest(bool again);
  void trim();

  SlotLists lists_;
  std::list<uint32_t> lost_[2];  // tags, oldest first: once, again
  std::unordered_map<uint32_t, Lost> by_tag_;
  uint64_t capacity_ = 0;  // the most that was ever resident
  double once_target_ = 0;
};

}  // namespace kvtier::daemon
