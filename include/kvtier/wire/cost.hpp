// Reading the cost board under its sequence (docs/protocol.md, section 2): a private copy of what
// one decision needs, and what it makes of numbers that are none. Any thread; no system call, no
// allocation, a bounded number of retries. Formulas: docs/planner.md.
#pragma once

#include <emmintrin.h>
#include <algorithm>
#include <array>
#include <cmath>

#include "kvtier/wire/published.hpp"

namespace kvtier::wire {

struct TierCostNow {
  double bandwidth_bytes_per_s = 0;
  double latency_s = 0;
  uint64_t queued_bytes = 0;
  uint64_t samples = 0;      // 0: an assumption
  uint64_t measured_ns = 0;  // CLOCK_MONOTONIC of the newest measurement; 0: not told
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
  uint64_t tiers_down = 0;  // bit by Tier: what lies only there is not to be had
  uint64_t board_ns = 0;    // when the daemon wrote it
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
                            cost.queued_bytes.load(kRelaxed), cost.samples.load(kRelaxed),
                            board.measured_ns[i].load(kRelaxed)};
    }
    const SpaceCost& space = board.spaces[space_number];
    snapshot->space = {bits_double(space.a.load(kRelaxed)), bits_double(space.b.load(kRelaxed)),
                       bits_double(space.g.load(kRelaxed)), space.samples.load(kRelaxed)};
    snapshot->health = board.health.load(kRelaxed);
    snapshot->tiers_down = board.tiers_down.load(kRelaxed);
    snapshot->board_ns = board.heartbeat_ns.load(kRelaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (board.sequence.load(kRelaxed) == before) return true;
  }
  return false;
}

// What a tier is taken to do when the board has no sane number: a slow one of its kind.
inline constexpr std::array<double, kTierCount> kAssumedBandwidth = {5e9, 20e9, 2e9, 0.5e9};

inline double sane(double value, double otherwise) {
  return std::isfinite(value) && value >= 0 ? value : otherwise;
}

inline double bandwidth_of(const TierCostNow& cost, Tier tier) {
  const double measured = sane(cost.bandwidth_bytes_per_s, 0);
  return measured > 0 ? measured : kAssumedBandwidth[static_cast<size_t>(tier)];
}

// Seconds until `bytes` (> 0) have come from a tier, when nothing else is asked of it.
inline double load_seconds(const TierCostNow& cost, Tier tier, double bytes) {
  return sane(cost.latency_s, 0) +
         (static_cast<double>(cost.queued_bytes) + bytes) / bandwidth_of(cost, tier);
}

// Whether anything is known, or assumed, of what computing costs.
inline bool compute_known(const SpaceCostNow& cost) {
  return sane(cost.a, 0) > 0 || sane(cost.b, 0) > 0 || sane(cost.g, 0) > 0;
}

// Seconds to compute tokens begin .. end; 0 for none.
inline double recompute_seconds(const SpaceCostNow& cost, double begin, double end) {
  if (end <= begin) return 0;
  return sane(cost.g, 0) + sane(cost.a, 0) * (end - begin) +
         sane(cost.b, 0) * (end * end - begin * begin) / 2;
}

}  // namespace kvtier::wire
