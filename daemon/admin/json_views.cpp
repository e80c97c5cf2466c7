// See json_views.hpp.
#include "daemon/admin/json_views.hpp"

#include <cinttypes>
#include <cstdio>

#include "daemon/admin/core_counters.hpp"
#include "daemon/log/log_line.hpp"

namespace kvtier::daemon {
namespace {

// Numbers above 2^53 do not survive every JSON reader.
std::string hex(uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016" PRIx64, value);
  return text;
}

Json or_null(uint64_t value) {
  return value == UINT64_MAX ? Json() : Json(value);
}

}  // namespace

Json view_device(const TierDevice& device) {
  const auto& [name, state, reason, capacity_bytes, used_bytes, prepared_bytes, prepare_bytes,
               reads, writes, read_bytes, write_bytes, read_errors, write_errors, timeouts,
               times_out_of_service, read_seconds, write_seconds, queued_reads, queued_writes,
               in_flight, chunk_write_bytes, prepare_write_bytes, budget_second_bytes_left,
               budget_day_bytes_left] = device;
  return {{"name", name},
          {"state", state},
          {"reason", reason},
          {"capacity_bytes", capacity_bytes},
          {"used_bytes", used_bytes},
          {"prepared_bytes", prepared_bytes},
          {"prepare_bytes", prepare_bytes},
          {"reads", reads},
          {"read_bytes", read_bytes},
          {"read_seconds", read_seconds},
          {"read_errors", read_errors},
          {"writes", writes},
          {"write_bytes", write_bytes},
          {"chunk_write_bytes", chunk_write_bytes},
          {"prepare_write_bytes", prepare_write_bytes},
          {"write_amplification", device.write_amplification()},
          {"write_seconds", write_seconds},
          {"write_errors", write_errors},
          {"timeouts", timeouts},
          {"times_out_of_service", times_out_of_service},
          {"queued_reads", queued_reads},
          {"queued_writes", queued_writes},
          {"in_flight", in_flight},
          {"budget_second_bytes_left", or_null(budget_second_bytes_left)},
          {"budget_day_bytes_left", or_null(budget_day_bytes_left)}};
}

Json view_tier(const TierSnapshot& tier) {
  const auto& [name, state, reason, capacity_bytes, capacity_chunks, allocated_bytes, used_bytes,
               payload_bytes, chunks, granted_slots, retired_slots, quarantined_slots,
               pinned_chunks, segments, evictions, unlocked_bytes, huge_pages, policy,
               load_bandwidth, load_latency_s, devices] = tier;
  return {{"name", name},
          {"state", state},
          {"reason", reason},
          {"policy", policy},
          {"capacity_bytes", capacity_bytes},
          {"capacity_chunks", or_null(capacity_chunks)},
          {"allocated_bytes", allocated_bytes},
          {"used_bytes", used_bytes},
          {"payload_bytes", payload_bytes},
          {"unlocked_bytes", unlocked_bytes},
          {"chunks", chunks},
          {"pinned_chunks", pinned_chunks},
          {"granted_slots", granted_slots},
          {"quarantined_slots", quarantined_slots},
          {"retired_slots", retired_slots},
          {"segments", segments},
          {"evictions", evictions},
          {"huge_pages", huge_pages},
          {"load_bandwidth_bytes_per_second", load_bandwidth},
          {"load_latency_seconds", load_latency_s},
          {"devices", view_list(devices, view_device)}};
}

Json view_client_counters(const ClientCounters& counters) {
  Json view = Json::object();
  for (const ClientCounterRow& row : client_counter_rows()) {
    view[row.json] = counters[static_cast<size_t>(row.counter)];
  }
  return view;
}

Json view_tenant(const TenantSnapshot& tenant) {
  const auto& [name, number, host_bytes, host_bytes_max, chunks, payload_bytes, index_entries,
               index_entries_max, index_bytes, index_overflows, sessions, spaces, counters] =
      tenant;
  return {{"name", name},
          {"number", number},
          {"host_bytes", host_bytes},
          {"host_bytes_max", or_null(host_bytes_max)},
          {"chunks", chunks},
          {"payload_bytes", payload_bytes},
          {"index_entries", index_entries},
          {"index_entries_max", index_entries_max},
          {"index_bytes", index_bytes},
          {"index_overflows", index_overflows},
          {"sessions", sessions},
          {"spaces", spaces},
          {"counters", view_client_counters(counters)}};
}

Json view_space(const SpaceSnapshot& space) {
  const auto& [id, tenant, model, dtype, layout, isa, layers, kv_heads, head_dim, tokens_per_chunk,
               shard, shards, typed, chunk_bytes, slot_bytes, chunks, payload_bytes, stored,
               idle_seconds, prefill_s_per_token] = space;
  return {{"id", id},
          {"tenant", tenant},
          {"model", model},
          {"dtype", dtype},
          {"layout", layout},
          {"isa", isa},
          {"layers", layers},
          {"kv_heads", kv_heads},
          {"head_dim", head_dim},
          {"tokens_per_chunk", tokens_per_chunk},
          {"shard", shard},
          {"shards", shards},
          {"typed", typed},
          {"chunk_bytes", chunk_bytes},
          {"slot_bytes", slot_bytes},
          {"chunks", chunks},
          {"payload_bytes", payload_bytes},
          {"stored", stored},
          {"idle_seconds", idle_seconds},
          {"prefill_seconds_per_token", prefill_s_per_token}};
}

Json view_session(const SessionSnapshot& session) {
  const auto& [id, tenant, name, pid, uid, state, read_only, age_seconds, leases, grants,
               revocations, requests, protocol_errors, counters] = session;
  return {{"id", id},
          {"tenant", tenant},
          {"name", name},
          {"pid", pid},
          {"uid", uid},
          {"state", state},
          {"read_only", read_only},
          {"age_seconds", age_seconds},
          {"leases", leases},
          {"grants", grants},
          {"revocations", revocations},
          {"requests", requests},
          {"protocol_errors", protocol_errors},
          {"counters", view_client_counters(counters)}};
}

Json view_chunk(const ChunkSnapshot& chunk) {
  const auto& [found, tenant, space, key, parent, tier, state, position, tokens, generation,
               segment, slot, payload_bytes, checksum, has_checksum, pinned, leases, idle_seconds] =
      chunk;
  return {{"key", key},
          {"parent", parent},
          {"found", found},
          {"tenant", tenant},
          {"space", space},
          {"tier", tier},
          {"state", state},
          {"position", position},
          {"tokens", tokens},
          {"payload_bytes", payload_bytes},
          {"checksum", has_checksum ? Json(hex(checksum)) : Json()},
          {"pinned", pinned},
          {"leases", leases},
          {"segment", segment},
          {"slot", slot},
          {"generation", generation},
          {"idle_seconds", idle_seconds}};
}

Json view_counters(const CoreCounters& counters) {
  Json view = Json::object();
  for (const CoreCounterRow& row : core_counter_rows()) view[row.json] = counters.*row.field;
  return view;
}

Json view_status(const CoreSnapshot& snapshot) {
  const auto& [version, protocol_min, protocol_max, epoch, uptime_seconds, health, problems,
               start_mode, start_reason, tiers, tenants, spaces, sessions, counters] = snapshot;
  return {{"schema", 1},
          {"version", version},
          {"protocol_min", protocol_min},
          {"protocol_max", protocol_max},
          {"epoch", hex(epoch)},
          {"uptime_seconds", uptime_seconds},
          {"health", health},
          {"problems", problems},
          {"start_mode", start_mode},
          {"start_reason", start_reason},
          {"tiers", view_list(tiers, view_tier)},
          {"tenants", view_list(tenants, view_tenant)},
          {"spaces", view_list(spaces, view_space)},
          {"sessions", view_list(sessions, view_session)},
          {"counters", view_counters(counters)}};
}

Json view_event(const LogEvent& event, uint64_t boot, uint64_t lost) {
  const auto& [sequence, realtime_ns, code, suppressed, message] = event;
  char cursor[48];
  std::snprintf(cursor, sizeof cursor, "%" PRIx64 "-%" PRIu64, boot, sequence);
  const LogCodeRow& row = log_code_row(code);
  return {{"cursor", cursor},
          {"time", utc_text(realtime_ns)},
          {"level", log_level_name(row.level)},
          {"code", "KV" + std::to_string(row.number)},
          {"name", log_code_name(code)},
          {"message", message},
          {"suppressed", suppressed},
          {"lost", lost}};
}

Json view_error(std::string_view code, std::string_view message) {
  return {{"error", {{"code", code}, {"message", message}}}};
}

std::string dump_json(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace kvtier::daemon
