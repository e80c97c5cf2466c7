// Least recently used. With paths touched tail to head it is leaves-first by itself: a parent is
// always used after its children. Core thread; 8 bytes a slot.
#pragma once

#include <vector>

#include "daemon/policy/policy.hpp"

namespace kvtier::daemon {

class LruPolicy final : public Policy {
 public:
  void inserted(SlotId slot, const ChunkFacts& facts) override;
  void touched(SlotId slot, uint32_t position) override;
  void removed(SlotId slot, Removal how) override;
  size_t victims(std::span<SlotId> out, const VictimFilter& filter) override;
  void hinted(SlotId slot, Outlook outlook) override;

 private:
  struct Links {
    SlotId older = kNoSlot;
    SlotId newer = kNoSlot;
  };

  bool resident(SlotId slot) const;
  void link_newest(SlotId slot);
  void link_ended(SlotId slot);
  void unlink(SlotId slot);

  std::vector<Links> links_;
  SlotId oldest_ = kNoSlot;
  SlotId newest_ = kNoSlot;
  SlotId ended_newest_ = kNoSlot;  // the last of those whose sessions are said to be over
};

}  // namespace kvtier::daemon
