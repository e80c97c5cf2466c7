// The default policy: LRU, reuse times or ARC, whose ghost cache has hit most of late. Begins with
// LRU, which is hard to beat where sessions come back soon; reuse times are better where few chunks
// are used again, ARC where the live contexts exceed the tier. Core thread. 56 bytes a slot (24 for
// the first two, which share their state, 32 for ARC), and under 3 MiB for sample and ghosts.
#pragma once

#include <array>

#include "daemon/policy/arc.hpp"
#include "daemon/policy/classes_policy.hpp"
#include "daemon/policy/ghost_cache.hpp"

namespace kvtier::daemon {

class AdaptivePolicy final : public ClassesPolicy {
 public:
  AdaptivePolicy();

  void inserted(SlotId slot, const ChunkFacts& facts) override;
  void touched(SlotId slot, uint32_t position) override;
  void removed(SlotId slot, Removal how) override;
  size_t victims(std::span<SlotId> out, const VictimFilter& filter) override;
  void hinted(SlotId slot, Outlook outlook) override;

  static constexpr size_t kLru = 0, kReuse = 1, kArc = 2, kOrders = 3;
  size_t order() const { return current_; }

 private:
  void sampled(uint32_t tag, const ChunkFacts& facts) override;
  void sampled_hint(uint32_t tag, Outlook outlook) override;
  void end_path();
  void choose_order();

  ArcPolicy arc_;
  size_t current_ = kLru;
  std::array<GhostCache, kOrders> ghosts_;
  std::array<double, kOrders> hits_{};       // of late
  std::array<uint32_t, kOrders> pending_{};  // of the path being used, before its next miss
  uint32_t position_ = 0;
  double uses_ = 0;
};

}  // namespace kvtier::daemon
