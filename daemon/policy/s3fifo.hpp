// S3-FIFO (Yang et al., SOSP'23): a small queue for what is new, a tenth of the tier, a main queue
// for what was used again, and the keys that the small one lost. For comparison: on chat it does
// worse than LRU. Core thread. 16 bytes a slot, 8 for an evicted key.
#pragma once

#include "daemon/policy/policy.hpp"
#include "daemon/policy/slot_lists.hpp"
#include "daemon/policy/tag_table.hpp"

namespace kvtier::daemon {

class S3FifoPolicy final : public Policy {
 public:
  void inserted(SlotId slot, const ChunkFacts& facts) override;
  void touched(SlotId slot, uint32_t position) override;
  void removed(SlotId slot, Removal how) override;
  size_t victims(std::span<SlotId> out, const VictimFilter& filter) override;
  void hinted(SlotId slot, Outlook outlook) override;

 private:
  static constexpr uint32_t kSmall = 0, kMain = 1;

  SlotLists lists_;  // a slot's moment is the number of its uses, 3 at most
  TagTable lost_;    // its moment is when the key was lost, in evictions
  uint32_t evictions_ = 0;
};

}  // namespace kvtier::daemon
