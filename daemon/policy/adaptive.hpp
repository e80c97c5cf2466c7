// The default policy: the order of ClassesPolicy whose ghost cache has hit most of late. Begins
// with LRU, which is hard to beat where sessions come back soon; reuse times are better where few
// chunks are used again. Core thread. 24 bytes a slot, and under 2 MiB for sample and ghosts.
#pragma once

#include <array>

#include "daemon/policy/classes_policy.hpp"
#include "daemon/policy/ghost_cache.hpp"

namespace kvtier::daemon {

class AdaptivePolicy final : public ClassesPolicy {
 public:
  AdaptivePolicy();
  Order order() const { return order_; }

 private:
  static constexpr size_t kOrders = 2;

  void sampled(uint32_t tag, const ChunkFacts& facts) override;
  void sampled_hint(uint32_t tag, Outlook outlook) override;
  void end_path();
  void choose_order();

  std::array<GhostCache, kOrders> ghosts_;
  std::array<double, kOrders> hits_{};       // of late
  std::array<uint32_t, kOrders> pending_{};  // of the path being used, before its next miss
  uint32_t position_ = 0;
  double uses_ = 0;
};

}  // namespace kvtier::daemon
