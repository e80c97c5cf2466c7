// `kvtier bench plan`: deciding for 512 resident chunks, beside the bar of 20 us. Runs of all
// kinds, from one to one a chunk, and every way of restoring; the slowest counts. No daemon.
#include <array>
#include <vector>

#include "kvtier/wire/plan.hpp"
#include "tools/bench/bench.hpp"
#include "tools/bench/prompts.hpp"

namespace kvtier::tools {
namespace {

constexpr uint32_t kChunks = 512;
// So few that a sample is seldom interrupted by something else on the machine.
constexpr size_t kCalls = 10;
constexpr uint32_t kSamplesPerRepeat = 100;
constexpr double kBarUs = 20;

std::vector<wire::ChunkRun> make_runs(uint32_t chunks_a_run) {
  std::vector<wire::ChunkRun> runs;
  for (uint32_t i = 0; i < kChunks / chunks_a_run; ++i) {
    runs.push_back({.chunks = chunks_a_run,
                    .tier = i % 2 == 0 ? wire::Tier::kHost : wire::Tier::kNvme,
                    .codec = static_cast<uint8_t>(i % 3),
                    .stored_bytes = (32u << 20) - 4096 * (i % 7)});
  }
  return runs;
}

wire::PlanInput make_input(const std::vector<wire::ChunkRun>& runs) {
  wire::PlanInput input;
  input.costs.tiers[0] = {20e9, 20e-6, 0, 1, 0};
  input.costs.tiers[2] = {6e9, 100e-6, 1u << 30, 1, 0};
  input.costs.space = {30e-6, 1e-9, 4e-3, 1};
  input.decode_s_per_byte[1] = 1e-11;
  input.tokens_per_chunk = 256;
  input.tokens_behind = 1000;
  input.layers = 32;
  input.runs = runs;
  return input;
}

}  // namespace

Result<BenchResult> bench_plan(const BenchOptions& options) {
  BenchResult result;
  uint64_t sink = 0;
  for (const wire::Overlap overlap :
       {wire::Overlap::kSequential, wire::Overlap::kOverlapped, wire::Overlap::kLayerwise}) {
    for (const uint32_t chunks_a_run : {512u, 16u, 1u}) {
      const auto runs = make_runs(chunks_a_run);
      wire::PlanInput input = make_input(runs);
      input.overlap = overlap;
      std::vector<double> us;
      for (uint32_t repeat = 0; repeat < options.repeats * kSamplesPerRepeat; ++repeat) {
        const auto began = Clock::now();
        for (size_t i = 0; i < kCalls; ++i) {
          input.costs.tiers[2].queued_bytes = i << 20;  // not the same question twice
          sink += wire::plan_load(input).load_end;
        }
        us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - began).count() /
                     kCalls);
      }
      const double middle = median(us);
      result.more[std::string("us_") + wire::overlap_name(overlap) + "_" +
                  std::to_string(kChunks / chunks_a_run) + "_runs"] = middle;
      result.ours = std::max(result.ours, middle);
    }
  }
  if (sink == 0) return Error(Code::kSystem, "no plan loaded anything");
  result.is_rate = false;
  result.unit = "us";
  result.limit = kBarUs;
  result.limit_name = "the bar: 20 us";
  result.more["chunks"] = kChunks;
  result.explanation = "a plan for 512 resident chunks, the slowest of nine kinds";
  return result;
}

}  // namespace kvtier::tools
