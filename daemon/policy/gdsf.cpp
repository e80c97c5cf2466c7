// GreedyDual-Size-Frequency over slot ids. Core thread.
#include "daemon/policy/gdsf.hpp"

#include <algorithm>

namespace kvtier::daemon {

namespace {
// Tokens of context at which attention costs as much as the rest of the model: about 30,000 for the
// models of 7 to 70 billion parameters in use.
constexpr float kContextOfEqualCost = 30000;
}  // namespace

void GdsfPolicy::place(SlotId slot) {
  Note& note = notes_[slot];
  note.rank = {inflation_ + static_cast<double>(note.uses) * static_cast<double>(note.cost),
               ++order_, slot};
  ranks_.insert(note.rank);
}

void GdsfPolicy::inserted(SlotId slot, const ChunkFacts& facts) {
  if (slot >= notes_.size()) notes_.resize(size_t{slot} + 1);
  removed(slot, Removal::kDropped);
  Note& note = notes_[slot];
  const auto tokens = static_cast<float>(facts.tokens);
  const float context = static_cast<float>(facts.position) * tokens;
  // Relative to a chunk at the head, of bytes in proportion to its tokens.
  note.cost = 1 + context / kContextOfEqualCost;
  note.uses = 1;
  place(slot);
}

void GdsfPolicy::touched(SlotId slot, uint32_t) {
  if (slot >= notes_.size() || notes_[slot].uses == 0) return;
  ranks_.erase(notes_[slot].rank);
  ++notes_[slot].uses;
  place(slot);
}

void GdsfPolicy::removed(SlotId slot, Removal how) {
  if (slot >= notes_.size() || notes_[slot].uses == 0) return;
  if (how == Removal::kEvicted) inflation_ = std::max(inflation_, notes_[slot].rank.height);
  ranks_.erase(notes_[slot].rank);
  notes_[slot].uses = 0;
}

size_t GdsfPolicy::victims(std::span<SlotId> out, const VictimFilter& filter) {
  size_t count = 0;
  for (auto rank = ranks_.begin(); rank != ranks_.end() && count < out.size(); ++rank) {
    if (filter.may_evict(rank->slot)) out[count++] = rank->slot;
  }
  return count;
}

void GdsfPolicy::hinted(SlotId slot, Outlook outlook) {
  if (slot >= notes_.size() || notes_[slot].uses == 0) return;
  ranks_.erase(notes_[slot].rank);
  if (outlook == Outlook::kNever) {
    notes_[slot].rank = {0, ++order_, slot};
    ranks_.insert(notes_[slot].rank);
  } else {
    place(slot);
  }
}

}  // namespace kvtier::daemon
