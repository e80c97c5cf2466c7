// A cache of keys without bytes. Core thread.
#include "daemon/policy/ghost_cache.hpp"

#include <algorithm>
#include <array>

namespace kvtier::daemon {

namespace {
struct AnySlot final : VictimFilter {
  bool may_evict(SlotId) const override { return true; }
};
}  // namespace

void GhostCache::trim(uint64_t capacity) {
  std::array<SlotId, 64> victims;
  while (slots_.size() > capacity) {
    const size_t wanted = std::min<size_t>(slots_.size() - capacity, victims.size());
    const size_t found = policy_->victims(std::span(victims).first(wanted), AnySlot());
    if (found == 0) return;
    for (size_t i = 0; i < found; ++i) {
      policy_->removed(victims[i], Removal::kEvicted);
      slots_.erase(tags_[victims[i]]);
      free_.push_back(victims[i]);
    }
  }
}

bool GhostCache::used(uint32_t tag, const ChunkFacts& facts) {
  const auto found = slots_.find(tag);
  if (found != slots_.end()) {
    policy_->touched(found->second, facts.position);
    return true;
  }
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
