// ARC (Megiddo and Modha, FAST'03): one list of what was used once, one of what was used again, and
// how the tier is shared between them follows the hits among the keys that each has lost lately.
// Of a lost key only a tag and its number among the lost of its list are kept, and a hit moves the
// share by one. Core thread. 16 bytes a slot, and 16 for two lost keys.
#pragma once

#include <array>

#include "daemon/policy/policy.hpp"
#include "daemon/policy/slot_lists.hpp"
#include "daemon/policy/tag_table.hpp"

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

  // How many keys its list has lost since.
  uint32_t lost_since(const TagTable::Place& place) const {
    return (lost_count_[place.list] - place.moment) & SlotLists::kMomentMask;
  }

  SlotLists lists_;
  TagTable lost_;  // Place::list: kOnce or kAgain; Place::moment: its number there
  std::array<uint32_t, 2> lost_count_{};
  uint64_t capacity_ = 0;  // the most that was ever resident
  double once_target_ = 0;
};

}  // namespace kvtier::daemon
