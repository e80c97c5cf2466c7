// Reading the cost board under its sequence (docs/protocol.md, section 2): a private copy of what
// one decision needs. Any thread; no system call, no allocation, a bounded number of retries.
#pragma once

#include <emmintrin.h>
#include <array>

#include "kvtier/wire/published.hpp"

namespace kvtier::wire {

struct TierCostNow {
  double bandwidth_bytes_per_s = 0;
  double latency_s = 0;
  uint64_t queued_bytes = 0;
  uint64_t samples = 0;  // 0: an assumption
};
// seconds = g + a * n + b * (n^2 - c^2) / 2 for tokens c .. n.
struct SpaceCostNow {
  double a = 0;
  double b = 0;
  double g = 0;
  uint64_t samples = 0;
};
struct CostSnapshot {
  std::array<TierCostNow, kTierCount> tiers;
  SpaceCostNow space;
  uint64_t health = 0;
};

inline constexpr int kBoardRetriesMax = 16;

// Copies the board for the space with this number. False when the daemon was writing each time, or
// died while writing; *snapshot is then not to be used.
inline bool read_board(const CostBoard& board, uint32_t space_number, CostSnapshot* snapshot) {
  if (space_number >= kSpacesMax) return false;
  constexpr auto kRelaxed = std::memory_order_relaxed;
  for (int attempt = 0; attempt < kBoardRetriesMax; ++attempt) {
    const uint64_t before = board.sequence.load(std::memory_order_acquire);
    if (before % 2 != 0) {
      _mm_pause();
      continue;
    }
    for (uint32_t i = 0; i < kTierCount; ++i) {
      const TierCost& cost = board.tiers[i];
      snapshot->tiers[i] = {bits_double(cost.bandwidth_bytes_per_s.load(kRelaxed)),
                            bits_double(cost.latency_s.load(kRelaxed)),
                            cost.queued_bytes.load(kRelaxed), cost.samples.load(kRelaxed)};
    }
    const SpaceCost& space = board.spaces[space_number];
    snapshot->space = {bits_double(space.a.load(kRelaxed)), bits_double(space.b.load(kRelaxed)),
                       bits_double(space.g.load(kRelaxed)), space.samples.load(kRelaxed)};
    snapshot->health = board.health.load(kRelaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (board.sequence.load(kRelaxed) == before) return true;
  }
  return false;
}

}  // namespace kvtier::wire
