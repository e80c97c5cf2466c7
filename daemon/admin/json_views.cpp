// See json_views.hpp.
#include "daemon/admin/json_views.hpp"

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cmath>
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

// As MissReason of the client library.
const char* miss_reason_word(uint32_t reason) {
  constexpr std::array kWords = {"none",        "absent",          "lower",   "leased_out",
                                 "unverified",  "codec",           "shard",   "mismatch",
                                 "unavailable", "too_many_leases", "deadline"};
  return reason < kWords.size() ? kWords[reason] : "unknown";
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

Json view_scrub(const ScrubSnapshot& scrub) {
  const auto& [running, passes, checked, bytes, bad, places, places_all] = scrub;
  return {{"running", running}, {"passes", passes}, {"checked", checked},      {"bytes", bytes},
          {"bad", bad},         {"places", places}, {"places_all", places_all}};
}

Json view_tier(const TierSnapshot& tier) {
  const auto& [name, state, reason, capacity_bytes, capacity_chunks, allocated_bytes, used_bytes,
               payload_bytes, chunks, granted_slots, retired_slots, quarantined_slots,
               pinned_chunks, segments, evictions, unlocked_bytes, huge_pages, policy,
               load_bandwidth, load_latency_s, load_bandwidth_p10, load_bandwidth_p50,
               load_time_p50_s, load_time_p99_s, load_samples, load_errors, store_bandwidth,
               store_time_p99_s, store_errors, devices, scrub] = tier;
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
          {"load_bandwidth_p10_bytes_per_second", load_bandwidth_p10},
          {"load_bandwidth_p50_bytes_per_second", load_bandwidth_p50},
          {"load_p50_seconds", load_time_p50_s},
          {"load_p99_seconds", load_time_p99_s},
          {"load_samples", load_samples},
          {"load_errors", load_errors},
          {"store_bandwidth_bytes_per_second", store_bandwidth},
          {"store_p99_seconds", store_time_p99_s},
          {"store_errors", store_errors},
          {"devices", view_list(devices, view_device)},
          {"scrub", view_scrub(scrub)}};
}

namespace {

// What a client wrote may be no number.
Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json();
}
std::string codec_name(uint8_t codec) {
  return codec == 0 ? "none" : "codec " + std::to_string(codec);
}

Json view_plan_tiers(const wire::PlanRecord& plan) {
  Json tiers = Json::array();
  for (uint32_t i = 0; i < wire::kTierCount; ++i) {
    const wire::PlanTierRecord& tier = plan.tiers[i];
    tiers.push_back({{"tier", wire::tier_name(static_cast<wire::Tier>(i))},
                     {"bandwidth_bytes_per_second", number(tier.bandwidth_bytes_per_s)},
                     {"latency_seconds", number(tier.latency_s)},
                     {"queued_bytes", tier.queued_bytes},
                     {"samples", tier.samples}});
  }
  return tiers;
}

Json view_plan_runs(const wire::PlanRecord& plan) {
  Json runs = Json::array();
  for (uint32_t i = 0; i < std::min(plan.runs_count, wire::kPlanRunsShown); ++i) {
    const wire::PlanRunRecord& run = plan.runs[i];
    const bool known = run.tier < wire::kTierCount;
    runs.push_back({{"chunks", run.chunks},
                    {"tier", known ? wire::tier_name(static_cast<wire::Tier>(run.tier)) : "?"},
                    {"codec", codec_name(run.codec)},
                    {"stored_bytes", run.stored_bytes}});
  }
  return runs;
}

}  // namespace

Json view_plan(const LoggedPlan& logged) {
  const wire::PlanRecord& plan = logged.plan;
  Json view = {{"plan", hex(plan.id)},
               {"request", plan.request},
               {"tenant", logged.tenant},
               {"session", logged.session},
               {"space", plan.space},
               {"first_key", plan.resident == 0 ? Json() : Json(plan_key_text(plan.first_key))},
               {"last_key", plan.resident == 0 ? Json() : Json(plan_key_text(plan.last_key))},
               {"first_chunk", plan.first},
               {"resident_chunks", plan.resident},
               {"tokens_per_chunk", plan.tokens_per_chunk},
               {"tokens_behind", plan.tokens_behind},
               {"restore", wire::overlap_name(static_cast<wire::Overlap>(plan.overlap))},
               {"lambda", number(plan.lambda)},
               {"compute",
                {{"seconds_per_token", number(plan.a)},
                 {"seconds_per_token_and_position", number(plan.b)},
                 {"seconds_per_call", number(plan.g)},
                 {"samples", plan.compute_samples}}},
               {"tiers", view_plan_tiers(plan)},
               {"runs", view_plan_runs(plan)},
               {"runs_count", plan.runs_count},
               {"load_begin", plan.load_begin},
               {"load_end", plan.load_end},
               {"load_seconds", number(plan.load_seconds)},
               {"recompute_seconds", number(plan.recompute_seconds)},
               {"ttft_seconds", number(plan.ttft_seconds)},
               {"load_all_seconds", number(plan.load_all_seconds)},
               {"compute_all_seconds", number(plan.compute_all_seconds)},
               {"deadline_seconds", number(plan.deadline_seconds)}};
  view["ended"] = !logged.ended ? Json()
                                : Json({{"loaded_chunks", logged.end.loaded},
                                        {"seconds", number(logged.end.seconds)},
                                        {"reason", miss_reason_word(logged.end.ended)}});
  return view;
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
               idle_seconds, prefill_s_per_token, prefill_s_per_pair, prefill_s_per_call,
               prefill_samples] = space;
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
          {"prefill_seconds_per_token", prefill_s_per_token},
          {"prefill_seconds_per_token_and_position", prefill_s_per_pair},
          {"prefill_seconds_per_call", prefill_s_per_call},
          {"prefill_samples", prefill_samples}};
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

Json view_curve(const CurveSnapshot& curve) {
  const auto& [tenant, host_chunks, host_bytes, lower_chunks, lower_bytes, tracked_bytes,
               sample_shift, hot_keys, windows] = curve;
  Json shown = Json::array();
  for (size_t window = 0; window < windows.size(); ++window) {
    const auto& [asked, points, samples, paths, seconds] = windows[window];
    Json line = Json::array();
    for (const CurveReading::Point& point : points) {
      line.push_back({point.chunks, point.hit.tokens, point.hit.seconds});
    }
    shown.push_back({{"window", CurveWindows::kNames[window]},
                     {"seconds", seconds},
                     {"tokens_asked", asked.tokens},
                     {"compute_seconds_asked", asked.seconds},
                     {"samples", samples},
                     {"prompts_sampled", paths},
                     {"points", line}});
  }
  return {{"tenant", tenant},
          {"host_chunks", host_chunks},
          {"host_bytes", host_bytes},
          {"lower_chunks", lower_chunks},
          {"lower_bytes", lower_bytes},
          {"tracked_bytes", tracked_bytes},
          {"keys_per_sample", uint64_t{1} << sample_shift},
          {"hot_keys", hot_keys},
          {"windows", shown}};
}

Json view_counters(const CoreCounters& counters) {
  Json view = Json::object();
  for (const CoreCounterRow& row : core_counter_rows()) view[row.json] = counters.*row.field;
  return view;
}

Json view_status(const CoreSnapshot& snapshot) {
  const auto& [version, protocol_min, protocol_max, epoch, uptime_seconds, health, problems,
               start_mode, start_reason, keeper, keeper_trouble, tiers, tenants, spaces, sessions,
               counters, plans] = snapshot;
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
          {"keeper", {{"kind", keeper}, {"trouble", keeper_trouble}}},
          {"tiers", view_list(tiers, view_tier)},
          {"tenants", view_list(tenants, view_tenant)},
          {"spaces", view_list(spaces, view_space)},
          {"sessions", view_list(sessions, view_session)},
          {"counters", view_counters(counters)},
          {"plans",
           {{"recorded", plans.recorded},
            {"records_lost", plans.records_lost},
            {"measured", plans.measured},
            {"error_p50", plans.error_p50},
            {"error_p99", plans.error_p99}}}};
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
