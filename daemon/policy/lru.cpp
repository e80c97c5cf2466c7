// Least recently used, as an intrusive list over slot ids. Core thread.
#include "daemon/policy/lru.hpp"

namespace kvtier::daemon {

bool LruPolicy::resident(SlotId slot) const {
  return slot < links_.size() &&
         (links_[slot].older != kNoSlot || links_[slot].newer != kNoSlot || oldest_ == slot);
}

void LruPolicy::link_newest(SlotId slot) {
  links_[slot] = {newest_, kNoSlot};
  (newest_ == kNoSlot ? oldest_ : links_[newest_].newer) = slot;
  newest_ = slot;
}

// Behind all that were said to be over, before the rest: hints come tail to head, as uses do.
void LruPolicy::link_ended(SlotId slot) {
  const SlotId older = ended_newest_;
  const SlotId newer = older == kNoSlot ? oldest_ : links_[older].newer;
  links_[slot] = {older, newer};
  (older == kNoSlot ? oldest_ : links_[older].newer) = slot;
  (newer == kNoSlot ? newest_ : links_[newer].older) = slot;
  ended_newest_ = slot;
}

void LruPolicy::unlink(SlotId slot) {
  const Links links = links_[slot];
  if (slot == ended_newest_) ended_newest_ = links.older;
  (links.older == kNoSlot ? oldest_ : links_[links.older].newer) = links.newer;
  (links.newer == kNoSlot ? newest_ : links_[links.newer].older) = links.older;
  links_[slot] = {};
}

void LruPolicy::inserted(SlotId slot, const ChunkFacts&) {
  if (slot >= links_.size()) links_.resize(slot + 1);
  if (resident(slot)) unlink(slot);
  link_newest(slot);
}

void LruPolicy::touched(SlotId slot, uint32_t) {
  if (!resident(slot) || (slot == newest_ && slot != ended_newest_)) return;
  unlink(slot);
  link_newest(slot);
}

void LruPolicy::removed(SlotId slot, Removal) {
  if (resident(slot)) unlink(slot);
}

size_t LruPolicy::victims(std::span<SlotId> out, const VictimFilter& filter) {
  size_t count = 0;
  for (SlotId slot = oldest_; slot != kNoSlot && count < out.size(); slot = links_[slot].newer) {
    if (filter.may_evict(slot)) out[count++] = slot;
  }
  return count;
}

void LruPolicy::hinted(SlotId slot, Outlook outlook) {
  if (!resident(slot)) return;
  unlink(slot);
  if (outlook == Outlook::kNever) {
    link_ended(slot);
  } else {
    link_newest(slot);
  }
}

}  // namespace kvtier::daemon
