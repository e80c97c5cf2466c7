// ARC over slot ids. Core thread.
#include "daemon/policy/arc.hpp"

#include <algorithm>

#include "daemon/policy/tag_table.hpp"

namespace kvtier::daemon {

void ArcPolicy::forget_oldest(bool again) {
  by_tag_.erase(lost_[again].front());
  lost_[again].pop_front();
}

// What was used once, resident or lost, is no more than the tier; all together twice of it.
void ArcPolicy::trim() {
  while (!lost_[0].empty() && lists_.size(kOnce) + lost_[0].size() > capacity_) {
    forget_oldest(false);
  }
  while (!lost_[1].empty() && lists_.size() + lost_[0].size() + lost_[1].size() > 2 * capacity_) {
    forget_oldest(true);
  }
}

void ArcPolicy::inserted(SlotId slot, const ChunkFacts& facts) {
  if (lists_.resident(slot)) lists_.remove(slot);
  const uint32_t tag = tag_of_key(facts.key);
  const auto known = by_tag_.find(tag);
  uint32_t list = kOnce;
  if (known != by_tag_.end()) {
    const auto once = static_cast<double>(lost_[0].size());
    const auto again = static_cast<double>(lost_[1].size());
    if (known->second.again) {
      once_target_ = std::max(once_target_ - std::max(1.0, once / again), 0.0);
    } else {
      once_target_ =
          std::min(once_target_ + std::max(1.0, again / once), static_cast<double>(capacity_));
    }
    lost_[known->second.again].erase(known->second.place);
    by_tag_.erase(known);
    list = kAgain;
  }
  lists_.push_newest(slot, list, tag, 0);
  capacity_ = std::max(capacity_, lists_.size());
  trim();
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
  const bool again = lists_.list_of(slot) != kOnce;
  lists_.remove(slot);
  if (how != Removal::kEvicted || by_tag_.contains(tag)) return;
  lost_[again].push_back(tag);
  by_tag_[tag] = {again, std::prev(lost_[again].end())};
  trim();
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
