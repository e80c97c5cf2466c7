// Many seeds of the simulation. Without arguments: KVTIER_SIMULATION_SEEDS of them (else what the
// build sets), from KVTIER_SIMULATION_FIRST (else 1). One seed again, step by step:
//
//   build/release/tests/test_simulation --seed 4711 --verbose
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "daemon/log/log.hpp"
#include "tests/simulation/world.hpp"

#ifndef KVTIER_SIMULATION_SEEDS
#define KVTIER_SIMULATION_SEEDS 2000
#endif

namespace kvtier::simulation {
namespace {

uint64_t number(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::string shown(const Tally& t) {
  return fmt::format(
      "{} steps, {} stored, {} hits, {} below, {} prefetches ok, {} not, {} released, {} revoked, "
      "{} late writes, {} restarts ({} kills, {} power cuts), {} bad chunks found, {} that had to "
      "be "
      "found after a restart",
      t.steps, t.stored, t.hits, t.lower_hits, t.prefetched, t.prefetch_failed, t.released,
      t.revoked, t.late_writes, t.restarts, t.kills, t.power_cuts, t.bad_chunks, t.expected);
}

TEST(Simulation, NoSeedFindsWrongBytes) {
  const uint64_t first = number("KVTIER_SIMULATION_FIRST", 1);
  const uint64_t seeds = number("KVTIER_SIMULATION_SEEDS", KVTIER_SIMULATION_SEEDS);
  Tally all;
  uint64_t failed = 0;
  for (uint64_t seed = first; seed < first + seeds && failed < 5; ++seed) {
    const Outcome outcome = simulate({.seed = seed});
    all.add(outcome.tally);
    if (outcome.failure.empty()) continue;
    ++failed;
    ADD_FAILURE() << outcome.failure << "\n  replay: build/release/tests/test_simulation --seed "
                  << seed << " --verbose";
  }
  std::printf("%llu seeds from %llu: %s\n", static_cast<unsigned long long>(seeds),
              static_cast<unsigned long long>(first), shown(all).c_str());
  // A simulation in which nothing happens shows nothing.
  if (seeds >= 100) {
    EXPECT_GT(all.stored, seeds);
    EXPECT_GT(all.hits, seeds);
    EXPECT_GT(all.lower_hits, 0u);
    EXPECT_GT(all.prefetched, seeds / 10);
    EXPECT_GT(all.late_writes, seeds / 10);
    EXPECT_GT(all.kills, 0u);
    EXPECT_GT(all.power_cuts, 0u);
    EXPECT_GT(all.expected, seeds);
  }
}

int run_one(uint64_t seed, bool verbose) {
  const Outcome outcome = simulate({.seed = seed, .verbose = verbose});
  std::printf("seed %llu: %s\n%s\n", static_cast<unsigned long long>(seed),
              outcome.failure.empty() ? "all held" : outcome.failure.c_str(),
              shown(outcome.tally).c_str());
  return outcome.failure.empty() ? 0 : 1;
}

}  // namespace
}  // namespace kvtier::simulation

int main(int argc, char** argv) {
  uint64_t seed = 0;
  bool verbose = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else if (std::strcmp(argv[i], "--verbose") == 0) {
      verbose = true;
    }
  }
  if (seed != 0) return kvtier::simulation::run_one(seed, verbose);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
