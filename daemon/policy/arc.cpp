// ARC over slot ids. Core thread.
#include "daemon/policy/arc.hpp"

#include <algorithm>

#include "daemon/policy/tag_table.hpp"

namespace kvtier::daemon {

void ArcPolicy::inserted(SlotId slot, const ChunkFacts& facts) {
  if (lists_.resident(slot)) lists_.remove(slot);
  const uint32_t tag = tag_of_key(facts.key);
  uint32_t list = kOnce;
  if (TagTable::Place* known = lost_.find(tag)) {
    // What was used once, resident or lost, is no more than the tier; what was lost of the rest
    // neither.
    const uint64_t kept =
        known->list == kAgain ? capacity_ : capacity_ - std::min(capacity_, lists_.size(kOnce));
    if (lost_since(*known) <= kept) {
      once_target_ = known->list == kAgain
                         ? std::max(once_target_ - 1, 0.0)
                         : std::min(once_target_ + 1, static_cast<double>(capacity_));
      list = kAgain;
    }
    known->tag = 0;
  }
  lists_.push_newest(slot, list, tag, 0);
  capacity_ = std::max(capacity_, lists_.size());
}

void ArcPolicy::touched(SlotId slot, uint32_t) {
  if (!lists_.resident(slot)) return;
  const uint32_t tag = lists_.tag_of(slot);
  lists_.remove(slot);
  lists_.push_newest(slot, kAgain, tag, 0);
}

void ArcPolicy::removed(SlotId slot, Removal how) {
  if (!lists_.resident(slot)) return;
  const uint32_t tag = lists_.tag_of(slot);
  const uint32_t list = lists_.list_of(slot) == kOnce ? kOnce : kAgain;
  lists_.remove(slot);
  if (how != Removal::kEvicted) return;
  lost_.hold(2 * capacity_);
  TagTable::Place* place = lost_.find(tag);
  if (place == nullptr) {
    place = lost_.slot_for(tag, [this](const TagTable::Place& one) { return lost_since(one); });
  }
  place->tag = tag;
  place->list = list & 63;
  place->moment = lost_count_[list]++ & SlotLists::kMomentMask;
}

size_t ArcPolicy::victims(std::span<SlotId> out, const VictimFilter& filter) {
  size_t count = 0;
  SlotId next[3] = {lists_.oldest(kOnce), lists_.oldest(kAgain), lists_.oldest(kEnded)};
  const auto skip = [&](SlotId& slot) {
    while (slot != kNoSlot && !filter.may_evict(slot)) slot = lists_.newer(slot);
  };
  auto once_left = static_cast<double>(lists_.size(kOnce));
  while (count < out.size()) {
    for (SlotId& slot : next) skip(slot);
    const bool from_once = next[kOnce] != kNoSlot && (next[kAgain] == kNoSlot ||
                                                      (once_left >= 1 && once_left > once_target_));
    SlotId& from = next[kEnded] != kNoSlot ? next[kEnded] : next[from_once ? kOnce : kAgain];
    if (from == kNoSlot) break;
    if (from_once && next[kEnded] == kNoSlot) once_left -= 1;
    out[count++] = from;
    from = lists_.newer(from);
  }
  return count;
}

void ArcPolicy::hinted(SlotId slot, Outlook outlook) {
  if (!lists_.resident(slot)) return;
  const uint32_t tag = lists_.tag_of(slot);
  lists_.remove(slot);
  lists_.push_newest(slot, outlook == Outlook::kNever ? kEnded : kAgain, tag, 0);
}

}  // namespace kvtier::daemon
