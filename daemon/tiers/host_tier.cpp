// Slots of host memory: taking, giving back, places. Segments come and go in host_segments.cpp.
// Core thread.
#include "daemon/tiers/host_tier.hpp"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace kvtier::daemon {

HostTier::HostTier(const HostTierOptions& options, Executor& executor, SegmentListener& listener)
    : options_(options),
      executor_(executor),
      listener_(listener),
      next_uid_(std::max<uint64_t>(options.next_uid, 1)) {}

Result<std::unique_ptr<HostTier>> HostTier::create(const HostTierOptions& options,
                                                   Executor& executor, SegmentListener& listener) {
  std::unique_ptr<HostTier> tier(new (std::nothrow) HostTier(options, executor, listener));
  if (tier == nullptr) return Error(Code::kOutOfMemory, "no memory for the host tier");
  Result<std::unique_ptr<SlotTable>> slots = SlotTable::create(options.slots_max, options.epoch);
  if (!slots.ok()) return slots.error();
  tier->slots_ = std::move(slots).value();
  return tier;
}

HostTier::Tenant& HostTier::tenant(TenantNumber number) {
  if (number >= tenants_.size()) tenants_.resize(number + 1);
  return tenants_[number];
}

const HostTier::Pool* HostTier::find_pool(TenantNumber number, uint64_t slot_bytes) const {
  if (number >= tenants_.size()) return nullptr;
  const auto pool = tenants_[number].pools.find(slot_bytes);
  return pool == tenants_[number].pools.end() ? nullptr : &pool->second;
}

SlotId HostTier::take(TenantNumber number, uint64_t slot_bytes) {
  std::vector<SlotId>& free = tenant(number).pools[slot_bytes].free;
  while (!free.empty()) {
    const SlotId slot = free.back();
    free.pop_back();
    // Free slots of a draining segment are left behind when they surface.
    if (segment_of(slot).draining) continue;
    ++segment_of(slot).used;
    return slot;
  }
  return kNoSlot;
}

void HostTier::give_back(SlotId slot) {
  Segment& segment = segment_of(slot);
  if (segment.used == 0) std::abort();
  --segment.used;
  (*slots_)[slot].state.store(SlotState::kFree, std::memory_order_release);
  if (segment.draining) {
    free_if_drained(segment);
    return;
  }
  tenant(segment.tenant).pools[segment.slot_bytes].free.push_back(slot);
}

std::byte* HostTier::data(SlotId slot) {
  Segment& segment = segment_of(slot);
  return segment.memory.mapping.data() + uint64_t{slot - segment.first} * segment.slot_bytes;
}

wire::Place HostTier::place(SlotId slot) {
  const Segment& segment = segment_of(slot);
  return wire::Place::make(wire::Tier::kHost, segment.number, slot - segment.first,
                           (*slots_)[slot].generation);
}

SlotId HostTier::slot_at(TenantNumber number, wire::Place place) const {
  if (number >= tenants_.size() || place.tier() != wire::Tier::kHost) return kNoSlot;
  const std::vector<uint32_t>& numbers = tenants_[number].segments;
  if (place.segment() >= numbers.size() || numbers[place.segment()] == UINT32_MAX) return kNoSlot;
  const Segment& segment = *segments_[numbers[place.segment()]];
  if (place.slot() >= segment.slots) return kNoSlot;
  return segment.first + place.slot();
}

Segment* HostTier::find_segment(TenantNumber number, uint32_t segment) {
  if (number >= tenants_.size()) return nullptr;
  const std::vector<uint32_t>& numbers = tenants_[number].segments;
  if (segment >= numbers.size() || numbers[segment] == UINT32_MAX) return nullptr;
  return segments_[numbers[segment]].get();
}

uint64_t HostTier::tenant_bytes(TenantNumber number) const {
  return number < tenants_.size() ? tenants_[number].bytes : 0;
}

uint64_t HostTier::free_slots(TenantNumber number, uint64_t slot_bytes) const {
  const Pool* pool = find_pool(number, slot_bytes);
  return pool == nullptr ? 0 : pool->free.size();
}

bool HostTier::growing(TenantNumber number, uint64_t slot_bytes) const {
  const Pool* pool = find_pool(number, slot_bytes);
  return pool != nullptr && pool->growing > 0;
}

}  // namespace kvtier::daemon
