// Models, a paced tier and a virtual clock: what plans are tried on. The world executes a plan
// chunk by chunk; the planner knows of it only what telemetry was told. Deterministic.
#pragma once

#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "daemon/planner/prefill_cost.hpp"
#include "daemon/planner/tier_meter.hpp"
#include "kvtier/wire/plan.hpp"

namespace kvtier::daemon::testing {

inline constexpr uint32_t kChunkTokens = 256;

// FLOPs a token and a token and position, KV bytes a token (bf16), FLOP/s achieved (half of the
// dense peak of H100, 0.4 for MLA), from the models' published shapes.
struct Model {
  const char* name;
  double alpha, beta, kv_bytes, flops;
  double seconds(double begin, double end) const {
    if (end <= begin) return 0;
    constexpr double kCall = 4e-3;
    return kCall + (alpha * (end - begin) + beta * (end * end - begin * begin) / 2) / flops;
  }
  uint64_t chunk_bytes() const { return static_cast<uint64_t>(kv_bytes) * kChunkTokens; }
};
inline constexpr std::array kModels = {
    Model{"8B", 2 * 8.03e9, 4.0 * 32 * 32 * 128, 131072, 0.5 * 989e12},
    Model{"70B", 2 * 70.6e9, 4.0 * 80 * 64 * 128, 327680, 8 * 0.5 * 989e12},
    Model{"MLA", 2 * 37e9, 2.0 * 61 * 128 * 320, 70272, 8 * 0.4 * 989e12},
};

// One tier that moves chunks one after the other.
class World {
 public:
  World(const Model& model, double bytes_per_s, wire::Tier tier = wire::Tier::kNvme)
      : model_(model), tier_(tier), rate_(bytes_per_s) {
    prefill_.assume(100e-6);
  }

  double now() const { return now_; }
  uint64_t now_ns() const { return 1'000'000'000 + static_cast<uint64_t>(now_ * 1e9); }
  void advance(double seconds) { now_ += seconds; }
  void set_rate(double bytes_per_s) { rate_ = bytes_per_s; }
  double rate() const { return rate_; }
  const Model& model() const { return model_; }
  double chunk_s() const { return static_cast<double>(model_.chunk_bytes()) / rate_; }
  double load_s(uint64_t chunks) const {
    return chunks == 0 ? 0 : kLatency + static_cast<double>(chunks) * chunk_s();
  }

  // The engine computes these tokens, and says so with the scatter of a real one.
  double compute(double begin, double end) {
    const double seconds = model_.seconds(begin, end) * (1 + 0.03 * scatter());
    if (end > begin) {
      prefill_.report(now_ns(), static_cast<uint64_t>(end - begin), static_cast<uint64_t>(begin),
                      seconds);
    }
    return seconds;
  }
  // Loads `chunks` from now on, at most until `deadline_s` have passed; the chunks that came.
  // Advances the clock; what was under way at the deadline is given up.
  uint64_t load(uint64_t chunks, double deadline_s) {
    const double until = now_ + deadline_s;
    const double begin = now_;
    for (uint64_t i = 0; i < chunks; ++i) meter_.begun(now_ns(), model_.chunk_bytes());
    now_ += kLatency;
    for (uint64_t i = 0; i < chunks; ++i) {
      const double end = now_ + chunk_s();
      while (next_tick_ < std::min(end, until)) tick();
      if (end > until) {
        now_ = until;
        for (uint64_t left = i; left < chunks; ++left) {
          meter_.ended(now_ns(), model_.chunk_bytes(), now_ - begin, false);
        }
        return i;
      }
      now_ = end;
      meter_.ended(now_ns(), model_.chunk_bytes(), now_ - begin, true);
    }
    return chunks;
  }
  // The board, as the daemon writes it ten times a second.
  void tick_to_now() {
    while (next_tick_ <= now_) tick();
  }
  void publish() { next_tick_ = std::min(next_tick_, now_), tick_to_now(); }

  wire::PlanInput input(const std::vector<wire::ChunkRun>& runs, wire::Overlap overlap) const {
    wire::PlanInput input;
    input.costs = board_;
    input.tokens_per_chunk = kChunkTokens;
    input.runs = runs;
    input.overlap = overlap;
    return input;
  }
  std::vector<wire::ChunkRun> runs(uint64_t chunks) const {
    return {{.chunks = static_cast<uint32_t>(chunks),
             .tier = tier_,
             .codec = 0,
             .stored_bytes = model_.chunk_bytes()}};
  }

  // What the split costs here in truth.
  double ttft(uint64_t load_begin, uint64_t load_end, uint64_t resident,
              wire::Overlap overlap) const {
    const auto token = [](uint64_t chunk) {
      return double{kChunkTokens} * static_cast<double>(chunk);
    };
    const double load = load_s(load_end - load_begin);
    if (overlap == wire::Overlap::kOverlapped) {
      return std::max(load, model_.seconds(0, token(load_begin)));
    }
    return load + model_.seconds(token(load_end), token(resident));
  }
  double best(uint64_t resident, wire::Overlap overlap) const {
    double least = 1e300;
    for (uint64_t k = 0; k <= resident; ++k) {
      const bool tail = overlap == wire::Overlap::kOverlapped;
      least = std::min(least, ttft(tail ? k : 0, tail ? resident : k, resident, overlap));
    }
    return least;
  }

  static constexpr double kLatency = 200e-6;

 private:
  double scatter() { return std::uniform_real_distribution<double>(-1, 1)(random_); }
  void tick() {
    const auto at = 1'000'000'000 + static_cast<uint64_t>(next_tick_ * 1e9);
    wire::TierCostNow& tier = board_.tiers[static_cast<size_t>(tier_)];
    tier = {meter_.bandwidth_bytes_per_s(at), meter_.latency_s(), meter_.queued_bytes(),
            meter_.samples(), meter_.measured_ns()};
    board_.tiers[0] = {1e12, 0, 0, 1, at};  // the copy out of host memory does not count here
    const PrefillCost::Fit fit = prefill_.fit(at);
    board_.space = {fit.a, fit.b, fit.g, prefill_.samples(at)};
    board_.board_ns = at;
    next_tick_ += 0.1;
  }

  const Model model_;
  const wire::Tier tier_;
  double rate_;
  double now_ = 0;
  double next_tick_ = 0;
  TierMeter meter_;
  PrefillCost prefill_;
  wire::CostSnapshot board_;
  std::mt19937 random_{1};  // the same in every run
};

}  // namespace kvtier::daemon::testing
