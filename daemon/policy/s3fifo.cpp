// S3-FIFO over slot ids. Core thread.
#include "daemon/policy/s3fifo.hpp"

#include <algorithm>

namespace kvtier::daemon {

namespace {
constexpr uint32_t kUsesMax = 3;
constexpr uint64_t kSmallShare = 10;
}  // namespace

void S3FifoPolicy::inserted(SlotId slot, const ChunkFacts& facts) {
  if (lists_.resident(slot)) lists_.remove(slot);
  const uint32_t tag = tag_of_key(facts.key);
  const TagTable::Place* lost = lost_.find(tag);
  // A key counts as lost for as many evictions as there are slots.
  const bool again =
      lost != nullptr && ((evictions_ - lost->moment) & SlotLists::kMomentMask) <= lists_.size();
  lists_.push_newest(slot, again ? kMain : kSmall, tag, 0);
}

void S3FifoPolicy::touched(SlotId slot, uint32_t) {
  if (!lists_.resident(slot)) return;
  lists_.set_moment(slot, std::min(lists_.moment_of(slot) + 1, kUsesMax));
}

void S3FifoPolicy::removed(SlotId slot, Removal how) {
  if (!lists_.resident(slot)) return;
  if (how == Removal::kEvicted) {
    ++evictions_;
    if (lists_.list_of(slot) == kSmall) {
      lost_.hold(lists_.size());
      const uint32_t tag = lists_.tag_of(slot);
      TagTable::Place* place = lost_.find(tag);
      if (place == nullptr) place = lost_.slot_for(tag, evictions_);
      *place = {tag, kSmall, evictions_ & SlotLists::kMomentMask};
    }
  }
  lists_.remove(slot);
}

// Moves what was used on while it looks: every slot is passed at most four times a call.
size_t S3FifoPolicy::victims(std::span<SlotId> out, const VictimFilter& filter) {
  size_t count = 0;
  uint64_t small = lists_.size(kSmall);
  SlotId next[2] = {lists_.oldest(kSmall), lists_.oldest(kMain)};
  uint64_t looks = lists_.size() * (kUsesMax + 1);
  while (count < out.size() && looks-- > 0 && (next[0] != kNoSlot || next[1] != kNoSlot)) {
    const bool from_small =
        next[kSmall] != kNoSlot && (small * kSmallShare >= lists_.size() || next[kMain] == kNoSlot);
    SlotId& from = next[from_small ? kSmall : kMain];
    const SlotId slot = from;
    from = lists_.newer(slot);
    if (!filter.may_evict(slot)) continue;
    const uint32_t uses = lists_.moment_of(slot);
    if (uses > (from_small ? 1u : 0u)) {
      const uint32_t tag = lists_.tag_of(slot);
      lists_.remove(slot);
      lists_.push_newest(slot, kMain, tag, from_small ? 0 : uses - 1);
      if (next[kMain] == kNoSlot) next[kMain] = slot;
      if (from_small) --small;
      continue;
    }
    out[count++] = slot;
    if (from_small) --small;
  }
  return count;
}

void S3FifoPolicy::hinted(SlotId slot, Outlook outlook) {
  if (!lists_.resident(slot)) return;
  lists_.set_moment(slot, outlook == Outlook::kNever ? 0 : kUsesMax);
}

}  // namespace kvtier::daemon
