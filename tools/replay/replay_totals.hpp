// What a replay counts: one per client, added up at the end. Plain data of one thread.
#pragma once

#include <cstdint>
#include <string>

#include "tools/replay/latency_histogram.hpp"

namespace kvtier::tools {

struct ReplayTotals {
  uint64_t requests = 0;
  uint64_t blocks_asked = 0;
  uint64_t blocks_hit = 0;       // found at look-up and loaded
  uint64_t blocks_hit_nvme = 0;  // of these, brought from nvme first
  uint64_t tokens_asked = 0;
  uint64_t tokens_hit = 0;
  uint64_t blocks_stored = 0;
  uint64_t blocks_present = 0;   // another client had stored them meanwhile, or is storing them
  uint64_t blocks_declined = 0;  // the tier is off
  uint64_t blocks_dropped = 0;   // --drop: no room at the moment
  uint64_t wrong_bytes = 0;
  uint64_t failed_calls = 0;
  uint64_t bytes_loaded = 0;
  uint64_t bytes_stored = 0;
  uint64_t busy_waits = 0;
  double load_seconds = 0;   // in load calls
  double store_seconds = 0;  // in reserve, copy and commit; waits for room left out
  double busy_seconds = 0;
  double recompute_seconds = 0;  // of all tokens hit, by the assumed model
  LatencyHistogram lookup;
  std::string first_failure;  // for a person

  void add(const ReplayTotals& other) {
    requests += other.requests;
    blocks_asked += other.blocks_asked;
    blocks_hit += other.blocks_hit;
    blocks_hit_nvme += other.blocks_hit_nvme;
    tokens_asked += other.tokens_asked;
    tokens_hit += other.tokens_hit;
    blocks_stored += other.blocks_stored;
    blocks_present += other.blocks_present;
    blocks_declined += other.blocks_declined;
    blocks_dropped += other.blocks_dropped;
    wrong_bytes += other.wrong_bytes;
    failed_calls += other.failed_calls;
    bytes_loaded += other.bytes_loaded;
    bytes_stored += other.bytes_stored;
    busy_waits += other.busy_waits;
    load_seconds += other.load_seconds;
    store_seconds += other.store_seconds;
    busy_seconds += other.busy_seconds;
    recompute_seconds += other.recompute_seconds;
    lookup.add(other.lookup);
    if (first_failure.empty()) first_failure = other.first_failure;
  }
};

}  // namespace kvtier::tools
