// A cache of keys without bytes. Core thread.
#include "daemon/policy/ghost_cache.hpp"

namespace kvtier::daemon {

namespace {
struct AnySlot final : VictimFilter {
  bool may_evict(SlotId) const override { return true; }
};
}  // namespace

bool GhostCache::used(uint32_t tag, const ChunkFacts& facts, uint64_t capacity) {
  const auto found = slots_.find(tag);
  if (found != slots_.end()) {
    policy_->touched(found->second, facts.position);
    return true;
  }
  while (!slots_.empty() && slots_.size() >= capacity) {
    SlotId victim;
    if (policy_->victims({&victim, 1}, AnySlot()) == 0) return false;
    policy_->removed(victim, Removal::kEvicted);
    slots_.erase(tags_[victim]);
    free_.push_back(victim);
  }
  if (capacity == 0) return false;
  SlotId slot;
  if (free_.empty()) {
    slot = static_cast<SlotId>(tags_.size());
    tags_.push_back(tag);
  } else {
    slot = free_.back();
    free_.pop_back();
    tags_[slot] = tag;
  }
  slots_[tag] = slot;
  policy_->inserted(slot, facts);
  return false;
}

void GhostCache::hinted(uint32_t tag, Policy::Outlook outlook) {
  const auto found = slots_.find(tag);
  if (found != slots_.end()) policy_->hinted(found->second, outlook);
}

}  // namespace kvtier::daemon
