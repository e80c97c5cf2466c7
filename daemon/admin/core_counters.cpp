// The rows; see core_counters.hpp. Constant data.
#include "daemon/admin/core_counters.hpp"

#include <array>

namespace kvtier::daemon {
namespace {

using C = CoreCounters;
constexpr MetricType kGauge = MetricType::kGauge;
constexpr double kNanosecond = 1e-9;

// clang-format off
constexpr std::array kCoreRows = {
  CoreCounterRow{&C::turns, "turns", "kvtier_core_turns_total", "", "Turns of the core loop."},
  CoreCounterRow{&C::requests, "requests", "kvtier_requests_total", "", "Ring requests served."},
  CoreCounterRow{&C::reserved, "reserved", "kvtier_grants_total", "", "Slots granted to writers."},
  CoreCounterRow{&C::committed, "committed", "kvtier_chunks_committed_total", "", "Chunks made visible."},
  CoreCounterRow{&C::committed_unverified, "committed_unverified", "kvtier_chunks_committed_unverified_total", "", "Chunks committed without a checksum, to be hashed by the daemon."},
  CoreCounterRow{&C::verified_later, "verified_later", "kvtier_chunks_verified_later_total", "", "Chunks that the daemon hashed after their commit."},
  CoreCounterRow{&C::adopted, "adopted", "kvtier_restart_chunks_total", "outcome=\"found\"", "Chunks of the daemon before, by what became of them at the start and in the checks that follow."},
  CoreCounterRow{&C::adopt_dropped, "adopt_dropped", "kvtier_restart_chunks_total", "outcome=\"dropped\""},
  CoreCounterRow{&C::rechecked, "rechecked", "kvtier_restart_chunks_total", "outcome=\"verified\""},
  CoreCounterRow{&C::recheck_failed, "recheck_failed", "kvtier_restart_chunks_total", "outcome=\"corrupt\""},
  CoreCounterRow{&C::aborted, "aborted", "kvtier_grants_aborted_total", "", "Grants given back unused, by their writer or because it ended."},
  CoreCounterRow{&C::evicted, "evicted", "kvtier_chunks_evicted_total", "", "Chunks evicted by the policy."},
  CoreCounterRow{&C::evicted_bytes, "evicted_bytes", "kvtier_evicted_bytes_total", "", "Payload bytes evicted."},
  CoreCounterRow{&C::dropped, "dropped", "kvtier_chunks_dropped_total", "", "Chunks dropped by operators."},
  CoreCounterRow{&C::stored_bytes, "stored_bytes", "kvtier_stored_bytes_total", "", "Payload bytes committed."},
  CoreCounterRow{&C::corrupt_checksum, "corrupt_checksum", "kvtier_corrupt_chunks_total", "tier=\"host\",kind=\"checksum\"", "Chunks found corrupt; each became a miss."},
  CoreCounterRow{&C::corrupt_header, "corrupt_header", "kvtier_corrupt_chunks_total", "tier=\"host\",kind=\"header\""},
  CoreCounterRow{&C::corrupt_nvme_checksum, "corrupt_nvme_checksum", "kvtier_corrupt_chunks_total", "tier=\"nvme\",kind=\"checksum\""},
  CoreCounterRow{&C::corrupt_nvme_header, "corrupt_nvme_header", "kvtier_corrupt_chunks_total", "tier=\"nvme\",kind=\"header\""},
  CoreCounterRow{&C::quarantined, "quarantined", "kvtier_slots_quarantined_total", "", "Slots taken out of use because a client found them corrupt."},
  CoreCounterRow{&C::retired, "retired", "kvtier_slots_retired_total", "", "Slots that were still leased when their chunk went."},
  CoreCounterRow{&C::revoked, "revoked", "kvtier_leases_revoked_total", "", "Leases that ended before their holder let go."},
  CoreCounterRow{&C::reclaim_scans, "reclaim_scans", "kvtier_reclaim_scans_total", "", "Scans of the lease tables before slots are used again."},
  CoreCounterRow{&C::touches, "touches", "kvtier_touches_total", "", "Hits that clients reported to the policy."},
  CoreCounterRow{&C::touches_stale, "touches_stale", "kvtier_touches_stale_total", "", "Of these, hits on chunks that were gone."},
  CoreCounterRow{&C::sessions_opened, "sessions_opened", "kvtier_sessions_opened_total", "", "Sessions attached."},
  CoreCounterRow{&C::sessions_ended, "sessions_ended", "kvtier_sessions_ended_total", "", "Sessions that ended."},
  CoreCounterRow{&C::attach_refused, "attach_refused", "kvtier_attach_refused_total", "", "Attempts to attach that were refused."},
  CoreCounterRow{&C::accept_refused_fds, "accept_refused_fds", "kvtier_accept_refused_fds_total", "", "Connections not accepted for want of file descriptors."},
  CoreCounterRow{&C::protocol_errors, "protocol_errors", "kvtier_protocol_errors_total", "", "Violations of the protocol by clients."},
  CoreCounterRow{&C::invalid_requests, "invalid_requests", "kvtier_requests_refused_total", "reason=\"invalid\"", "Requests, or chunks of them, that were refused."},
  CoreCounterRow{&C::busy, "busy", "kvtier_requests_refused_total", "reason=\"busy\""},
  CoreCounterRow{&C::full, "full", "kvtier_requests_refused_total", "reason=\"full\""},
  CoreCounterRow{&C::over_quota, "over_quota", "kvtier_requests_refused_total", "reason=\"over_quota\""},
  CoreCounterRow{&C::declined, "declined", "kvtier_requests_refused_total", "reason=\"declined\""},
  CoreCounterRow{&C::present, "present", "kvtier_requests_refused_total", "reason=\"present\""},
  CoreCounterRow{&C::in_progress, "in_progress", "kvtier_requests_refused_total", "reason=\"in_progress\""},
  CoreCounterRow{&C::faults_guarded, "faults_guarded", "kvtier_memory_faults_guarded_total", "", "Memory faults in shared memory that the daemon survived."},
  CoreCounterRow{&C::reports_refused, "reports_refused", "kvtier_reports_refused_total", "", "Measurements reported by clients and not believed."},
  CoreCounterRow{&C::segments_created, "segments_created", "kvtier_segments_created_total", "", "Segments created."},
  CoreCounterRow{&C::segments_freed, "segments_freed", "kvtier_segments_freed_total", "", "Segments given back to the system."},
  CoreCounterRow{&C::config_reloads, "config_reloads", "kvtier_config_reloads_total", "result=\"applied\"", "Reloads of the configuration."},
  CoreCounterRow{&C::config_reload_failures, "config_reload_failures", "kvtier_config_reloads_total", "result=\"refused\""},
  CoreCounterRow{&C::turn_ns_max, "turn_ns_max", "kvtier_core_turn_max_seconds", "", "Longest turn of the core loop since the start.", kGauge, kNanosecond},
  CoreCounterRow{&C::loop_lag_ns_max, "loop_lag_ns_max", "kvtier_core_loop_lag_max_seconds", "", "Longest delay of a timer of the core loop since the start.", kGauge, kNanosecond},
  CoreCounterRow{&C::demoted, "demoted", "kvtier_chunks_demoted_total", "", "Chunks written to a lower tier."},
  CoreCounterRow{&C::demoted_bytes, "demoted_bytes", "kvtier_demoted_bytes_total", "", "Payload bytes of them."},
  CoreCounterRow{&C::reencoded, "reencoded", "kvtier_chunks_reencoded_total", "", "Of these, those that were encoded on their way (nvme.encode)."},
  CoreCounterRow{&C::reencode_saved_bytes, "reencode_saved_bytes", "kvtier_reencode_saved_bytes_total", "", "Payload bytes that were not written because of it."},
  CoreCounterRow{&C::reencode_kept, "reencode_kept", "kvtier_chunks_not_reencoded_total", "", "Chunks that went down as they were: the codec refused them, they would not have shrunk, or memory was short."},
  CoreCounterRow{&C::writes_failed, "writes_failed", "kvtier_demotions_failed_total", "", "Writes to a lower tier that failed."},
  CoreCounterRow{&C::dropped_behind, "dropped_behind", "kvtier_chunks_not_demoted_total", "reason=\"behind\"", "Chunks evicted from host memory without having been written below, by why not."},
  CoreCounterRow{&C::dropped_budget, "dropped_budget", "kvtier_chunks_not_demoted_total", "reason=\"budget\""},
  CoreCounterRow{&C::dropped_lower_full, "dropped_lower_full", "kvtier_chunks_not_demoted_total", "reason=\"full\""},
  CoreCounterRow{&C::dropped_unserved, "dropped_unserved", "kvtier_chunks_not_demoted_total", "reason=\"out_of_service\""},
  CoreCounterRow{&C::dropped_unverified, "dropped_unverified", "kvtier_chunks_not_demoted_total", "reason=\"unverified\""},
  CoreCounterRow{&C::dropped_write_failed, "dropped_write_failed", "kvtier_chunks_not_demoted_total", "reason=\"write_failed\""},
  CoreCounterRow{&C::dropped_too_large, "dropped_too_large", "kvtier_chunks_not_demoted_total", "reason=\"too_large\""},
  CoreCounterRow{&C::lower_evicted, "lower_evicted", "kvtier_lower_chunks_evicted_total", "", "Chunks that left a lower tier to make room."},
  CoreCounterRow{&C::lower_evicted_bytes, "lower_evicted_bytes", "kvtier_lower_evicted_bytes_total", "", "Payload bytes of them."},
  CoreCounterRow{&C::lower_recovered, "lower_recovered", "kvtier_lower_chunks_recovered_total", "", "Chunks of an earlier daemon found in a lower tier."},
  CoreCounterRow{&C::scrubbed, "scrubbed", "kvtier_lower_chunks_scrubbed_total", "", "Chunks of a lower tier that were read only to compare them; wrong ones are in kvtier_corrupt_chunks_total."},
  CoreCounterRow{&C::promoted, "promoted", "kvtier_chunks_promoted_total", "", "Chunks brought from a lower tier into host memory."},
  CoreCounterRow{&C::promoted_bytes, "promoted_bytes", "kvtier_promoted_bytes_total", "", "Payload bytes of them."},
  CoreCounterRow{&C::promoted_unused, "promoted_unused", "kvtier_chunks_promoted_unused_total", "", "Of these, those that nobody had leased when their prefetch ended."},
  CoreCounterRow{&C::reads_failed, "reads_failed", "kvtier_promotions_failed_total", "reason=\"io\"", "Reads from a lower tier that brought nothing; damaged chunks are in kvtier_corrupt_chunks_total."},
  CoreCounterRow{&C::reads_stale, "reads_stale", "kvtier_promotions_failed_total", "reason=\"gone\""},
  CoreCounterRow{&C::reads_unserved, "reads_unserved", "kvtier_promotions_failed_total", "reason=\"out_of_service\""},
  CoreCounterRow{&C::prefetches, "prefetches", "kvtier_prefetches_total", "", "Prefetch requests."},
  CoreCounterRow{&C::prefetch_joined, "prefetch_joined", "kvtier_prefetch_chunks_joined_total", "", "Chunks whose read was under way already for somebody else."},
  CoreCounterRow{&C::prefetch_absent, "prefetch_absent", "kvtier_prefetches_refused_total", "reason=\"absent\"", "Prefetch requests that were refused whole, or did not end well."},
  CoreCounterRow{&C::prefetch_full, "prefetch_full", "kvtier_prefetches_refused_total", "reason=\"full\""},
  CoreCounterRow{&C::prefetch_unserved, "prefetch_unserved", "kvtier_prefetches_refused_total", "reason=\"out_of_service\""},
  CoreCounterRow{&C::prefetch_late, "prefetch_late", "kvtier_prefetches_refused_total", "reason=\"deadline\""},
  CoreCounterRow{&C::prefetch_cancelled, "prefetch_cancelled", "kvtier_prefetches_refused_total", "reason=\"cancelled\""},
};
// A counter without a row is refused here.
static_assert(kCoreRows.size() * sizeof(uint64_t) == sizeof(CoreCounters));

using W = wire::Counter;
constexpr std::array kClientRows = {
  ClientCounterRow{W::kLookups, "lookups", "kvtier_client_lookups_total", "", "Prefix look-ups."},
  ClientCounterRow{W::kChunksAsked, "chunks_asked", nullptr},
  ClientCounterRow{W::kTokensAsked, "tokens_asked", nullptr},
  ClientCounterRow{W::kChunksHost, "chunks_host", nullptr},
  ClientCounterRow{W::kChunksDevice, "chunks_device", nullptr},
  ClientCounterRow{W::kChunksNvme, "chunks_nvme", nullptr},
  ClientCounterRow{W::kChunksRemote, "chunks_remote", nullptr},
  ClientCounterRow{W::kTokensHost, "tokens_host", nullptr},
  ClientCounterRow{W::kTokensDevice, "tokens_device", nullptr},
  ClientCounterRow{W::kTokensNvme, "tokens_nvme", nullptr},
  ClientCounterRow{W::kTokensRemote, "tokens_remote", nullptr},
  ClientCounterRow{W::kMissAbsent, "miss_absent", "kvtier_client_prefix_ends_total", "reason=\"absent\"", "Look-ups that found less than they asked for, by why the prefix ended."},
  ClientCounterRow{W::kMissLeased, "miss_leased", "kvtier_client_prefix_ends_total", "reason=\"leased\""},
  ClientCounterRow{W::kMissUnverified, "miss_unverified", "kvtier_client_prefix_ends_total", "reason=\"unverified\""},
  ClientCounterRow{W::kMissCodec, "miss_codec", "kvtier_client_prefix_ends_total", "reason=\"codec\""},
  ClientCounterRow{W::kMissShard, "miss_shard", "kvtier_client_prefix_ends_total", "reason=\"shard\""},
  ClientCounterRow{W::kMissDeadline, "miss_deadline", "kvtier_client_prefix_ends_total", "reason=\"deadline\""},
  ClientCounterRow{W::kMissMismatch, "miss_mismatch", "kvtier_client_prefix_ends_total", "reason=\"mismatch\""},
  ClientCounterRow{W::kMissUnavailable, "miss_unavailable", "kvtier_client_prefix_ends_total", "reason=\"unavailable\""},
  ClientCounterRow{W::kMissUnstable, "miss_unstable", "kvtier_client_prefix_ends_total", "reason=\"unstable\""},
  ClientCounterRow{W::kMissLower, "miss_lower", "kvtier_client_prefix_ends_total", "reason=\"lower_tier\""},
  ClientCounterRow{W::kMissTooManyLeases, "miss_too_many_leases", "kvtier_client_prefix_ends_total", "reason=\"too_many_leases\""},
  ClientCounterRow{W::kLoads, "loads", "kvtier_client_loads_total", "", "Chunks copied out."},
  ClientCounterRow{W::kLoadBytes, "load_bytes", "kvtier_client_load_bytes_total", "", "Payload bytes copied out."},
  ClientCounterRow{W::kLoadFailedRevoked, "load_failed_revoked", "kvtier_client_loads_failed_total", "reason=\"revoked\"", "Loads whose bytes could not be used."},
  ClientCounterRow{W::kLoadFailedCorrupt, "load_failed_corrupt", "kvtier_client_loads_failed_total", "reason=\"corrupt\""},
  ClientCounterRow{W::kLoadFailedDeadline, "load_failed_deadline", "kvtier_client_loads_failed_total", "reason=\"deadline\""},
  ClientCounterRow{W::kLoadNanoseconds, "load_nanoseconds", "kvtier_client_load_seconds_total", "", "Time in loads, added up over all threads.", 1e-9},
  ClientCounterRow{W::kStores, "stores", "kvtier_client_stores_total", "", "Chunks stored."},
  ClientCounterRow{W::kStoreBytes, "store_bytes", "kvtier_client_store_bytes_total", "", "Payload bytes stored."},
  ClientCounterRow{W::kStoresPresent, "stores_present", "kvtier_client_stores_skipped_total", "reason=\"present\"", "Stores that did not take place."},
  ClientCounterRow{W::kStoresRefused, "stores_refused", "kvtier_client_stores_skipped_total", "reason=\"refused\""},
  ClientCounterRow{W::kStoresFailed, "stores_failed", "kvtier_client_stores_failed_total", "", "Stores given up on after an error or a deadline."},
  ClientCounterRow{W::kStoreNanoseconds, "store_nanoseconds", "kvtier_client_store_seconds_total", "", "Time in stores, added up over all threads.", 1e-9},
  ClientCounterRow{W::kVerifiedBytes, "verified_bytes", "kvtier_client_verified_bytes_total", "", "Payload bytes whose checksum was compared on a load."},
  ClientCounterRow{W::kPlansLoad, "plans_load", "kvtier_client_plans_total", "choice=\"load\"", "Plans, by what they chose."},
  ClientCounterRow{W::kPlansRecompute, "plans_recompute", "kvtier_client_plans_total", "choice=\"recompute\""},
  ClientCounterRow{W::kTouchesDropped, "touches_dropped", "kvtier_client_touches_dropped_total", "", "Hits not reported to the policy because the touch log was full."},
};
// clang-format on
static_assert(kClientRows.size() == static_cast<size_t>(wire::Counter::kCount));

}  // namespace

std::span<const CoreCounterRow> core_counter_rows() {
  return kCoreRows;
}

std::span<const ClientCounterRow> client_counter_rows() {
  return kClientRows;
}

}  // namespace kvtier::daemon
