// Store, store re-encoded, store to a lower tier only, or not at all: the pure function of what a
// new chunk is expected to save against what it displaces and what writing it wears. Daemon and
// simulator alike. docs/planner.md has the formulas. No system call, no allocation; any thread.
#pragma once

#include <span>

#include "kvtier/wire/cost.hpp"

namespace kvtier::wire {

// One way of keeping a chunk. What may not be (a lossy codec not asked for, a tier out of service)
// is not offered.
struct StoreOption {
  Tier tier = Tier::kHost;
  uint8_t codec = 0;          // 0: as it is
  double stored_bytes = 0;    //
  double encode_seconds = 0;  // of a CPU, once
  double decode_seconds = 0;  // at each load
  // What a byte of this tier is worth now: seconds saved by the coldest byte that would go, over
  // the time that a chunk stays. 0 while the tier has room.
  double displaced_s_per_byte = 0;
  // What a byte written costs: 0 while writes run behind the budget of the device.
  double written_s_per_byte = 0;
  uint64_t budget_left_bytes = UINT64_MAX;  // the device takes no more than that
};

struct StoreInput {
  CostSnapshot costs;
  uint64_t first_token = 0;  // of the chunk, in its prompt
  uint64_t tokens = 0;
  double reuse_probability = 0;  // that it is asked for while it would be kept
  double reuses = 1;             // and how often then
  double cpu_weight = 0.1;       // of a second of encoding against one until a first token
  std::span<const StoreOption> options;
  // Lazy: only what the engine is about to drop is stored; before that it has it anyway.
  bool lazy = false;
  bool engine_drops_it = false;
};

enum class StoreDecision : uint8_t { kNot = 0, kLater = 1, kStore = 2 };
struct StoreOutput {
  StoreDecision decision = StoreDecision::kNot;
  size_t option = 0;          // of kStore
  double saving_seconds = 0;  // expected, net
};

// Seconds a kept chunk saves: computing it (its share of a longer call: the constant is paid in any
// case) against loading it, never less than nothing, because it need not be loaded.
inline double reuse_saving(const StoreInput& input, const StoreOption& option) {
  SpaceCostNow cost = input.costs.space;
  cost.g = 0;
  const auto first = static_cast<double>(input.first_token);
  const double compute = recompute_seconds(cost, first, first + static_cast<double>(input.tokens));
  const TierCostNow& tier = input.costs.tiers[static_cast<size_t>(option.tier)];
  const double load = sane(option.stored_bytes, 0) / bandwidth_of(tier, option.tier) +
                      sane(option.decode_seconds, 0);
  return std::max(compute - load, 0.0);
}

inline double store_saving(const StoreInput& input, const StoreOption& option) {
  const double likely = std::min(sane(input.reuse_probability, 0), 1.0) * sane(input.reuses, 1);
  return likely * reuse_saving(input, option) -
         sane(input.cpu_weight, 0) * sane(option.encode_seconds, 0) -
         sane(option.stored_bytes, 0) *
             (sane(option.displaced_s_per_byte, 0) + sane(option.written_s_per_byte, 0));
}

// The option that saves most, if any saves anything.
inline StoreOutput plan_store(const StoreInput& input) {
  StoreOutput output;
  for (size_t i = 0; i < input.options.size(); ++i) {
    const StoreOption& option = input.options[i];
    const bool down = (input.costs.tiers_down >> static_cast<unsigned>(option.tier) & 1) != 0;
    if (down || static_cast<double>(option.budget_left_bytes) < option.stored_bytes) continue;
    const double saving = store_saving(input, option);
    if (!(saving > output.saving_seconds)) continue;
    output = {StoreDecision::kStore, i, saving};
  }
  if (output.decision == StoreDecision::kStore && input.lazy && !input.engine_drops_it) {
    output.decision = StoreDecision::kLater;
  }
  return output;
}

// The price of a byte written to a device with a budget: nothing while the share of the budget that
// is spent is behind the share of the period that has passed; then rising with the square of what
// it is ahead by, from what a usual byte saves. So the budget goes to the chunks that save most.
inline double write_price(double usual_s_per_byte, double spent_share, double passed_share) {
  const double ahead = sane(spent_share, 0) / std::max(sane(passed_share, 0), 0.01);
  return ahead <= 1 ? 0 : sane(usual_s_per_byte, 0) * (ahead * ahead - 1);
}

}  // namespace kvtier::wire
