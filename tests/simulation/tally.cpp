// See world.hpp.
#include "tests/simulation/world.hpp"

namespace kvtier::simulation {

void Tally::add(const Tally& other) {
  steps += other.steps;
  stored += other.stored;
  hits += other.hits;
  lower_hits += other.lower_hits;
  prefetched += other.prefetched;
  prefetch_failed += other.prefetch_failed;
  released += other.released;
  revoked += other.revoked;
  late_writes += other.late_writes;
  restarts += other.restarts;
  kills += other.kills;
  power_cuts += other.power_cuts;
  bad_chunks += other.bad_chunks;
  expected += other.expected;
}

}  // namespace kvtier::simulation
