// Memory between tenants and slot sizes. A tenant below its fair share that cannot store gets a
// segment's worth of memory from one above it; a segment never changes hands, it is drained, freed,
// and another one is created. Core thread.
#include <algorithm>

#include "daemon/core/core.hpp"

namespace kvtier::daemon {

namespace {
constexpr uint64_t kMeanUnit = 65536;  // ns: a sum over the times of many chunks must not overflow
}

// What every tenant that holds memory, or asks for it, could have if all were equal.
uint64_t Core::fair_share_bytes() const {
  const auto wanting = std::count_if(
      tenants_.begin(), tenants_.end(), [this](const std::unique_ptr<Tenant>& tenant) {
        return tenant->sessions > 0 || host_->tenant_bytes(tenant->number) > 0;
      });
  return capacity_bytes_ / static_cast<uint64_t>(std::max<int64_t>(wanting, 1));
}

// Starts to drain a segment when that is the way to a slot of this size: true when one is draining.
bool Core::make_room_for(Tenant& tenant, uint64_t slot_bytes) {
  const uint64_t share = fair_share_bytes();
  const uint64_t wanted_bytes = host_->segment_bytes_for(slot_bytes);
  bool under_way = false;
  Segment* donor = nullptr;
  uint64_t donor_surplus = 0;
  uint64_t donor_used_ns = 0;
  const uint64_t own_bytes = host_->tenant_bytes(tenant.number);
  // One segment at least, however many share the tier, but never above the tenant's own limit.
  const uint64_t allowed = std::min(std::max(share, wanted_bytes), tenant.host_bytes_max);
  // Of this size, in units of mean_use_ns(). One whose slots are all on their way is not cold.
  uint64_t coldest_ns = UINT64_MAX;
  host_->each_segment([&](const Segment& segment) {
    if (segment.draining) under_way = true;
    if (segment.tenant == tenant.number && segment.slot_bytes == slot_bytes && !segment.draining) {
      const uint64_t used_ns = mean_use_ns(segment);
      if (used_ns != 0) coldest_ns = std::min(coldest_ns, used_ns);
    }
  });
  if (under_way) return true;
  const uint64_t now_ns = clock_.now_ns() / kMeanUnit;
  host_->each_segment([&](Segment& segment) {
    uint64_t surplus = 0;
    if (segment.tenant == tenant.number) {
      // Between its own sizes a tenant moves memory to get the first segment of a size, and from
      // one that was left alone twice as long as any of this size (chunks that come back from
      // below in another codec are of a size of their own).
      if (segment.slot_bytes == slot_bytes) return;
      const uint64_t age = now_ns - std::min(mean_use_ns(segment), now_ns);
      if (coldest_ns != UINT64_MAX && age / 2 <= now_ns - std::min(coldest_ns, now_ns)) return;
      surplus = 1;
    } else {
      const uint64_t theirs = host_->tenant_bytes(segment.tenant);
      if (own_bytes + wanted_bytes > allowed) return;
      if (theirs < share + segment.accounted_bytes) return;
      surplus = theirs - share + 1;
    }
    if (surplus < donor_surplus) return;
    const uint64_t used_ns = mean_use_ns(segment);
    if (surplus == donor_surplus && used_ns >= donor_used_ns) return;
    donor = &segment;
    donor_surplus = surplus;
    donor_used_ns = used_ns;
  });
  if (donor == nullptr) return false;
  drain_segment(*donor);
  return true;
}

// When the chunks of a segment were last used, on average: the coldest segment goes.
uint64_t Core::mean_use_ns(const Segment& segment) {
  uint64_t sum = 0;
  uint64_t chunks = 0;
  for (SlotId slot = segment.first; slot < segment.first + segment.slots; ++slot) {
    if (host_->slots()[slot].state.load(std::memory_order_relaxed) != SlotState::kValid) continue;
    sum += notes(slot).since_ns / kMeanUnit;
    ++chunks;
  }
  return chunks == 0 ? 0 : sum / chunks;
}

// Evicts what is in the segment; leased and granted slots follow when they are given up.
void Core::drain_segment(Segment& segment) {
  Tenant& tenant = *tenants_[segment.tenant];
  std::vector<SlotId> valid;
  const uint64_t now = clock_.now_ns();
  for (SlotId slot = segment.first; slot < segment.first + segment.slots; ++slot) {
    const SlotState state = host_->slots()[slot].state.load(std::memory_order_relaxed);
    // What a prefetch has promised stays until it is leased or its time is over; a later sweep
    // comes.
    if (state == SlotState::kValid && notes(slot).held_until_ns <= now &&
        !stays_until_written(tenant, slot)) {
      valid.push_back(slot);
    }
    // Quarantine ends with the memory itself.
    if (state == SlotState::kQuarantined && notes(slot).holds == 0) {
      host_->slots()[slot].state.store(SlotState::kRetired, std::memory_order_relaxed);
      tenant.retired.push_back(slot);
    }
  }
  counters_.evicted += valid.size();
  host_->drain(segment);  // may free it at once: `segment` is not used below
  drop_slots(tenant, valid, Removal::kEvicted);
}

// Chunks committed into a draining segment after its eviction go now.
void Core::sweep_draining() {
  std::vector<std::pair<TenantNumber, uint32_t>> draining;
  host_->each_segment([&](const Segment& segment) {
    if (segment.draining) draining.emplace_back(segment.tenant, segment.number);
  });
  for (const auto& [tenant, number] : draining) {
    Segment* segment = host_->find_segment(tenant, number);
    if (segment != nullptr) drain_segment(*segment);
  }
}

}  // namespace kvtier::daemon
