// The whole daemon's core in one thread of a test: index, slots, leases, policies, host tier, lower
// tier on simulated disks, transfers, restarts — driven by clients that do what engines do and what
// they must not do, on a virtual clock, from one seed. A model knows every byte that may be read.
//
// What is checked, at every step: a chunk found was committed; bytes read under a lease are the
// chunk's and stay so until it is released or revoked; what a prefetch brought is there; the tiers
// stay within their capacities; and that nothing is lost that was promised to stay
// (loss_check.hpp). At the end: nothing is left granted, retired or being filled.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "daemon/core/core.hpp"
#include "daemon/memory/clock.hpp"
#include "daemon/workers/executor.hpp"
#include "tests/simulation/environment.hpp"
#include "tests/simulation/random.hpp"
#include "tests/simulation/simulated_client.hpp"

namespace kvtier::simulation {

// How much of what a run did, to show that it did something.
struct Tally {
  uint64_t steps = 0, stored = 0, hits = 0, lower_hits = 0, prefetched = 0, prefetch_failed = 0,
           released = 0, revoked = 0, late_writes = 0, restarts = 0, kills = 0, power_cuts = 0,
           bad_chunks = 0, expected = 0;
  void add(const Tally& other);
};

struct Outcome {
  std::string failure;  // empty: all held
  Tally tally;
};

struct RunOptions {
  uint64_t seed = 1;
  uint32_t steps = 300;
  bool verbose = false;  // every step to stderr
};

Outcome simulate(const RunOptions& options);

}  // namespace kvtier::simulation
