// Load or recompute: the pure function that clients execute on a copy of the cost board, and the
// simulator on invented ones. docs/planner.md has the formulas, what each way of restoring asks of
// an engine, and worked examples. No system call, no allocation, no state; any thread.
//
// It tries every split of the resident chunks, once along them with running sums, so mixed tiers,
// codecs and sizes in one prefix need no special case. `kvtier bench plan` measures it.
#pragma once

#include <limits>
#include <span>

#include "kvtier/wire/cost.hpp"
#include "kvtier/wire/plan_types.hpp"

namespace kvtier::wire {

// Consecutive resident chunks that lie alike.
struct ChunkRun {
  uint32_t chunks = 0;
  Tier tier = Tier::kHost;
  uint8_t codec = 0;          // as in the chunk header; 0: none
  uint64_t stored_bytes = 0;  // of each
};

inline constexpr size_t kPlanCodecsMax = 16;
// Past this advantage of another choice the last one is given up.
inline constexpr double kHysteresis = 0.03;

struct PlanInput {
  CostSnapshot costs;
  uint32_t tokens_per_chunk = 0;
  uint64_t first = 0;              // chunk the choice begins at; those before are the engine's
  std::span<const ChunkRun> runs;  // resident chunks from `first`, in order
  uint64_t tokens_behind = 0;      // of the prompt behind them: computed in any case
  Overlap overlap = Overlap::kSequential;
  uint32_t layers = 0;  // for kLayerwise; 0 counts as 1
  // Seconds a stored byte of this codec takes to be decoded, beyond its copy.
  std::array<double, kPlanCodecsMax> decode_s_per_byte = {};
  // Weight of a second of computing against a second until the first token (0: only the latter).
  double lambda = 0;
  // The latest decision for this prompt, kept unless another is better by this share.
  bool has_last = false;
  uint64_t last_load_chunks = 0;
  double hysteresis = kHysteresis;
};

struct PlanOutput {
  // Chunks [load_begin, load_end), counted from `first`, are loaded, the others computed.
  uint64_t load_begin = 0;
  uint64_t load_end = 0;
  uint64_t resident = 0;           // that could be used: those before a tier out of service
  double load_seconds = 0;         // of these
  double recompute_seconds = 0;    // of the same tokens; 0 when nothing is known
  double compute_seconds = 0;      // of all that is computed
  double ttft_seconds = 0;         // until all tokens of the prompt are there
  double load_all_seconds = 0;     // until then, had all resident chunks been loaded,
  double compute_all_seconds = 0;  // or all been computed
  double deadline_seconds = 0;     // past it the rest of the load should be computed; 0: none

  uint64_t load_chunks() const { return load_end - load_begin; }
};

namespace plan_detail {

// What the chunks added so far take to come: tiers in parallel, each chunk of a lower tier through
// host memory, where all of them are copied (and decoded) one after the other.
class LoadSum {
 public:
  explicit LoadSum(const PlanInput& input) : input_(input) {
    for (size_t i = 0; i < kTierCount; ++i) {
      const auto tier = static_cast<Tier>(i);
      s_per_byte_[i] = 1 / bandwidth_of(input.costs.tiers[i], tier);
      empty_[i] = load_seconds(input.costs.tiers[i], tier, 0);
    }
  }
  // What each chunk of a run adds.
  struct Steps {
    size_t tier;
    double read;  // by its own tier; 0 in host memory
    double copy;  // out of host memory, decoded; 0 on the device
    double tail;  // behind its reading
  };
  Steps steps(const ChunkRun& run) {
    const auto bytes = static_cast<double>(run.stored_bytes);
    const double decode = bytes * sane(input_.decode_s_per_byte[run.codec % kPlanCodecsMax], 0);
    Steps made = {static_cast<size_t>(run.tier) % kTierCount, 0, 0, decode};
    if (run.tier != Tier::kHost) made.read = bytes * s_per_byte_[made.tier];
    if (run.tier != Tier::kDevice) {
      made.copy = made.tail = bytes * s_per_byte_[kHost] + decode;
      begin(kHost);
    }
    begin(made.tier);
    return made;
  }
  void add(const Steps& steps) {
    if (steps.read > 0) {
      pipe_[steps.tier] += steps.read;
      seconds_ = std::max(seconds_, pipe_[steps.tier] + steps.tail);
    }
    if (steps.copy > 0) {
      pipe_[kHost] += steps.copy;
      seconds_ = std::max(seconds_, pipe_[kHost]);
    }
  }
  double seconds() const { return seconds_; }

 private:
  static constexpr auto kHost = static_cast<size_t>(Tier::kHost);
  // The first chunk of a tier waits for the tier's first byte and for what is queued there.
  void begin(size_t tier) {
    if (pipe_[tier] == 0) pipe_[tier] = empty_[tier];
  }

  const PlanInput& input_;
  std::array<double, kTierCount> s_per_byte_ = {}, empty_ = {}, pipe_ = {};
  double seconds_ = 0;
};

// The prompt by chunk counted from `first`, with the coefficients made sane once.
class Prompt {
 public:
  Prompt(const PlanInput& input, uint64_t resident)
      : tokens_(input.tokens_per_chunk),
        first_(tokens_ * static_cast<double>(input.first)),
        resident_(token(static_cast<double>(resident))),
        end_(resident_ + static_cast<double>(input.tokens_behind)),
        a_(sane(input.costs.space.a, 0)),
        b_(sane(input.costs.space.b, 0) / 2),
        g_(sane(input.costs.space.g, 0)),
        rest_(span(resident_, end_)) {}

  double token(double chunk) const { return first_ + tokens_ * chunk; }
  double compute(double from_chunk, double to_chunk) const {
    return span(token(from_chunk), token(to_chunk));
  }
  double compute_from(double chunk) const { return span(token(chunk), end_); }
  double rest() const { return rest_; }  // behind the resident chunks

 private:
  double span(double begin, double end) const {
    return end <= begin ? 0 : g_ + (end - begin) * (a_ + b_ * (end + begin));
  }
  double tokens_, first_, resident_, end_, a_, b_, g_, rest_;
};

struct Split {
  double ttft = 0;
  double compute = 0;
};

// `loaded` chunks at the front take `load` seconds, the others are computed behind them.
inline Split prefix_split(const Prompt& prompt, double loaded, double load) {
  const double compute = prompt.compute_from(loaded);
  return {load + compute, compute};
}
// The same as a pipeline of two stages and as many steps as the model has layers.
inline Split layerwise_split(const Prompt& prompt, double loaded, double load, double step) {
  const double compute = prompt.compute_from(loaded);
  return {step * (load + compute) + (1 - step) * std::max(load, compute), compute};
}
// The chunks behind the first `computed` take `load` seconds while those are computed.
inline Split overlapped_split(const Prompt& prompt, double computed, bool all, double load) {
  if (all) {  // in one call
    const double compute = prompt.compute_from(0);
    return {compute, compute};
  }
  const double head = prompt.compute(0, computed);
  return {std::max(load, head) + prompt.rest(), head + prompt.rest()};
}

// The best split so far, and what the last decision would cost now.
struct Best {
  explicit Best(const PlanInput& asked)
      : lambda(sane(asked.lambda, 0)),
        last(asked.has_last ? asked.last_load_chunks : UINT64_MAX),
        hysteresis(sane(asked.hysteresis, 0)) {}

  const double lambda;
  const uint64_t last;
  const double hysteresis;
  double cost = std::numeric_limits<double>::infinity();
  double last_cost = std::numeric_limits<double>::infinity();
  uint64_t chunks = 0;
  Split split, last_split;
  double load = 0, last_load = 0;

  void offer(uint64_t count, const Split& made, double load_s) {
    const double now = made.ttft + lambda * made.compute;
    if (now < cost) {
      cost = now;
      chunks = count;
      split = made;
      load = load_s;
    }
    if (count == last) {
      last_cost = now;
      last_split = made;
      last_load = load_s;
    }
  }
  void keep_last() {
    if (!(last_cost <= cost * (1 + hysteresis))) return;
    chunks = last;
    split = last_split;
    load = last_load;
  }
};

inline bool is_down(const CostSnapshot& costs, Tier tier) {
  return tier != Tier::kHost && (costs.tiers_down >> static_cast<unsigned>(tier) & 1) != 0;
}

inline void finish(const PlanInput& input, const Prompt& prompt, const Best& best, bool known,
                   PlanOutput* output) {
  const bool tail = input.overlap == Overlap::kOverlapped;
  output->load_begin = tail ? output->resident - best.chunks : 0;
  output->load_end = tail ? output->resident : best.chunks;
  output->load_seconds = best.load;
  output->ttft_seconds = best.split.ttft;
  output->compute_seconds = best.split.compute;
  output->compute_all_seconds = prompt.compute_from(0);
  output->recompute_seconds = prompt.compute(static_cast<double>(output->load_begin),
                                             static_cast<double>(output->load_end));
  if (best.chunks == 0 || !known) return;
  // Overlapped, the head goes on computing: it has met the tail when all would be computed.
  output->deadline_seconds = tail ? output->compute_all_seconds : output->recompute_seconds;
}

}  // namespace plan_detail

// The number of chunks to load, and from which end. Everything when nothing is known of computing:
// a cache that holds the bytes is there to serve.
inline PlanOutput plan_load(const PlanInput& input) {
  using namespace plan_detail;
  PlanOutput output;
  size_t runs = 0;
  for (; runs < input.runs.size() && !is_down(input.costs, input.runs[runs].tier); ++runs) {
    output.resident += input.runs[runs].chunks;
  }
  const Prompt prompt(input, output.resident);
  if (output.resident == 0) {
    output.ttft_seconds = output.compute_seconds = prompt.compute_from(0);
    output.load_all_seconds = output.compute_all_seconds = output.ttft_seconds;
    return output;
  }
  const bool tail = input.overlap == Overlap::kOverlapped;
  const bool layerwise = input.overlap == Overlap::kLayerwise;
  const double step = 1.0 / std::max<uint32_t>(input.layers, 1);
  const bool known = compute_known(input.costs.space);
  Best best(input);
  LoadSum load(input);
  uint64_t count = 0;
  const auto split = [&] {
    const auto loaded = static_cast<double>(count);
    if (tail) {
      return overlapped_split(prompt, static_cast<double>(output.resident - count), count == 0,
                              load.seconds());
    }
    return layerwise && count != 0 ? layerwise_split(prompt, loaded, load.seconds(), step)
                                   : prefix_split(prompt, loaded, load.seconds());
  };
  if (known) best.offer(0, split(), 0);
  for (size_t i = 0; i < runs; ++i) {
    const ChunkRun& run = input.runs[tail ? runs - 1 - i : i];
    const LoadSum::Steps steps = load.steps(run);
    for (uint32_t chunk = 0; chunk < run.chunks; ++chunk) {
      load.add(steps);
      ++count;
      if (known) best.offer(count, split(), load.seconds());
    }
  }
  const Split all = split();
  output.load_all_seconds = all.ttft;
  if (!known) {
    best.offer(count, all, load.seconds());
  } else {
    best.keep_last();
  }
  finish(input, prompt, best, known, &output);
  return output;
}

}  // namespace kvtier::wire
