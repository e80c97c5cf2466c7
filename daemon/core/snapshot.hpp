// What the core shows of itself: plain values, copied on the core thread, read by the admin thread.
// Bytes, seconds and chunks; keys only where an operator asked for one.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "daemon/tiers/tier.hpp"
#include "kvtier/wire/session.hpp"
#include "kvtier/wire/types.hpp"

namespace kvtier::daemon {

using ClientCounters = std::array<uint64_t, wire::kCountersMax>;  // by wire::Counter

// Of the pass under way, or of the last one.
struct ScrubSnapshot {
  bool running = false;
  uint64_t passes = 0;   // that came to their end
  uint64_t checked = 0;  // chunks
  uint64_t bytes = 0;
  uint64_t bad = 0;     // of these; misses now
  uint64_t places = 0;  // how far it has come, of places_all
  uint64_t places_all = 0;
};

struct TierSnapshot {
  std::string name;    // host, later device, nvme, remote
  std::string state;   // "on", "off", "degraded"
  std::string reason;  // why not "on"
  uint64_t capacity_bytes = 0;
  uint64_t capacity_chunks = 0;  // UINT64_MAX: no limit by count
  uint64_t allocated_bytes = 0;  // segments that exist
  uint64_t used_bytes = 0;       // slots that hold chunks, headers included
  uint64_t payload_bytes = 0;
  uint64_t chunks = 0;
  uint64_t granted_slots = 0;
  uint64_t retired_slots = 0;
  uint64_t quarantined_slots = 0;
  uint64_t pinned_chunks = 0;
  uint64_t segments = 0;
  uint64_t evictions = 0;
  uint64_t unlocked_bytes = 0;  // not locked in memory
  bool huge_pages = false;
  std::string policy;
  double load_bandwidth = 0;  // bytes a second, as on the cost board
  double load_latency_s = 0;
  double load_bandwidth_p10 = 0, load_bandwidth_p50 = 0;  // of recent measurements
  double load_time_p50_s = 0, load_time_p99_s = 0;        // of a load, or a read of a chunk
  uint64_t load_samples = 0, load_errors = 0;
  double store_bandwidth = 0, store_time_p99_s = 0;  // of writes to a tier below
  uint64_t store_errors = 0;
  std::vector<TierDevice> devices;  // of a tier on disks
  ScrubSnapshot scrub;              // of a tier below host memory
};

struct TenantSnapshot {
  std::string name;
  uint32_t number = 0;
  uint64_t host_bytes = 0;  // segments
  uint64_t host_bytes_max = 0;
  uint64_t chunks = 0;
  uint64_t payload_bytes = 0;
  uint64_t index_entries = 0;
  uint64_t index_entries_max = 0;
  uint64_t index_bytes = 0;
  uint64_t index_overflows = 0;
  uint32_t sessions = 0;
  uint32_t spaces = 0;
  ClientCounters counters{};  // of all sessions, ended ones too
};

struct SpaceSnapshot {
  uint32_t id = 0;
  std::string tenant;
  std::string model, dtype, layout, isa;
  uint32_t layers = 0, kv_heads = 0, head_dim = 0, tokens_per_chunk = 0;
  uint32_t shard = 0, shards = 1;
  bool typed = false;
  uint64_t chunk_bytes = 0;
  uint64_t slot_bytes = 0;
  uint64_t chunks = 0;
  uint64_t payload_bytes = 0;
  uint64_t stored = 0;  // commits since start
  double idle_seconds = 0;
  double prefill_s_per_token = 0;                         // fitted; 0: no reports
  double prefill_s_per_pair = 0, prefill_s_per_call = 0;  // a token and position; a call
  uint64_t prefill_samples = 0;
};

struct SessionSnapshot {
  uint32_t id = 0;
  std::string tenant;
  std::string name;
  int pid = 0;
  uint32_t uid = 0;
  std::string state;  // "attached", "orphaned", "killed"
  bool read_only = false;
  double age_seconds = 0;
  uint64_t leases = 0;  // at the moment of asking
  uint64_t grants = 0;
  uint64_t revocations = 0;
  uint64_t requests = 0;
  uint64_t protocol_errors = 0;
  ClientCounters counters{};
};

struct ChunkSnapshot {
  bool found = false;
  std::string tenant;
  uint32_t space = 0;
  std::string key;  // 32 hex digits
  std::string parent;
  std::string tier;
  std::string state;  // "valid", "unverified", "granted", "quarantined"
  uint32_t position = 0, tokens = 0, generation = 0, segment = 0, slot = 0;
  uint64_t payload_bytes = 0;
  uint64_t checksum = 0;
  bool has_checksum = false;
  bool pinned = false;
  uint32_t leases = 0;
  double idle_seconds = 0;
};

// Counted by the core since it started.
struct CoreCounters {
  uint64_t turns = 0, requests = 0, reserved = 0, committed = 0, aborted = 0, evicted = 0,
           dropped = 0, quarantined = 0, corrupt_checksum = 0, corrupt_header = 0, retired = 0,
           revoked = 0, reclaim_scans = 0, touches = 0, touches_stale = 0, sessions_opened = 0,
           sessions_ended = 0, attach_refused = 0, protocol_errors = 0, invalid_requests = 0,
           busy = 0, full = 0, over_quota = 0, declined = 0, present = 0, in_progress = 0,
           committed_unverified = 0, verified_later = 0, faults_guarded = 0, reports_refused = 0,
           segments_created = 0, segments_freed = 0, stored_bytes = 0, evicted_bytes = 0,
           config_reloads = 0, config_reload_failures = 0, turn_ns_max = 0, loop_lag_ns_max = 0,
           accept_refused_fds = 0, adopted = 0, adopt_dropped = 0, rechecked = 0,
           recheck_failed = 0;
  // The tier below host memory.
  uint64_t demoted = 0, demoted_bytes = 0, promoted = 0, promoted_bytes = 0, promoted_unused = 0,
           writes_failed = 0, reads_failed = 0, reads_stale = 0, reads_unserved = 0,
           corrupt_nvme_header = 0, corrupt_nvme_checksum = 0, lower_evicted = 0, scrubbed = 0,
           lower_evicted_bytes = 0, lower_recovered = 0, dropped_behind = 0, dropped_budget = 0,
           dropped_lower_full = 0, dropped_unserved = 0, dropped_unverified = 0,
           dropped_write_failed = 0, dropped_too_large = 0, prefetches = 0, prefetch_joined = 0,
           prefetch_absent = 0, prefetch_full = 0, prefetch_unserved = 0, prefetch_late = 0,
           prefetch_cancelled = 0, reencoded = 0, reencode_saved_bytes = 0, reencode_kept = 0;
};

// Of the plans of all clients.
struct PlansSnapshot {
  uint64_t recorded = 0, records_lost = 0, measured = 0;
  double error_p50 = 0, error_p99 = 0;  // of predicted load times, relative
};

struct CoreSnapshot {
  std::string version;
  uint32_t protocol_min = 0, protocol_max = 0;
  uint64_t epoch = 0;
  double uptime_seconds = 0;
  std::string health;                 // "good", "degraded", "draining"
  std::vector<std::string> problems;  // why not good, each with its remedy
  std::string start_mode;             // "cold", "warm", "crash_warm"
  std::string start_reason;
  std::string keeper;          // who keeps host memory over a restart: "holder", ..., "off"
  std::string keeper_trouble;  // why nothing is kept any more, or ""
  std::vector<TierSnapshot> tiers;
  std::vector<TenantSnapshot> tenants;
  std::vector<SpaceSnapshot> spaces;
  std::vector<SessionSnapshot> sessions;
  CoreCounters counters;
  PlansSnapshot plans;
};

}  // namespace kvtier::daemon
