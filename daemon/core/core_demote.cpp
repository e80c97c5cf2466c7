// Downwards: chunks are written to the tier below while they are still in host memory and serve
// readers there; what was written is evicted in an instant when its slot is needed. Only chunks
// with a checksum go down, the shards of a key together; a slot is not used again before its write
// has ended. Core thread.
#include <algorithm>

#include "daemon/core/core.hpp"
#include "daemon/core/core_siblings.hpp"
#include "daemon/memory/kill_point.hpp"
#include "kvtier/wire/chunk_header.hpp"

namespace kvtier::daemon {

namespace {
constexpr uint64_t kAheadShare = 8;  // one slot in so many is kept clean ahead of need
constexpr uint64_t kAheadMax = 1024;
constexpr uint64_t kWritingShare = 4;  // of host memory, at most, is held by writes
constexpr uint64_t kWritingBytesMin = 64 * wire::MiB;
constexpr uint8_t kWriteFailuresMax =
    2;  // of one chunk, then it is dropped when its slot is needed
constexpr size_t kIdleBatch = 256;
}  // namespace

// What will have to be written before it can go: for looking ahead.
class Core::AheadFilter final : public VictimFilter {
 public:
  explicit AheadFilter(Core& core, bool dirty_only)
      : core_(core), dirty_only_(dirty_only), now_ns_(core.clock_.now_ns()) {}
  bool may_evict(SlotId slot) const override {
    const SlotNotes& notes = core_.notes_[slot];
    if (!dirty_only_) return notes.pinned_until_ns <= now_ns_;
    return !notes.chosen && !notes.writing && !notes.refused &&
           notes.write_failures < kWriteFailuresMax &&
           (core_.host_->slots()[slot].flags & kRecordHasChecksum) != 0 &&
           core_.lower_place(core_.tenant_of(slot), notes.entry) == 0;
  }

 private:
  Core& core_;
  const bool dirty_only_;
  const uint64_t now_ns_;
};

bool Core::waits_when_behind() const {
  if (!lower_.in_service) return false;
  if (config_.nvme.when_behind != WhenBehind::kAuto) {
    return config_.nvme.when_behind == WhenBehind::kWait;
  }
  // Behind by a budget, waiting would not help.
  return config_.nvme.write_budget == kUnlimited && config_.nvme.write_budget_day == kUnlimited;
}

uint64_t Core::writing_bytes_max() const {
  // A pool of a few slots must be able to write one.
  return std::min(std::max(capacity_bytes_ / kWritingShare, kWritingBytesMin),
                  std::max(capacity_bytes_ / 2, uint64_t{1}));
}

bool Core::clean_group(Tenant& tenant, SlotId slot) {
  bool clean = lower_place(tenant, notes_[slot].entry) != 0;
  each_sibling(tenant, slot, [&](SlotId sibling) {
    clean = clean && lower_place(tenant, notes_[sibling].entry) != 0;
  });
  return clean;
}

// Begins to write one chunk. `why` is set when it is refused: the counter of the reason.
Core::Down Core::demote(Tenant& tenant, SlotId slot, uint64_t CoreCounters::** why) {
  SlotNotes& note = notes_[slot];
  const auto refuse = [why](uint64_t CoreCounters::*reason) {
    *why = reason;
    return Down::kRefused;
  };
  if (lower_place(tenant, note.entry) != 0) return Down::kClean;
  if (note.writing) return Down::kUnderWay;
  const SlotRecord& record = host_->slots()[slot];
  const Space* space = find_space(tenant, record.space);
  if (space == nullptr || (record.flags & kRecordHasChecksum) == 0) {
    return refuse(&CoreCounters::dropped_unverified);
  }
  if (note.write_failures >= kWriteFailuresMax) return refuse(&CoreCounters::dropped_write_failed);
  if (!lower_.in_service) return refuse(&CoreCounters::dropped_unserved);
  if (host_->segment_of(slot).slot_bytes > lower_.tier->slot_bytes_max()) {
    return refuse(&CoreCounters::dropped_too_large);
  }
  TierChunk chunk;
  chunk.key = record.key;
  chunk.space = space->fingerprint;
  chunk.payload_bytes = record.payload_bytes;
  chunk.checksum = record.checksum;
  chunk.header_bytes = space->header_bytes;
  chunk.tokens = space->spec.tokens_per_chunk;
  chunk.position = record.position;
  const uint64_t bytes = chunk.bytes();
  if (!lower_.writes.empty() && lower_.writing_bytes + bytes > writing_bytes_max()) {
    return Down::kLater;
  }
  const uint64_t ticket = lower_.next_ticket++;
  const bool reencodes = is_reencoded_below(*space, record);
  if (reencodes) {
    if (!begin_reencode(*space, ticket, chunk, slot)) return Down::kLater;
  } else {
    const Down what = hand_down(tenant, ticket, chunk, host_->data(slot), why);
    if (what != Down::kUnderWay) return what;
  }
  note.writing = true;
  ++note.holds;
  lower_.writing_bytes += bytes;
  lower_.writes[ticket] = {tenant.number, slot, record.generation, chunk};
  return Down::kUnderWay;
}

// Begins a write of `chunk`, whose header and payload are at `data`.
Core::Down Core::hand_down(Tenant& tenant, uint64_t ticket, const TierChunk& chunk,
                           const std::byte* data, uint64_t CoreCounters::** why) {
  const auto refuse = [why](uint64_t CoreCounters::*reason) {
    *why = reason;
    return Down::kRefused;
  };
  const uint64_t slot_bytes = wire::slot_bytes_for(chunk.header_bytes + chunk.payload_bytes);
  const bool room = make_room_below(tenant, slot_bytes, chunk.bytes());
  kill_point("demote.chosen");
  const Status begun =
      lower_.tier->begin_write({ticket, tenant.number, chunk, {data, chunk.bytes()}});
  switch (begun.code()) {
    case Code::kOk:
      lower_.write_meter.begun(clock_.now_ns(), chunk.bytes());
      return Down::kUnderWay;
    case Code::kDeadline:
      lower_.budget_spent = true;
      return refuse(&CoreCounters::dropped_budget);
    case Code::kFull:
      // What was forgotten is free soon; without anything of this size below there is no hope.
      if (room) return Down::kLater;
      return lower_.writes.empty() ? refuse(&CoreCounters::dropped_lower_full) : Down::kLater;
    case Code::kUnavailable:
      if (lower_.tier->capacity().in_service) return Down::kLater;  // its queue is full
      return refuse(&CoreCounters::dropped_unserved);
    default:
      return refuse(&CoreCounters::dropped_write_failed);
  }
}

// The shards of a key go down together: refused for one, refused for all.
Core::Down Core::demote_group(Tenant& tenant, SlotId slot, uint64_t CoreCounters::** why) {
  Down worst = demote(tenant, slot, why);
  each_sibling(tenant, slot, [&](SlotId sibling) {
    if (worst != Down::kRefused) worst = std::max(worst, demote(tenant, sibling, why));
  });
  if (worst == Down::kLater) choose(tenant, slot);
  return worst;
}

// True when a chunk of a segment that is being emptied is worth waiting for.
bool Core::stays_until_written(Tenant& tenant, SlotId slot) {
  if (!lower_ || clean_group(tenant, slot)) return false;
  if (!waits_when_behind()) return notes_[slot].writing;
  uint64_t CoreCounters::*why = &CoreCounters::dropped_behind;
  if (demote_group(tenant, slot, &why) != Down::kRefused) return true;
  ++(counters_.*why);
  return false;
}

void Core::choose(Tenant& tenant, SlotId slot) {
  SlotNotes& note = notes_[slot];
  if (note.chosen || note.writing) return;
  note.chosen = true;
  lower_.chosen.push_back({tenant.number, slot, host_->slots()[slot].generation, {}});
}

// Writes what was chosen, as far as the tier takes it. Reads come first.
void Core::pump_writes() {
  if (lower_.reads_waiting.empty()) pump_encoded();
  while (!lower_.chosen.empty() && lower_.reads_waiting.empty()) {
    const Demotion next = lower_.chosen.front();
    const SlotRecord& record = host_->slots()[next.slot];
    const bool current = record.generation == next.generation &&
                         record.state.load(std::memory_order_relaxed) == SlotState::kValid;
    if (current) {
      Tenant& tenant = *tenants_[next.tenant];
      uint64_t CoreCounters::*why = nullptr;
      Down down = demote(tenant, next.slot, &why);
      each_sibling(tenant, next.slot, [&](SlotId sibling) {
        if (down != Down::kRefused) down = std::max(down, demote(tenant, sibling, &why));
      });
      if (down == Down::kLater) return;
    }
    // A refusal costs nothing yet: the chunk is dropped only when its slot is needed.
    if (record.generation == next.generation) notes_[next.slot].chosen = false;
    lower_.chosen.pop_front();
  }
}

void Core::write_ended(const TierCompletion& completion) {
  const auto write = lower_.writes.find(completion.ticket);
  const Demotion down = write->second;
  lower_.writes.erase(write);
  lower_.writing_bytes -= down.chunk.bytes();
  lower_.write_meter.ended(clock_.now_ns(), down.chunk.bytes(), completion.seconds,
                           completion.code == Code::kOk);
  Tenant& tenant = *tenants_[down.tenant];
  SlotNotes& note = notes_[down.slot];
  note.writing = false;
  const bool was_encoded = lower_.encoded.contains(completion.ticket);
  if (completion.memory_in_use) {
    lower_.given_up[completion.ticket] = {down.slot, false};
  } else {
    --note.holds;
    lower_.encoded.erase(completion.ticket);
  }
  const bool resident =
      host_->slots()[down.slot].state.load(std::memory_order_relaxed) == SlotState::kValid;
  if (completion.code != Code::kOk) {
    ++counters_.writes_failed;
    ++note.write_failures;
    return;
  }
  if (!resident || lower_place(tenant, note.entry) != 0) {
    lower_.tier->forget(completion.place);  // dropped while it was being written
    return;
  }
  attach_lower(tenant, note.entry, completion.place, down.chunk);
  kill_point("demote.attached");
  ++counters_.demoted;
  counters_.demoted_bytes += down.chunk.payload_bytes;
  if (was_encoded) {
    ++counters_.reencoded;
    counters_.reencode_saved_bytes +=
        host_->slots()[down.slot].payload_bytes - down.chunk.payload_bytes;
  }
}

size_t Core::writes_under_way(const Tenant& tenant, uint64_t slot_bytes) {
  size_t count = 0;
  for (const auto& [ticket, write] : lower_.writes) {
    if (write.tenant == tenant.number && host_->segment_of(write.slot).slot_bytes == slot_bytes) {
      ++count;
    }
  }
  return count;
}

// Slots of the size that a store finds without evicting anything.
uint64_t Core::free_ahead(const Tenant& tenant, uint64_t slot_bytes) const {
  const uint64_t room = capacity_bytes_ - std::min(host_->allocated_bytes(), capacity_bytes_);
  const uint64_t held = host_->tenant_bytes(tenant.number);
  const uint64_t quota = tenant.host_bytes_max - std::min(held, tenant.host_bytes_max);
  uint64_t free = host_->free_slots(tenant.number, slot_bytes) + std::min(room, quota) / slot_bytes;
  const uint64_t limit = config_.host.capacity_chunks;
  if (limit != kUnlimited) free = std::min(free, limit - std::min(chunks_, limit));
  return free;
}

uint64_t Core::slots_ahead(const Tenant& tenant, uint64_t slot_bytes) const {
  const uint64_t slots = std::max(host_->tenant_bytes(tenant.number) / slot_bytes, tenant.chunks);
  return std::clamp<uint64_t>(std::min(slots, config_.host.capacity_chunks) / kAheadShare, 1,
                              kAheadMax);
}

// After a slot was taken: when free ones run low, the oldest chunks are written below before their
// slots are needed. Looks once per several slots, so that a store pays for a few candidates.
void Core::keep_ahead(Tenant& tenant, uint64_t slot_bytes) {
  if (!lower_) return;
  const uint64_t ahead = slots_ahead(tenant, slot_bytes);
  uint32_t& taken = tenant.taken_since_look[slot_bytes];
  if (++taken < std::max<uint64_t>(ahead / 4, 1) || !lower_.chosen.empty()) return;
  taken = 0;
  write_oldest(tenant, slot_bytes, ahead);
}

// Sees to it that so many slots are free, or hold chunks that lie below or are being written there.
void Core::write_oldest(Tenant& tenant, uint64_t slot_bytes, uint64_t wanted) {
  if (!lower_.in_service || lower_.budget_spent) return;
  const uint64_t free = free_ahead(tenant, slot_bytes);
  if (free >= wanted) return;
  std::vector<SlotId> oldest(std::min(wanted - free, kAheadMax));
  const size_t found = policy_of(tenant, slot_bytes).victims(oldest, AheadFilter(*this, false));
  const AheadFilter dirty(*this, true);
  for (size_t i = 0; i < found; ++i) {
    if (dirty.may_evict(oldest[i]) && is_worth_writing(tenant, oldest[i]))
      choose(tenant, oldest[i]);
  }
  pump_writes();
}

// By option: a tenant that has stored nothing for a while has its chunks written below, so that a
// burst of stores finds them clean, and a power cut finds them on the medium.
void Core::demote_idle(Tenant& tenant) {
  const uint64_t after = config_.nvme.demote_idle_after_ns;
  if (after == 0 || !lower_.in_service || lower_.budget_spent || !lower_.chosen.empty() ||
      tenant.clean_chunks >= tenant.chunks || clock_.now_ns() < tenant.last_store_ns + after) {
    return;
  }
  std::vector<SlotId> dirty(kIdleBatch);
  for (auto& [slot_bytes, policy] : tenant.policies) {
    const size_t found = policy->victims(dirty, AheadFilter(*this, true));
    for (size_t i = 0; i < found; ++i) {
      if (is_worth_writing(tenant, dirty[i])) choose(tenant, dirty[i]);
    }
    if (found > 0) return;
  }
}

}  // namespace kvtier::daemon
