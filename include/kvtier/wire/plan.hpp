// Load or recompute: the pure function that clients execute on a copy of the cost board (and the
// simulator on invented ones). docs/planner.md has the formulas and worked examples. No system
// call, no allocation, no state; any thread.
//
// This version decides the sequential case: chunks are loaded, then the rest is computed. The
// fields for overlapped loading, deadlines and hysteresis are part of the signature, so that
// callers do not change when the live planner fills them in.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "kvtier/wire/cost.hpp"

namespace kvtier::wire {

enum class Overlap : uint8_t {
  kSequential = 0,  // load a prefix, then compute
  kOverlapped = 1,  // compute the head while the tail is loaded; decided as kSequential so far
  kLayerwise = 2,   // layer by layer; decided as kSequential so far
};

struct PlanInput {
  CostSnapshot costs;
  uint32_t tokens_per_chunk = 0;
  uint64_t chunk_bytes = 0;
  uint64_t first = 0;  // chunk the choice begins at; those before are the engine's already
  // Resident chunks from `first`, in the order host, device, nvme, remote.
  std::array<uint64_t, kTierCount> chunks_by_tier = {};
  Overlap overlap = Overlap::kSequential;
  // Weight of a second of computing against a second until the first token (0: only the latter).
  double lambda = 0;
  // The latest decision for this prompt, kept unless another is better by this share.
  bool has_last = false;
  uint64_t last_load_chunks = 0;
  double hysteresis = 0.1;
};

struct PlanOutput {
  uint64_t load_chunks = 0;      // from `first`
  double load_seconds = 0;       // of these
  double recompute_seconds = 0;  // of the same tokens; 0 when nothing was reported yet
  double deadline_seconds = 0;   // past it the rest of the load should be recomputed; 0: none
};

// What a tier is taken to do when the board has no sane number: a slow one of its kind.
inline constexpr std::array<double, kTierCount> kAssumedBandwidth = {5e9, 20e9, 2e9, 0.5e9};

inline double sane(double value, double otherwise) {
  return std::isfinite(value) && value >= 0 ? value : otherwise;
}

// Seconds until `bytes` (> 0) have come from a tier.
inline double load_seconds(const TierCostNow& cost, Tier tier, double bytes) {
  const double assumed = kAssumedBandwidth[static_cast<size_t>(tier)];
  const double measured = sane(cost.bandwidth_bytes_per_s, 0);
  const double bandwidth = measured > 0 ? measured : assumed;
  return sane(cost.latency_s, 0) + (static_cast<double>(cost.queued_bytes) + bytes) / bandwidth;
}

// Seconds to compute tokens begin .. end; 0 for none.
inline double recompute_seconds(const SpaceCostNow& cost, double begin, double end) {
  if (end <= begin) return 0;
  return sane(cost.g, 0) + sane(cost.a, 0) * (end - begin) +
         sane(cost.b, 0) * (end * end - begin * begin) / 2;
}

// Seconds to load the first `chunks` resident ones; tiers one after the other.
inline double load_seconds(const PlanInput& input, uint64_t chunks) {
  double seconds = 0;
  for (uint32_t i = 0; i < kTierCount && chunks > 0; ++i) {
    const uint64_t part = std::min(chunks, input.chunks_by_tier[i]);
    chunks -= part;
    if (part == 0) continue;
    seconds += load_seconds(input.costs.tiers[i], static_cast<Tier>(i),
                            static_cast<double>(part) * static_cast<double>(input.chunk_bytes));
  }
  return seconds;
}

// What the choice of k chunks costs until the first token, plus lambda for the computing in it.
inline double cost_of(const PlanInput& input, uint64_t k, uint64_t resident) {
  const double tokens = input.tokens_per_chunk;
  const double compute =
      recompute_seconds(input.costs.space, tokens * static_cast<double>(input.first + k),
                        tokens * static_cast<double>(input.first + resident));
  return load_seconds(input, k) + (1 + sane(input.lambda, 0)) * compute;
}

// The number of chunks to load. Within one tier the cost is concave in k (deep tokens are dearer to
// compute, bytes are not), so its minimum lies at an end: nothing, all, or where a tier ends.
inline PlanOutput plan_load(const PlanInput& input) {
  uint64_t resident = 0;
  std::array<uint64_t, kTierCount> ends = {};
  for (uint32_t i = 0; i < kTierCount; ++i) ends[i] = resident += input.chunks_by_tier[i];
  PlanOutput output;
  if (resident == 0) return output;

  const SpaceCostNow& space = input.costs.space;
  const bool reported = sane(space.a, 0) > 0 || sane(space.b, 0) > 0 || sane(space.g, 0) > 0;
  uint64_t best = 0;
  if (!reported) {
    best =
        resident;  // nothing known about computing: a cache that holds the bytes is there to serve
  } else {
    double best_cost = cost_of(input, 0, resident);
    for (const uint64_t end : ends) {
      const double cost = cost_of(input, end, resident);
      if (cost < best_cost) {
        best = end;
        best_cost = cost;
      }
    }
    if (input.has_last && input.last_load_chunks <= resident &&
        cost_of(input, input.last_load_chunks, resident) <=
            best_cost * (1 + sane(input.hysteresis, 0))) {
      best = input.last_load_chunks;
    }
  }
  const double tokens = input.tokens_per_chunk;
  output.load_chunks = best;
  output.load_seconds = load_seconds(input, best);
  output.recompute_seconds = recompute_seconds(space, tokens * static_cast<double>(input.first),
                                               tokens * static_cast<double>(input.first + best));
  output.deadline_seconds = output.recompute_seconds;
  return output;
}

}  // namespace kvtier::wire
