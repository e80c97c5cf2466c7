// Choosing among orders by ghost caches. Core thread.
#include "daemon/policy/adaptive.hpp"

#include <algorithm>
#include <bit>

#include "daemon/policy/lru.hpp"

namespace kvtier::daemon {

namespace {
// What counts as of late: uses whose weight halves in eight times the tier's size, as for reuse
// times, and not under so many uses, a few dozen long prompts.
constexpr double kUsesMin = 32768;
constexpr double kHalfLifeSizes = 8;
// Another order must have hit one use in a hundred more: less is noise, and changing has a price.
// LRU, the one that keeps what was used last, takes over again when it is no worse.
constexpr double kBetter = 0.01;
constexpr double kNoise = 8;
}  // namespace

AdaptivePolicy::AdaptivePolicy()
    : ClassesPolicy(Order::kLru),
      ghosts_{GhostCache(std::make_unique<LruPolicy>()),
              GhostCache(std::make_unique<ClassesPolicy>(Order::kReuse)),
              GhostCache(std::make_unique<ArcPolicy>())} {}

void AdaptivePolicy::inserted(SlotId slot, const ChunkFacts& facts) {
  ClassesPolicy::inserted(slot, facts);
  arc_.inserted(slot, facts);
}

void AdaptivePolicy::touched(SlotId slot, uint32_t position) {
  ClassesPolicy::touched(slot, position);
  arc_.touched(slot, position);
}

void AdaptivePolicy::removed(SlotId slot, Removal how) {
  ClassesPolicy::removed(slot, how);
  arc_.removed(slot, how);
}

size_t AdaptivePolicy::victims(std::span<SlotId> out, const VictimFilter& filter) {
  return current_ == kArc ? arc_.victims(out, filter) : ClassesPolicy::victims(out, filter);
}

void AdaptivePolicy::hinted(SlotId slot, Outlook outlook) {
  ClassesPolicy::hinted(slot, outlook);
  arc_.hinted(slot, outlook);
}

// Paths come tail to head. A hit counts only if all before it in the chain are hits, too: hits
// wait until their path has ended, and a miss nearer to the head takes them back.
void AdaptivePolicy::sampled(uint32_t tag, const ChunkFacts& facts) {
  if (facts.position >= position_) end_path();
  position_ = facts.position;
  for (size_t i = 0; i < kOrders; ++i) {
    if (ghosts_[i].used(tag, facts)) {
      ++pending_[i];
    } else {
      pending_[i] = 0;
    }
  }
  uses_ += 1;
}

void AdaptivePolicy::sampled_hint(uint32_t tag, Outlook outlook) {
  for (GhostCache& ghost : ghosts_) ghost.hinted(tag, outlook);
}

void AdaptivePolicy::end_path() {
  const uint64_t capacity = std::max<uint64_t>(lists_.size() >> sample_shift_, 1);
  for (size_t i = 0; i < kOrders; ++i) {
    hits_[i] += pending_[i];
    ghosts_[i].trim(capacity);
  }
  pending_ = {};
  choose_order();
}

void AdaptivePolicy::choose_order() {
  const auto sampled_size = static_cast<double>(lists_.size() >> sample_shift_);
  const double window =
      std::max(kHalfLifeSizes * sampled_size, kUsesMin / static_cast<double>(1u << sample_shift_));
  if (uses_ > 2 * window) {
    uses_ /= 2;
    for (double& hits : hits_) hits /= 2;
  }
  const auto best =
      static_cast<size_t>(std::max_element(hits_.begin(), hits_.end()) - hits_.begin());
  const double better = hits_[best] - hits_[current_];
  if (better <= (best == kLru ? 0 : uses_ * kBetter) + kNoise) return;
  current_ = best;
  order_ = best == kReuse ? Order::kReuse : Order::kLru;
}

}  // namespace kvtier::daemon
