// One run of a trace through the daemon's policies on a virtual clock: ids only, no bytes, no
// daemon. What a request means is docs/traces.md: its hit is the longest resident prefix; then its
// blocks are touched or inserted tail to head, and none of them is evicted meanwhile. With a lower
// tier a block is resident in either; one that leaves the upper one is written below if it does not
// lie there yet and the budget has room for it, and one that is found below comes up again.
// Owned by one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/policy/admission.hpp"
#include "daemon/policy/miss_curve.hpp"
#include "daemon/policy/policy.hpp"
#include "daemon/tiers/nvme_budget.hpp"
#include "kvtier/result.hpp"

namespace kvtier::tools {

// A trace with its blocks numbered from 0: 4 bytes a block asked.
struct SimTrace {
  struct Request {
    uint64_t timestamp_ms;  // never earlier than the one before
    uint64_t tokens;
    uint64_t first;  // of blocks
    uint32_t count;
    uint32_t block_tokens;
    bool ends_session;  // no later request goes on from here
  };
  std::string name;
  std::vector<Request> requests;
  std::vector<uint32_t> blocks;
  uint32_t unique = 0;

  std::span<const uint32_t> blocks_of(const Request& request) const {
    return std::span(blocks).subspan(request.first, request.count);
  }
};

// Reads it whole. Errors: those of open_trace; full (more than 2^32 - 1 blocks asked).
Result<SimTrace> read_sim_trace(const std::string& path, uint64_t requests_max);

struct SimTier {
  std::string policy;
  uint64_t chunks = 0;
};

struct SimOptions {
  SimTier host;
  SimTier nvme;  // chunks 0: none
  // Of the trace's unique blocks, over its whole time; in every window of a quarter of an hour no
  // more than its part of it may be written. Negative: no limit.
  double nvme_write_share = -1;
  // Hints that a session is over, as `hints` says; `accuracy` is the share that are right.
  enum class Hints : uint8_t {
    kNone,
    // After a request, its blocks that nobody asks for again are said to be over; where the hint is
    // not right, nothing is said.
    kBlocks,
    // A request that ends its session says so of all its blocks, whoever shares them; a hint that
    // is not right says the opposite.
    kSessions,
  };
  Hints hints = Hints::kNone;
  double hint_accuracy = 1;
  uint64_t seed = 1;
  // Told of every use, as the daemon tells its own; a token is worth a token and a second.
  daemon::MissCurve* curve = nullptr;
  // Gets the blocks that each request hit.
  std::vector<uint32_t>* hits_by_request = nullptr;
};

struct SimResult {
  uint64_t requests = 0;
  uint64_t blocks_asked = 0;
  uint64_t blocks_hit = 0;       // in either tier
  uint64_t blocks_hit_nvme = 0;  // of them below only
  uint64_t tokens_asked = 0;
  uint64_t tokens_hit = 0;
  uint64_t evicted = 0;
  uint64_t nvme_writes = 0;
  uint64_t nvme_refused = 0;  // not worth it, or beyond the budget
  uint64_t nvme_window_writes_max = 0;
  uint64_t nvme_window_allowed = 0;  // UINT64_MAX: no limit
  double wall_seconds = 0;
};

// Errors: not_found (policy).
Result<SimResult> simulate(const SimTrace& trace, const SimOptions& options);

// MIN over one tier, in the same meaning.
SimResult simulate_bound(const SimTrace& trace, uint64_t chunks);

}  // namespace kvtier::tools
