// The planner against the best there is, found by trying every split: a paced tier x prefix length
// x model, on a virtual clock, with telemetry's numbers only. And tiers that change.
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/daemon/planner/virtual_world.hpp"

namespace kvtier::daemon::testing {
namespace {

using wire::Overlap;

constexpr std::array<double, 6> kRates = {1e9, 2e9, 4e9, 8e9, 16e9, 25e9};
constexpr std::array<uint64_t, 8> kPrefixTokens = {1024,  2048,  4096,  8192,
                                                   16384, 32768, 65536, 131072};

// Some loads and some prefills of all sizes, as an engine's life brings them.
void live(World& world) {
  std::mt19937 random(7);
  for (int i = 0; i < 40; ++i) {
    world.load(1 + random() % 64, 1e9);
    world.tick_to_now();
    const double context = static_cast<double>(random() % 200) * kChunkTokens;
    world.advance(world.compute(context, context + 64 + static_cast<double>(random() % 8192)));
    world.tick_to_now();
  }
  world.advance(0.11);  // behind a look at all of it
  world.tick_to_now();
}

TEST(PlanWorld, IsNearTheBestSplitEverywhere) {
  for (const Overlap overlap : {Overlap::kSequential, Overlap::kOverlapped}) {
    double worst_split = 0, worst_pure = 0;
    for (const Model& model : kModels) {
      for (const double rate : kRates) {
        World world(model, rate);
        live(world);
        for (const uint64_t tokens : kPrefixTokens) {
          const uint64_t resident = tokens / kChunkTokens;
          const auto runs = world.runs(resident);
          const wire::PlanOutput plan = wire::plan_load(world.input(runs, overlap));
          const double ours = world.ttft(plan.load_begin, plan.load_end, resident, overlap);
          const double best = world.best(resident, overlap);
          const double pure =
              std::min(world.load_s(resident), model.seconds(0, static_cast<double>(tokens)));
          worst_split = std::max(worst_split, ours / best);
          worst_pure = std::max(worst_pure, ours / pure);
          EXPECT_LE(ours, 1.10 * best) << model.name << " " << rate << " " << tokens;
          EXPECT_LE(ours, 1.05 * pure) << model.name << " " << rate << " " << tokens;
        }
      }
    }
    std::printf("%s: at worst %.4f of the best split, %.4f of the better pure choice\n",
                wire::overlap_name(overlap), worst_split, worst_pure);
  }
}

// Requests one after the other, on a tier that slows 100-fold and recovers.
struct Steady {
  World& world;
  uint64_t resident;
  double probed = -10;

  // Until the first token, as it came; probes as the client does.
  double request() {
    const auto runs = world.runs(resident);
    const wire::PlanInput input = world.input(runs, Overlap::kSequential);
    const wire::PlanOutput plan = wire::plan_load(input);
    const double began = world.now();
    const double end = static_cast<double>(resident) * kChunkTokens;
    uint64_t loaded = 0;
    if (plan.load_chunks() > 0) {
      loaded =
          world.load(plan.load_chunks(), plan.deadline_seconds > 0 ? plan.deadline_seconds : 1e9);
    }
    const double computing = world.compute(static_cast<double>(loaded) * kChunkTokens, end);
    const auto& cost = input.costs.tiers[static_cast<size_t>(wire::Tier::kNvme)];
    const bool old = input.costs.board_ns > cost.measured_ns + 500'000'000;
    if (plan.load_chunks() == 0 && old && world.now() - probed >= 1) {
      probed = world.now();  // beside the computing, which is not slower for it
      world.load(1, 2.0);
      world.advance(std::max(0.0, computing - (world.now() - began)));
      const double ttft = std::max(computing, 0.0);
      world.tick_to_now();
      return ttft;
    }
    world.advance(computing);
    world.tick_to_now();
    return world.now() - began;
  }
};

TEST(PlanWorld, AdaptsWithinTwoSecondsAndBack) {
  for (const Model& model : kModels) {
    for (const double rate : kRates) {
      World world(model, rate);
      live(world);
      const uint64_t resident = 64;  // 16k tokens
      Steady steady = {world, resident};
      const double computed = model.seconds(0, 64.0 * kChunkTokens);
      // When the last wrong choice was made, and when its request had its first token.
      double slow_s = 0, back_s = 0, slow_end_s = 0, back_end_s = 0;
      for (const bool slow : {false, true, false}) {
        world.set_rate(slow ? rate / 100 : rate);
        const double change = world.now();
        const double best = std::min(world.load_s(resident), computed);
        double last_bad = change, last_end = change;
        while (world.now() < change + 10) {
          const double began = world.now();
          const double ttft = steady.request();
          world.advance(0.05);
          world.tick_to_now();
          if (ttft > 1.10 * best) {
            last_bad = began;
            last_end = began + ttft;
          }
        }
        (slow ? slow_s : back_s) = last_bad - change;
        (slow ? slow_end_s : back_end_s) = last_end - change;
      }
      std::printf(
          "%s at %.0f GB/s: last wrong choice %.2f s after the slowing (over at %.2f s), "
          "%.2f s after the recovery (over at %.2f s)\n",
          model.name, rate / 1e9, slow_s, slow_end_s, back_s, back_end_s);
      EXPECT_LE(slow_s, 2.0) << model.name << " " << rate;
      EXPECT_LE(back_s, 2.0) << model.name << " " << rate;
    }
  }
}

TEST(PlanWorld, AStuckTierIsSeenBeforeAnythingCompletes) {
  TierMeter meter;
  uint64_t now = 1'000'000'000;
  for (int i = 0; i < 20; ++i) {
    meter.begun(now, 32 << 20);
    now += 4'000'000;
    meter.ended(now, 32 << 20, 4e-3, true);
  }
  EXPECT_GT(meter.bandwidth_bytes_per_s(now), 5e9);
  meter.begun(now, 32 << 20);
  EXPECT_LT(meter.bandwidth_bytes_per_s(now + 1'000'000'000), 4e7);
}

}  // namespace
}  // namespace kvtier::daemon::testing
