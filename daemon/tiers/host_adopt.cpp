// Taking over the segments of the daemon before. The core says what becomes of each slot; this puts
// segments, runs of slot ids and free slots back where they were. Core thread, at the start only.
#include <algorithm>
#include <new>

#include "daemon/tiers/host_tier.hpp"

namespace kvtier::daemon {

Result<std::unique_ptr<HostTier>> HostTier::adopt(const HostTierOptions& options,
                                                  Executor& executor, SegmentListener& listener,
                                                  std::unique_ptr<SlotTable> slots) {
  std::unique_ptr<HostTier> tier(new (std::nothrow) HostTier(options, executor, listener));
  if (tier == nullptr) return Error(Code::kOutOfMemory, "no memory for the host tier");
  tier->slots_ = std::move(slots);
  return tier;
}

Result<Segment*> HostTier::adopt_segment(Segment segment) {
  const auto wrong = [&](const char* what) {
    return Error::format(Code::kCorrupt, "segment %u of tenant %u: %s", segment.number,
                         segment.tenant, what);
  };
  if (segment.number >= wire::kSegmentsMax) return wrong("there is no such number");
  if (segment.slots == 0 || segment.slots > wire::kSlotsPerSegmentMax) return wrong("its slots");
  if (segment.slot_bytes == 0 || segment.slot_bytes % wire::kPageBytes != 0 ||
      segment.slot_bytes > segment.bytes() / segment.slots) {
    return wrong("its memory does not hold its slots");
  }
  if (segment.first > slots_->slots_max() || segment.slots > slots_->slots_max() - segment.first) {
    return wrong("its slots are not in the slot table");
  }
  Tenant& owner = tenant(segment.tenant);
  if (owner.segments.size() <= segment.number) {
    owner.segments.resize(segment.number + 1, UINT32_MAX);
    owner.generation_floors.resize(segment.number + 1, 0);
  }
  if (owner.segments[segment.number] != UINT32_MAX) return wrong("there are two of that number");
  adopted_runs_.emplace_back(segment.first, segment.slots);
  allocated_bytes_ += segment.accounted_bytes;
  owner.bytes += segment.accounted_bytes;
  next_uid_ = std::max(next_uid_, segment.uid + 1);
  return &enlist(std::make_unique<Segment>(std::move(segment)));
}

Status HostTier::adopted() {
  if (slots_->keep_runs(std::move(adopted_runs_))) return {};
  return Error(Code::kCorrupt, "two segments have the same slots");
}

void HostTier::settle(Segment& segment) {
  Pool& pool = tenant(segment.tenant).pools[segment.slot_bytes];
  segment.growth = false;
  segment.used = 0;
  for (SlotId slot = segment.first; slot < segment.first + segment.slots; ++slot) {
    switch ((*slots_)[slot].state.load(std::memory_order_relaxed)) {
      case SlotState::kUnused:
        segment.growth = true;  // the daemon before had not populated it yet
        break;
      case SlotState::kFree:
        pool.free.push_back(slot);
        break;
      default:
        ++segment.used;
    }
  }
  if (segment.growth) ++pool.growing;
  // The pages are there; this maps them here, and locks them again.
  segment.populated = 0;
  segment.queued = 0;
  populate_next(segment);
}

}  // namespace kvtier::daemon
