// How segments of host memory come and go: created and populated on workers in pieces, so that the
// first slots serve while the rest is still being touched; freed when drained. Core thread, except
// the bodies of jobs.
#include <algorithm>
#include <bit>
#include <new>

#include "daemon/log/log.hpp"
#include "daemon/tiers/host_tier.hpp"

namespace kvtier::daemon {

namespace {

// One job's share of population: long enough to amortise a job, short enough to serve soon.
constexpr uint64_t kPopulateBytes = 8 * wire::MiB;
constexpr uint32_t kPopulateJobsMax = 2;  // a segment at a time
constexpr uint64_t kRetryAfterNs = 1'000'000'000;
constexpr uint32_t kSegmentsPerPool = 128;  // a segment is at least 1/128 of the capacity
constexpr uint32_t kSlotsPerSegmentMin = 8;
constexpr uint64_t kMemoryReserveBytes = 16 * wire::MiB;  // for everything but segments

// Where a control group is full the kernel ends the process that asks for a page, so it is asked
// for before. Any thread.
Status look_for_memory(const std::function<uint64_t()>& memory_left_bytes, uint64_t bytes) {
  if (!memory_left_bytes) return {};
  const uint64_t left = memory_left_bytes();
  if (left >= bytes + kMemoryReserveBytes) return {};
  return Error::format(Code::kOutOfMemory,
                       "%llu MiB are left to the machine or the daemon's control group, %llu MiB "
                       "are needed: lower host.capacity, or raise the limit (MemoryMax=)",
                       static_cast<unsigned long long>(left / wire::MiB),
                       static_cast<unsigned long long>((bytes + kMemoryReserveBytes) / wire::MiB));
}

}  // namespace

// What a worker needs to create a segment, and what it brings back.
struct HostTier::Creation {
  TenantNumber tenant;
  uint64_t slot_bytes;
  uint64_t bytes;
  Want huge_pages;
  Result<Memfd> memory = Error(Code::kUnavailable, "not created yet");
  Result<Fd> read_only = Error(Code::kUnavailable, "not created yet");
};

uint64_t HostTier::segment_bytes_for(uint64_t slot_bytes) const {
  uint64_t bytes = std::max({std::bit_ceil(options_.capacity_bytes / kSegmentsPerPool),
                             std::bit_ceil(slot_bytes * kSlotsPerSegmentMin),
                             std::bit_ceil(options_.segment_bytes_min)});
  // A small pool gets smaller segments, down to a single slot, rather than nothing.
  while (bytes > options_.capacity_bytes && bytes / 2 >= slot_bytes) bytes /= 2;
  bytes = std::min<uint64_t>(bytes, std::bit_floor(slot_bytes * wire::kSlotsPerSegmentMax));
  return bytes;
}

Growth HostTier::grow(TenantNumber number, uint64_t slot_bytes, uint64_t now_ns) {
  clock_ns_ = now_ns;
  Pool& pool = tenant(number).pools[slot_bytes];
  if (pool.growing > 0) return Growth::kUnderWay;
  if (pool.failed_ns != 0 && now_ns - pool.failed_ns < kRetryAfterNs) return Growth::kFailed;
  uint64_t bytes = segment_bytes_for(slot_bytes);
  if (bytes > options_.capacity_bytes) return Growth::kTooSmall;
  // After a restart with less capacity there may be more than may be.
  const uint64_t room =
      options_.capacity_bytes - std::min(options_.capacity_bytes, allocated_bytes_);
  while (bytes > room && bytes / 2 >= slot_bytes * kSlotsPerSegmentMin) bytes /= 2;
  if (bytes > room) return Growth::kNoRoom;

  auto creation = std::make_shared<Creation>();
  creation->tenant = number;
  creation->slot_bytes = slot_bytes;
  creation->bytes = bytes;
  creation->huge_pages = options_.huge_pages;
  Job job;
  job.work = [creation, memory_left = options_.memory_left_bytes] {
    if (Status enough = look_for_memory(memory_left, creation->bytes); !enough) {
      creation->memory = enough.error();
      return;
    }
    if (creation->huge_pages != Want::kNever) {
      creation->memory = create_memfd({"kvtier-segment", creation->bytes, Pages::kHuge});
    }
    if (!creation->memory.ok() && creation->huge_pages != Want::kRequire) {
      creation->memory = create_memfd({"kvtier-segment", creation->bytes, Pages::kSmall});
    }
    if (creation->memory.ok()) creation->read_only = reopen_read_only(creation->memory->fd);
  };
  job.done = [this, creation] { created(creation); };
  if (!executor_.submit(std::move(job))) return Growth::kUnderWay;
  ++pool.growing;
  allocated_bytes_ += bytes;
  tenant(number).bytes += bytes;
  return Growth::kStarted;
}

void HostTier::grow_ahead(TenantNumber number, uint64_t slot_bytes, uint64_t now_ns) {
  const Pool* pool = find_pool(number, slot_bytes);
  if (pool == nullptr || pool->growing > 0 || pool->slots == 0) return;
  const uint64_t per_segment = segment_bytes_for(slot_bytes) / slot_bytes;
  if (pool->free.size() * 4 < per_segment) grow(number, slot_bytes, now_ns);
}

bool HostTier::pick_number(Tenant& owner, uint32_t* number) {
  for (uint32_t i = 0; i < wire::kSegmentsMax; ++i) {
    if (i == owner.segments.size()) {
      owner.segments.push_back(UINT32_MAX);
      owner.generation_floors.push_back(0);
    }
    // A number whose generations are used up never comes back.
    if (owner.segments[i] != UINT32_MAX ||
        owner.generation_floors[i] >= wire::Place::kGenerationMax / 2) {
      continue;
    }
    *number = i;
    return true;
  }
  return false;
}

void HostTier::created(const std::shared_ptr<Creation>& creation) {
  Tenant& owner = tenant(creation->tenant);
  Pool& pool = owner.pools[creation->slot_bytes];
  const auto fail = [&](const char* text) {
    message_ = text;
    log_event(LogCode::kSegmentFailed, "{} bytes for slots of {}: {}", creation->bytes,
              creation->slot_bytes, text);
    pool.failed_ns = std::max<uint64_t>(clock_ns_, 1);
    --pool.growing;
    allocated_bytes_ -= creation->bytes;
    owner.bytes -= creation->bytes;
  };
  if (!creation->memory.ok()) return fail(creation->memory.error().message());
  if (!creation->read_only.ok()) return fail(creation->read_only.error().message());
  const auto slots = static_cast<uint32_t>(creation->bytes / creation->slot_bytes);
  uint32_t number = 0;
  if (!pick_number(owner, &number)) return fail("the tenant has used up its segment numbers");
  const std::optional<SlotId> first = slots_->take_run(slots);
  if (!first.has_value()) return fail("the slot table is full");

  auto segment = std::make_unique<Segment>();
  segment->tenant = creation->tenant;
  segment->number = number;
  segment->uid = next_uid_++;
  segment->memory = std::move(creation->memory).value();
  segment->read_only = std::move(creation->read_only).value();
  segment->slot_bytes = creation->slot_bytes;
  segment->accounted_bytes = creation->bytes;
  segment->slots = slots;
  segment->first = *first;
  // What an earlier segment left of its run's records says nothing of this one.
  for (SlotId slot = *first; slot < *first + slots; ++slot) {
    SlotRecord& record = (*slots_)[slot];
    record.state.store(SlotState::kUnused, std::memory_order_release);
    record.generation = std::max(record.generation, owner.generation_floors[number]);
  }
  if (Status made = listener_.segment_made(*segment); !made) {
    slots_->give_back_run(*first, slots);
    return fail(made.error().message());
  }
  Segment& created = enlist(std::move(segment));
  listener_.segment_created(created);
  for (uint32_t i = 0; i < kPopulateJobsMax; ++i) populate_next(created);
}

Segment& HostTier::enlist(std::unique_ptr<Segment> segment) {
  huge_pages_ = huge_pages_ || segment->memory.pages == Pages::kHuge;
  const auto free_index = std::find(segments_.begin(), segments_.end(), nullptr);
  const auto index = static_cast<uint32_t>(free_index - segments_.begin());
  const size_t end = size_t{segment->first} + segment->slots;
  if (segment_of_slot_.size() < end) segment_of_slot_.resize(end);
  std::fill_n(segment_of_slot_.begin() + segment->first, segment->slots, index);
  tenant(segment->tenant).segments[segment->number] = index;
  if (free_index == segments_.end()) {
    segments_.push_back(std::move(segment));
    return *segments_.back();
  }
  *free_index = std::move(segment);
  return **free_index;
}

void HostTier::populate_next(Segment& segment) {
  if (segment.queued == segment.slots || segment.draining) return;
  const uint32_t first = segment.queued;
  const uint64_t slots_per_job = std::max<uint64_t>(kPopulateBytes / segment.slot_bytes, 1);
  const auto count =
      static_cast<uint32_t>(std::min<uint64_t>(slots_per_job, uint64_t{segment.slots} - first));
  std::byte* begin = segment.memory.mapping.data() + uint64_t{first} * segment.slot_bytes;
  const uint64_t bytes = uint64_t{count} * segment.slot_bytes;
  auto outcome = std::make_shared<std::pair<Status, Status>>();  // populated, locked
  const bool lock = options_.lock != Want::kNever && segment.memory.pages == Pages::kSmall;
  Job job;
  job.work = [begin, bytes, lock, outcome, memory_left = options_.memory_left_bytes] {
    outcome->first = look_for_memory(memory_left, bytes);
    // Slots need not begin on huge pages: whole pages around the range are touched.
    if (outcome->first.ok()) outcome->first = populate(begin, bytes);
    if (outcome->first.ok() && lock) outcome->second = lock_memory(begin, bytes);
  };
  const uint64_t uid = segment.uid;
  const TenantNumber owner = segment.tenant;
  const uint32_t number = segment.number;
  job.done = [this, owner, number, uid, first, count, bytes, outcome] {
    Segment* target = find_segment(owner, number);
    if (target == nullptr || target->uid != uid) return;
    Pool& pool = tenant(owner).pools[target->slot_bytes];
    if (outcome->first.ok()) {
      for (uint32_t i = 0; i < count; ++i) {
        const SlotId slot = target->first + first + i;
        SlotRecord& record = (*slots_)[slot];
        // One of an adopted segment may be in use already.
        if (record.state.load(std::memory_order_relaxed) != SlotState::kUnused) continue;
        record.state.store(SlotState::kFree, std::memory_order_release);
        if (!target->draining) pool.free.push_back(slot);
      }
      if (!target->draining) pool.slots += count;
    } else {
      message_ = outcome->first.error().message();
    }
    if (!outcome->second.ok()) {
      target->locked = false;
      unlocked_bytes_ += bytes;
    }
    target->populated += count;
    // A segment that was drained before it was whole stopped counting as growth then.
    if (target->populated == target->slots && !target->draining && target->growth) --pool.growing;
    populate_next(*target);
    free_if_drained(*target);
  };
  if (!executor_.submit(std::move(job))) return;
  segment.queued += count;
}

void HostTier::tend() {
  // A full job queue may have cut a chain of population jobs.
  for (const std::unique_ptr<Segment>& segment : segments_) {
    if (segment != nullptr && segment->populated == segment->queued) populate_next(*segment);
  }
}

void HostTier::drain(Segment& segment) {
  if (segment.draining) return;
  segment.draining = true;
  Pool& pool = tenant(segment.tenant).pools[segment.slot_bytes];
  std::erase_if(pool.free, [&](SlotId slot) { return &segment_of(slot) == &segment; });
  if (segment.populated < segment.slots && segment.growth) --pool.growing;
  pool.slots -= std::min(pool.slots, segment.populated);
  free_if_drained(segment);
}

void HostTier::free_if_drained(Segment& segment) {
  // A population under way still touches the memory.
  if (!segment.draining || segment.used > 0 || segment.populated != segment.queued) return;
  Tenant& owner = tenant(segment.tenant);
  listener_.segment_freed(segment);
  uint32_t floor = owner.generation_floors[segment.number];
  for (SlotId slot = segment.first; slot < segment.first + segment.slots; ++slot) {
    SlotRecord& record = (*slots_)[slot];
    floor = std::max(floor, record.generation);
    record.state.store(SlotState::kUnused, std::memory_order_release);
  }
  owner.generation_floors[segment.number] = floor;
  slots_->give_back_run(segment.first, segment.slots);
  // Clients may still map it; without its pages it costs the host nothing.
  [[maybe_unused]] const Status punched = punch_hole(segment.memory.fd, 0, segment.bytes());
  allocated_bytes_ -= segment.accounted_bytes;
  owner.bytes -= segment.accounted_bytes;
  const uint32_t index = owner.segments[segment.number];
  owner.segments[segment.number] = UINT32_MAX;
  segments_[index].reset();
}

}  // namespace kvtier::daemon
