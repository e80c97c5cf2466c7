// The table of metrics, a row each; see metrics.hpp. The admin thread.
#include <array>

#include "daemon/admin/metrics.hpp"

namespace kvtier::daemon {
namespace {

using S = const MetricSource&;
using Sink = MetricSink&;
constexpr MetricType kCounter = MetricType::kCounter;
constexpr MetricType kGauge = MetricType::kGauge;

// One sample a tier, a tenant, a space.
template <auto kField>
void of_tier(S source, Sink sink) {
  for (const TierSnapshot& tier : source.core.tiers) {
    sink.add(label("tier", tier.name), tier.*kField);
  }
}
// One sample a device, where it is a number; the label is a path of the configuration.
template <auto kField>
void of_device(S source, Sink sink) {
  for (const TierSnapshot& tier : source.core.tiers) {
    for (const TierDevice& device : tier.devices) {
      sink.add(label("device", device.name), device.*kField);
    }
  }
}
template <auto kRead, auto kWrite>
void of_device_each_way(S source, Sink sink) {
  for (const TierSnapshot& tier : source.core.tiers) {
    for (const TierDevice& device : tier.devices) {
      const std::string name = label("device", device.name) + ",";
      sink.add(name + label("direction", "read"), device.*kRead);
      sink.add(name + label("direction", "write"), device.*kWrite);
    }
  }
}
template <auto kField>
void of_tenant(S source, Sink sink) {
  for (const TenantSnapshot& tenant : source.core.tenants) {
    sink.add(label("tenant", tenant.name), uint64_t{tenant.*kField});
  }
}
template <auto kField>
void of_process(S source, Sink sink) {
  sink.add("", source.process.*kField);
}

void prefill_samples(S source, Sink sink) {
  for (const TenantSnapshot& tenant : source.core.tenants) {
    uint64_t sum = 0;
    for (const SpaceSnapshot& space : source.core.spaces) {
      if (space.tenant == tenant.name) sum += space.prefill_samples;
    }
    sink.add(label("tenant", tenant.name), sum);
  }
}

// One sample a word, 1 for the one that holds.
void one_of(std::string_view name, std::string_view value,
            std::initializer_list<std::string_view> words, Sink sink,
            const std::string& more = "") {
  bool known = false;
  for (const std::string_view word : words) {
    sink.add(more + label(name, word), uint64_t{word == value});
    known = known || word == value;
  }
  if (!known) sink.add(more + label(name, value), uint64_t{1});
}

void lookup_samples(S source, Sink sink, LookupTotal LookupTotals::OfTenant::*total) {
  for (size_t i = 0; i < source.lookups.size(); ++i) {
    const LookupTotal& found = source.lookups[i].*total;
    const std::string tenant = label("tenant", source.core.tenants[i].name) + ",";
    for (uint32_t tier = 0; tier < wire::kTierCount; ++tier) {
      const char* name = wire::tier_name(static_cast<wire::Tier>(tier));
      sink.add(tenant + label("tier", name), found.by_tier[tier]);
    }
    sink.add(tenant + label("tier", "miss"), found.miss);
  }
}
void asked_samples(S source, Sink sink, LookupTotal LookupTotals::OfTenant::*total) {
  for (size_t i = 0; i < source.lookups.size(); ++i) {
    sink.add(label("tenant", source.core.tenants[i].name), (source.lookups[i].*total).asked);
  }
}

void start_mode(S source, Sink sink) {
  one_of("mode", source.core.start_mode, {"cold", "warm", "crash_warm"}, sink);
}
void health(S source, Sink sink) {
  one_of("state", source.core.health, {"good", "degraded", "draining"}, sink);
}
void tier_state(S source, Sink sink) {
  for (const TierSnapshot& tier : source.core.tiers) {
    one_of("state", tier.state, {"on", "off", "degraded"}, sink, label("tier", tier.name) + ",");
  }
}
void device_state(S source, Sink sink) {
  for (const TierSnapshot& tier : source.core.tiers) {
    for (const TierDevice& device : tier.devices) {
      one_of("state", device.state, {"starting", "ok", "out_of_service", "failed"}, sink,
             label("device", device.name) + ",");
    }
  }
}
void device_amplification(S source, Sink sink) {
  for (const TierSnapshot& tier : source.core.tiers) {
    for (const TierDevice& device : tier.devices) {
      sink.add(label("device", device.name), device.write_amplification());
    }
  }
}
void device_budget(S source, Sink sink) {
  for (const TierSnapshot& tier : source.core.tiers) {
    for (const TierDevice& device : tier.devices) {
      const std::string name = label("device", device.name) + ",";
      if (device.budget_second_bytes_left != UINT64_MAX) {
        sink.add(name + label("window", "second"), device.budget_second_bytes_left);
      }
      if (device.budget_day_bytes_left != UINT64_MAX) {
        sink.add(name + label("window", "day"), device.budget_day_bytes_left);
      }
    }
  }
}
// Without a limit there is no sample: a number would be read as a limit.
void capacity_chunks(S source, Sink sink) {
  for (const TierSnapshot& tier : source.core.tiers) {
    if (tier.capacity_chunks == UINT64_MAX) continue;
    sink.add(label("tier", tier.name), tier.capacity_chunks);
  }
}
void tenant_host_bytes_max(S source, Sink sink) {
  for (const TenantSnapshot& tenant : source.core.tenants) {
    if (tenant.host_bytes_max == UINT64_MAX) continue;
    sink.add(label("tenant", tenant.name), tenant.host_bytes_max);
  }
}
void resident(S source, Sink sink) {
  sink.add(label("kind", "anonymous"), source.process.rss_anonymous_bytes);
  sink.add(label("kind", "file"), source.process.rss_file_bytes);
  sink.add(label("kind", "shared"), source.process.rss_shared_bytes);
}
void cpu(S source, Sink sink) {
  sink.add(label("mode", "user"), source.process.cpu_user_seconds);
  sink.add(label("mode", "system"), source.process.cpu_system_seconds);
}
void build_info(S source, Sink sink) {
  sink.add(label("version", source.core.version) + "," +
               label("protocol_min", std::to_string(source.core.protocol_min)) + "," +
               label("protocol_max", std::to_string(source.core.protocol_max)),
           uint64_t{1});
}

using T = TierSnapshot;
using D = TierDevice;
using N = TenantSnapshot;
using P = ProcessUsage;
using L = LookupTotals::OfTenant;

// clang-format off
constexpr std::array kRows = {
  MetricRow{"kvtier_build_info", kGauge, "1", "Version of the daemon and the protocol versions it speaks; always 1.", build_info},
  MetricRow{"kvtier_start_mode", kGauge, "0 or 1", "How the daemon started: 1 for the mode that holds.", start_mode},
  MetricRow{"kvtier_health", kGauge, "0 or 1", "The daemon's own judgement: 1 for the state that holds.", health},
  MetricRow{"kvtier_problems", kGauge, "problems", "What keeps the daemon from being good; kvtier status names each.", [](S s, Sink k) { k.add("", uint64_t{s.core.problems.size()}); }},
  MetricRow{"kvtier_uptime_seconds", kGauge, "seconds", "Time since the daemon started.", [](S s, Sink k) { k.add(s.core.uptime_seconds); }},
  MetricRow{"kvtier_sessions", kGauge, "sessions", "Attached processes.", [](S s, Sink k) { k.add("", uint64_t{s.core.sessions.size()}); }},
  MetricRow{"kvtier_spaces", kGauge, "spaces", "Spaces (tensor shapes) that are open or hold chunks.", [](S s, Sink k) { k.add("", uint64_t{s.core.spaces.size()}); }},
  MetricRow{"kvtier_tier_state", kGauge, "0 or 1", "State of a tier: 1 for the one that holds.", tier_state},
  MetricRow{"kvtier_tier_capacity_bytes", kGauge, "bytes", "What a tier may hold.", of_tier<&T::capacity_bytes>},
  MetricRow{"kvtier_tier_capacity_chunks", kGauge, "chunks", "What a tier may hold, where it is limited by number.", capacity_chunks},
  MetricRow{"kvtier_tier_allocated_bytes", kGauge, "bytes", "Segments that exist.", of_tier<&T::allocated_bytes>},
  MetricRow{"kvtier_tier_used_bytes", kGauge, "bytes", "Slots that hold chunks, headers included.", of_tier<&T::used_bytes>},
  MetricRow{"kvtier_tier_payload_bytes", kGauge, "bytes", "Payload of the chunks in a tier.", of_tier<&T::payload_bytes>},
  MetricRow{"kvtier_tier_unlocked_bytes", kGauge, "bytes", "Memory of a tier that is not locked and could be swapped out.", of_tier<&T::unlocked_bytes>},
  MetricRow{"kvtier_tier_chunks", kGauge, "chunks", "Chunks in a tier.", of_tier<&T::chunks>},
  MetricRow{"kvtier_tier_pinned_chunks", kGauge, "chunks", "Chunks that an operator or a hint holds.", of_tier<&T::pinned_chunks>},
  MetricRow{"kvtier_tier_granted_slots", kGauge, "slots", "Slots that writers hold.", of_tier<&T::granted_slots>},
  MetricRow{"kvtier_tier_quarantined_slots", kGauge, "slots", "Slots whose bytes are wrong, or are being checked; out of use.", of_tier<&T::quarantined_slots>},
  MetricRow{"kvtier_tier_retired_slots", kGauge, "slots", "Slots whose chunk is gone and that wait for their last reader.", of_tier<&T::retired_slots>},
  MetricRow{"kvtier_tier_segments", kGauge, "segments", "Segments of a tier.", of_tier<&T::segments>},
  MetricRow{"kvtier_tier_evictions_total", kCounter, "chunks", "Chunks evicted from a tier.", of_tier<&T::evictions>},
  MetricRow{"kvtier_tier_load_bandwidth_bytes_per_second", kGauge, "bytes a second", "Bandwidth of loads, as the cost board has it.", of_tier<&T::load_bandwidth>},
  MetricRow{"kvtier_tier_load_latency_seconds", kGauge, "seconds", "Time to the first byte of a load, as the cost board has it.", of_tier<&T::load_latency_s>},
  MetricRow{"kvtier_tier_load_samples_total", kCounter, "measurements", "Measurements behind the bandwidth of loads.", of_tier<&T::load_samples>},
  MetricRow{"kvtier_tier_load_errors_total", kCounter, "transfers", "Reads of chunks from a tier that failed or were given up.", of_tier<&T::load_errors>},
  MetricRow{"kvtier_tier_load_p50_seconds", kGauge, "seconds", "Time of a load (host) or of reading a chunk, half of the recent ones.", of_tier<&T::load_time_p50_s>},
  MetricRow{"kvtier_tier_load_p99_seconds", kGauge, "seconds", "The same, 99 of 100.", of_tier<&T::load_time_p99_s>},
  MetricRow{"kvtier_tier_store_bandwidth_bytes_per_second", kGauge, "bytes a second", "Bandwidth of writes of chunks to a tier below host memory.", of_tier<&T::store_bandwidth>},
  MetricRow{"kvtier_tier_store_p99_seconds", kGauge, "seconds", "Time of writing a chunk there, 99 of 100.", of_tier<&T::store_time_p99_s>},
  MetricRow{"kvtier_tier_store_errors_total", kCounter, "transfers", "Writes of chunks that failed or were given up.", of_tier<&T::store_errors>},
  MetricRow{"kvtier_plans_recorded_total", kCounter, "plans", "Plans whose records came from clients.", [](S s, Sink k) { k.add("", s.core.plans.recorded); }},
  MetricRow{"kvtier_plan_records_lost_total", kCounter, "records", "Records of plans that were overwritten before they were read.", [](S s, Sink k) { k.add("", s.core.plans.records_lost); }},
  MetricRow{"kvtier_plan_measured_total", kCounter, "plans", "Plans whose load ended with all that was planned: behind the error.", [](S s, Sink k) { k.add("", s.core.plans.measured); }},
  MetricRow{"kvtier_plan_error_p50", kGauge, "1", "Error of predicted load times, relative, half of the recent ones.", [](S s, Sink k) { k.add("", s.core.plans.error_p50); }},
  MetricRow{"kvtier_plan_error_p99", kGauge, "1", "The same, 99 of 100.", [](S s, Sink k) { k.add("", s.core.plans.error_p99); }},
  MetricRow{"kvtier_prefill_samples", kGauge, "reports", "Reports behind the fitted cost of computing, the spaces of a tenant added up.", prefill_samples},
  MetricRow{"kvtier_nvme_state", kGauge, "0 or 1", "State of a device: 1 for the one that holds.", device_state},
  MetricRow{"kvtier_nvme_capacity_bytes", kGauge, "bytes", "What a device may hold.", of_device<&D::capacity_bytes>},
  MetricRow{"kvtier_nvme_used_bytes", kGauge, "bytes", "Slots of a device that hold chunks, are being written or are not yet free again.", of_device<&D::used_bytes>},
  MetricRow{"kvtier_nvme_operations_total", kCounter, "transfers", "Chunks read from and written to a device, headers included.", of_device_each_way<&D::reads, &D::writes>},
  MetricRow{"kvtier_nvme_bytes_total", kCounter, "bytes", "Bytes read from and written to a device, of whatever kind.", of_device_each_way<&D::read_bytes, &D::write_bytes>},
  MetricRow{"kvtier_nvme_seconds_total", kCounter, "seconds", "Time of these transfers from being queued to their end, added up.", of_device_each_way<&D::read_seconds, &D::write_seconds>},
  MetricRow{"kvtier_nvme_errors_total", kCounter, "transfers", "Transfers that failed.", of_device_each_way<&D::read_errors, &D::write_errors>},
  MetricRow{"kvtier_nvme_queued", kGauge, "transfers", "Transfers that wait for the device.", of_device_each_way<&D::queued_reads, &D::queued_writes>},
  MetricRow{"kvtier_nvme_in_flight", kGauge, "transfers", "Pieces of transfers that the device works on.", of_device<&D::in_flight>},
  MetricRow{"kvtier_nvme_timeouts_total", kCounter, "transfers", "Pieces that took longer than nvme.io_timeout.", of_device<&D::timeouts>},
  MetricRow{"kvtier_nvme_out_of_service_total", kCounter, "times", "How often a device was taken out of service.", of_device<&D::times_out_of_service>},
  MetricRow{"kvtier_nvme_chunk_write_bytes_total", kCounter, "bytes", "Headers and payloads among the bytes written.", of_device<&D::chunk_write_bytes>},
  MetricRow{"kvtier_nvme_prepare_write_bytes_total", kCounter, "bytes", "Zeros among the bytes written: ahead of the first use of a slab.", of_device<&D::prepare_write_bytes>},
  MetricRow{"kvtier_nvme_write_amplification", kGauge, "1", "Bytes written for each byte of chunks, zeros apart; 0 before the first.", device_amplification},
  MetricRow{"kvtier_nvme_budget_left_bytes", kGauge, "bytes", "What may still be written, where nvme.write_budget limits it.", device_budget},
  MetricRow{"kvtier_lookup_chunks_total", kCounter, "chunks", "Chunks that clients asked for, by the tier they were found in.", [](S s, Sink k) { lookup_samples(s, k, &L::chunks); }},
  MetricRow{"kvtier_lookup_chunks_asked_total", kCounter, "chunks", "Chunks that clients asked for.", [](S s, Sink k) { asked_samples(s, k, &L::chunks); }},
  MetricRow{"kvtier_lookup_tokens_total", kCounter, "tokens", "Tokens that clients asked for, by the tier they were found in.", [](S s, Sink k) { lookup_samples(s, k, &L::tokens); }},
  MetricRow{"kvtier_lookup_tokens_asked_total", kCounter, "tokens", "Tokens that clients asked for.", [](S s, Sink k) { asked_samples(s, k, &L::tokens); }},
  MetricRow{"kvtier_tenant_host_bytes", kGauge, "bytes", "Segments of a tenant in host memory.", of_tenant<&N::host_bytes>},
  MetricRow{"kvtier_tenant_host_max_bytes", kGauge, "bytes", "What a tenant may hold in host memory, where it is limited.", tenant_host_bytes_max},
  MetricRow{"kvtier_tenant_chunks", kGauge, "chunks", "Chunks of a tenant.", of_tenant<&N::chunks>},
  MetricRow{"kvtier_tenant_payload_bytes", kGauge, "bytes", "Payload of a tenant's chunks.", of_tenant<&N::payload_bytes>},
  MetricRow{"kvtier_tenant_sessions", kGauge, "sessions", "Attached processes of a tenant.", of_tenant<&N::sessions>},
  MetricRow{"kvtier_tenant_spaces", kGauge, "spaces", "Spaces of a tenant.", of_tenant<&N::spaces>},
  MetricRow{"kvtier_tenant_index_entries", kGauge, "chunks", "Entries in a tenant's published index.", of_tenant<&N::index_entries>},
  MetricRow{"kvtier_tenant_index_max_entries", kGauge, "chunks", "Entries that fit into it.", of_tenant<&N::index_entries_max>},
  MetricRow{"kvtier_tenant_index_bytes", kGauge, "bytes", "Memory of a tenant's published index.", of_tenant<&N::index_bytes>},
  MetricRow{"kvtier_tenant_index_overflows_total", kCounter, "chunks", "Chunks that the index had no room for.", of_tenant<&N::index_overflows>},
  MetricRow{"kvtier_process_resident_memory_bytes", kGauge, "bytes", "The daemon's resident memory; shared is segments, indexes and session memory that it touched.", resident},
  MetricRow{"kvtier_process_locked_memory_bytes", kGauge, "bytes", "The daemon's locked memory.", of_process<&P::locked_bytes>},
  MetricRow{"kvtier_process_cpu_seconds_total", kCounter, "seconds", "CPU time of the daemon.", cpu},
  MetricRow{"kvtier_process_start_time_seconds", kGauge, "seconds", "When the daemon started, since 1970.", of_process<&P::start_time_seconds>},
  MetricRow{"kvtier_process_open_fds", kGauge, "descriptors", "Open file descriptors.", of_process<&P::open_fds>},
  MetricRow{"kvtier_process_max_fds", kGauge, "descriptors", "File descriptors that may be open.", of_process<&P::open_fds_max>},
  MetricRow{"kvtier_process_threads", kGauge, "threads", "Threads of the daemon.", of_process<&P::threads>},
};
// clang-format on

}  // namespace

std::span<const MetricRow> metric_rows() {
  return kRows;
}

}  // namespace kvtier::daemon
