// What operators see of, and do with, chunks that lie only in the tier below. Core thread, between
// turns.
#include <algorithm>
#include <bit>

#include "daemon/core/core.hpp"
#include "daemon/core/show_meter.hpp"

namespace kvtier::daemon {

// Visits the entries of the tenant's chunks that lie below and not in host memory.
template <typename Visit>
void Core::each_lower_only(const Tenant& tenant, Visit&& visit) {
  for (uint32_t entry = 0; entry < tenant.lower.size(); ++entry) {
    if (tenant.lower[entry] != 0 && tenant.index->host_place(entry).empty()) visit(entry);
  }
}

// Everything of the tenant that lies below only, but for what is being read; how many.
uint64_t Core::drop_lower_only(Tenant& tenant) {
  std::vector<uint32_t> entries;
  each_lower_only(tenant, [&](uint32_t entry) {
    if (lower_.notes[tenant.lower[entry]].reads == 0) entries.push_back(entry);
  });
  remove_lower_only(tenant, entries, Removal::kDropped);
  return entries.size();
}

std::vector<std::pair<TenantNumber, uint32_t>> Core::lower_entries_between(KeyRange range) {
  std::vector<std::pair<TenantNumber, uint32_t>> found;
  for (const std::unique_ptr<Tenant>& tenant : tenants_) {
    each_lower_only(*tenant, [&](uint32_t entry) {
      const ChunkKey key = tenant->index->facts(entry).key;
      const std::pair<uint64_t, uint64_t> number = {key.hi, key.lo};
      if (number >= range.first && number <= range.last) found.emplace_back(tenant->number, entry);
    });
  }
  return found;
}

ChunkSnapshot Core::describe_lower(TenantNumber number, uint32_t entry) {
  Tenant& tenant = *tenants_[number];
  const EntryFacts facts = tenant.index->facts(entry);
  const TierPlace place = lower_place(tenant, entry);
  const LowerNote& note = lower_.notes[place];
  ChunkSnapshot chunk;
  chunk.found = true;
  chunk.tenant = tenant.name;
  chunk.space = facts.space;
  chunk.key = key_digits(facts.key);
  chunk.tier = wire::tier_name(lower_.tier->kind());
  chunk.state = note.reads > 0 ? "filling" : "valid";
  chunk.position = note.position;
  chunk.tokens = facts.tokens;
  chunk.slot = place;
  chunk.payload_bytes = note.payload_bytes;
  chunk.checksum = note.checksum;
  chunk.has_checksum = true;
  return chunk;
}

// Chunks of the space are larger than the tier below takes; "": they are not.
std::string Core::why_not_below(const Space& space) const {
  if (!lower_ || space.slot_bytes <= lower_.tier->slot_bytes_max()) return "";
  const auto MiB_of = [](uint64_t bytes) {
    return std::to_string((bytes + wire::MiB - 1) / wire::MiB);
  };
  return "chunks of " + std::string(space.spec.model) + " need slots of " +
         MiB_of(space.slot_bytes) + " MiB, a segment of nvme has " +
         MiB_of(lower_.tier->slot_bytes_max()) +
         " MiB: they are never written there. Set nvme.segment_size to " +
         MiB_of(std::bit_ceil(space.slot_bytes)) + "MiB or more and remove the slab";
}

TierSnapshot Core::show_lower() const {
  TierSnapshot shown;
  shown.name = "nvme";
  if (!lower_) {
    shown.state = "off";
    shown.reason = "nvme.capacity is 0";
    return shown;
  }
  const TierCapacity capacity = lower_.tier->capacity();
  shown.name = wire::tier_name(lower_.tier->kind());
  shown.state = capacity.in_service ? "on" : "degraded";
  if (!capacity.in_service) shown.reason = "out of service: its device failed or hangs";
  shown.capacity_bytes = capacity.capacity_bytes;
  shown.capacity_chunks = kUnlimited;
  shown.allocated_bytes = capacity.capacity_bytes;
  shown.used_bytes = capacity.used_bytes;
  shown.policy = config_.host.policy;
  shown.evictions = counters_.lower_evicted;
  fill_meter(lower_.meter, clock_.now_ns(), &shown);
  shown.store_bandwidth = lower_.write_meter.bandwidth_bytes_per_s(clock_.now_ns());
  shown.store_errors = lower_.write_meter.errors();
  shown.store_time_p99_s = static_cast<double>(lower_.write_meter.times_ns().quantile(0.99)) * 1e-9;
  shown.granted_slots = lower_.writes.size();
  shown.devices = lower_.tier->devices();
  shown.scrub = lower_.scrub.counts;
  shown.scrub.places = lower_.scrub.next;
  shown.scrub.places_all = lower_.notes.size();
  for (const std::unique_ptr<Tenant>& tenant : tenants_) {
    shown.chunks += tenant->lower_chunks;
    shown.payload_bytes += tenant->lower_bytes;
  }
  return shown;
}

}  // namespace kvtier::daemon
