// The tier below host memory as the core sees it: which chunk lies in which place, what is evicted
// there, and the tier's turn. Core thread. Never reads a byte of a chunk itself.
#include <algorithm>
#include <array>

#include "daemon/core/core.hpp"
#include "daemon/core/core_siblings.hpp"
#include "daemon/log/log.hpp"
#include "daemon/memory/kill_point.hpp"
#include "kvtier/wire/chunk_header.hpp"

namespace kvtier::daemon {

namespace {
constexpr size_t kCompletionsPerPoll = 64;
constexpr size_t kPollsPerTurnMax = 4;
constexpr size_t kIndexRoomBatch = 64;
constexpr size_t kEvictBelowMax = 256;
constexpr uint64_t kRegisterPieceBytes = 64 * wire::MiB;
constexpr uint64_t kRegisterBytesPerTick = 4 * kRegisterPieceBytes;
constexpr size_t kLowerRoomShare = 16;  // one place in so many is kept free, at most
constexpr size_t kLowerRoomMax = 32;
}  // namespace

// Leaves out what is being read, and what is on its way up.
class Core::LowerFilter final : public VictimFilter {
 public:
  explicit LowerFilter(const Core& core) : core_(core) {}
  bool may_evict(SlotId place) const override { return core_.lower_.notes[place].reads == 0; }

 private:
  const Core& core_;
};

TierPlace Core::lower_place(const Tenant& tenant, uint32_t entry) const {
  return entry < tenant.lower.size() ? tenant.lower[entry] : 0;
}

Policy& Core::lower_policy_of(Tenant& tenant, uint64_t slot_bytes, TierPlace place) {
  std::unique_ptr<Policy>& policy =
      tenant.lower_policies[{slot_bytes, lower_.tier->device_of(place)}];
  if (policy == nullptr) policy = std::move(make_policy(config_.host.policy)).value();
  return *policy;
}

// What lies at the entry's place below, as it was recorded there.
TierChunk Core::lower_chunk(Tenant& tenant, uint32_t entry) {
  const EntryFacts facts = tenant.index->facts(entry);
  const LowerNote& note = lower_.notes[lower_place(tenant, entry)];
  const Space* space = find_space(tenant, facts.space);
  TierChunk chunk;
  chunk.key = facts.key;
  chunk.payload_bytes = note.payload_bytes;
  chunk.checksum = note.checksum;
  chunk.position = note.position;
  chunk.tokens = facts.tokens;
  if (space != nullptr) {
    chunk.space = space->fingerprint;
    chunk.header_bytes = space->header_bytes;
  }
  return chunk;
}

void Core::attach_lower(Tenant& tenant, uint32_t entry, TierPlace place, const TierChunk& chunk) {
  if (entry >= tenant.lower.size()) tenant.lower.resize(size_t{entry} + 1);
  if (place >= lower_.notes.size()) lower_.notes.resize(size_t{place} + 1);
  tenant.lower[entry] = place;
  LowerNote& note = lower_.notes[place];
  note.checksum = chunk.checksum;
  note.entry = entry;
  note.position = chunk.position;
  note.payload_bytes = static_cast<uint32_t>(chunk.payload_bytes);
  note.tenant = static_cast<uint16_t>(tenant.number);
  ++tenant.lower_chunks;
  tenant.lower_bytes += chunk.payload_bytes;
  if (!tenant.index->host_place(entry).empty()) ++tenant.clean_chunks;
  tenant.index->set_lower(entry, wire::kOnNvme);
  const uint64_t slot_bytes = wire::slot_bytes_for(chunk.header_bytes + chunk.payload_bytes);
  lower_policy_of(tenant, slot_bytes, place)
      .inserted(place, {chunk.key, chunk.position, chunk.tokens, chunk.payload_bytes});
}

// The chunk lies below no more. The caller takes the entry away if that leaves it empty. Keeps
// tenant.clean_chunks right only for entries whose host place is still there.
void Core::detach_lower(Tenant& tenant, uint32_t entry, Removal how) {
  const TierPlace place = lower_place(tenant, entry);
  if (place == 0) return;
  const TierChunk chunk = lower_chunk(tenant, entry);
  const uint64_t slot_bytes = wire::slot_bytes_for(chunk.header_bytes + chunk.payload_bytes);
  lower_policy_of(tenant, slot_bytes, place).removed(place, how);
  tenant.lower[entry] = 0;
  tenant.index->set_lower(entry, 0);
  --tenant.lower_chunks;
  tenant.lower_bytes -= chunk.payload_bytes;
  if (!tenant.index->host_place(entry).empty()) --tenant.clean_chunks;
  LowerNote& note = lower_.notes[place];
  note.entry = kNoEntry;
  // The slot of a place that is being read must not be written meanwhile: two chunks would mix.
  if (note.reads == 0) lower_.tier->forget(place);
}

void Core::read_of_place_ended(TierPlace place) {
  LowerNote& note = lower_.notes[place];
  --note.reads;
  if (note.reads == 0 && note.entry == kNoEntry) lower_.tier->forget(place);
}

// Chunks that lie below only: places and entries go (docs/protocol.md section 3, Remove).
void Core::remove_lower_only(Tenant& tenant, std::span<const uint32_t> entries, Removal how) {
  for (const uint32_t entry : entries) {
    detach_lower(tenant, entry, how);
    forget_promotion(tenant, entry);
    tenant.index->hide(entry);
    kill_point("delete.hidden");
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (const uint32_t entry : entries) tenant.index->erase(entry);
  kill_point("delete.erased");
}

// Chunks leave the places, their shards with them; how many did.
size_t Core::evict_places(std::span<const TierPlace> places) {
  std::map<TenantNumber, std::vector<uint32_t>> only_below;
  size_t gone = 0;
  for (const TierPlace place : places) {
    if (place >= lower_.notes.size() || lower_.notes[place].entry == kNoEntry) continue;
    const uint32_t entry = lower_.notes[place].entry;
    Tenant& tenant = *tenants_[lower_.notes[place].tenant];
    std::vector<uint32_t>& leaving = only_below[tenant.number];
    const auto leave = [&](uint32_t one) {
      const TierPlace its = lower_place(tenant, one);
      if (its == 0 || lower_.notes[its].reads != 0) return;
      if (std::find(leaving.begin(), leaving.end(), one) != leaving.end()) return;
      ++gone;
      ++counters_.lower_evicted;
      counters_.lower_evicted_bytes += lower_.notes[its].payload_bytes;
      if (tenant.index->host_place(one).empty()) {
        leaving.push_back(one);
      } else {
        detach_lower(tenant, one, Removal::kEvicted);
      }
    };
    const EntryFacts facts = tenant.index->facts(entry);
    each_sibling_entry(tenant, facts.key, facts.space, leave);
    leave(entry);
  }
  for (const auto& [number, entries] : only_below) {
    if (!entries.empty()) remove_lower_only(*tenants_[number], entries, Removal::kEvicted);
  }
  return gone;
}

// Makes room below: up to `count` chunks of one slot size leave, those not used for longest; of
// each device as many, since what comes free is where the next chunks are written.
size_t Core::evict_below(Tenant& tenant, uint64_t slot_bytes, size_t count) {
  std::array<SlotId, kEvictBelowMax> picked;
  count = std::min(count, picked.size());
  std::vector<Policy*> devices;
  for (auto at = tenant.lower_policies.lower_bound({slot_bytes, 0});
       at != tenant.lower_policies.end() && at->first.first == slot_bytes; ++at) {
    if (lower_.tier->serves(at->first.second)) devices.push_back(at->second.get());
  }
  size_t found = 0;
  for (size_t i = 0; i < devices.size() && found < count; ++i) {
    const size_t left = devices.size() - i;
    const size_t share = (count - found + left - 1) / left;
    found += devices[(lower_.next_victim + i) % devices.size()]->victims(
        std::span(picked).subspan(found, share), LowerFilter(*this));
  }
  ++lower_.next_victim;
  return evict_places(std::span(picked).first(found));
}

// Room for one more chunk of this size below: the tenant's own of the size make it, else the tier
// names what of others has to go.
bool Core::make_room_below(Tenant& tenant, uint64_t slot_bytes, uint64_t bytes) {
  const size_t ahead = std::clamp<size_t>(tenant.lower_chunks / kLowerRoomShare, 1, kLowerRoomMax);
  const auto roomy = [&] {
    return lower_.tier->room(tenant.number, bytes) >= std::max<size_t>(ahead / 2, 1);
  };
  if (roomy() || (evict_below(tenant, slot_bytes, ahead) > 0 && roomy())) return true;
  std::array<TierPlace, kEvictBelowMax> places;
  const size_t named = lower_.tier->make_room(tenant.number, bytes, places);
  evict_places(std::span(places).first(named));
  return lower_.tier->room(tenant.number, bytes) > 0;
}

// Entries for new chunks: those that lie below only and were not used for longest make room.
bool Core::make_index_room(Tenant& tenant) {
  for (auto& [which, policy] : tenant.lower_policies) {
    if (evict_below(tenant, which.first, kIndexRoomBatch) > 0) return true;
  }
  return false;
}

void Core::touch_below(Tenant& tenant, uint32_t entry) {
  const TierPlace place = lower_place(tenant, entry);
  if (place == 0) return;
  const TierChunk chunk = lower_chunk(tenant, entry);
  lower_policy_of(tenant, wire::slot_bytes_for(chunk.header_bytes + chunk.payload_bytes), place)
      .touched(place, lower_.notes[place].position);
}

void Core::poll_tier() {
  if (!lower_) return;
  std::array<TierCompletion, kCompletionsPerPoll> completions;
  for (size_t round = 0; round < kPollsPerTurnMax; ++round) {
    const size_t count = lower_.tier->poll(completions);
    for (size_t i = 0; i < count; ++i) transfer_ended(completions[i]);
    if (count < completions.size()) break;
  }
  note_service();
  recover_some();
  // Checks that found no room among the workers' jobs.
  std::deque<uint64_t> unchecked = std::exchange(lower_.unchecked, {});
  for (const uint64_t ticket : unchecked) check_promotion(ticket);
  pump_reads();
  pump_writes();
  scrub_some();
}

void Core::transfer_ended(const TierCompletion& completion) {
  if (scrub_read_ended(completion)) return;
  const auto late = lower_.given_up.find(completion.ticket);
  if (late != lower_.given_up.end()) {  // a device has let go of memory at last
    const GivenUp slot = late->second;
    lower_.given_up.erase(late);
    if (slot.filling) {
      release_slot(slot.slot);
    } else {
      --notes_[slot.slot].holds;
      lower_.encoded.erase(completion.ticket);
    }
  } else if (lower_.writes.contains(completion.ticket)) {
    write_ended(completion);
  } else if (lower_.reads.contains(completion.ticket)) {
    read_ended(completion);
  }
}

// The tier went out of service, or came back: readers are told, what waits for it ends.
void Core::note_service() {
  const bool in_service = lower_.tier->capacity().in_service;
  if (in_service == lower_.in_service) return;
  lower_.in_service = in_service;
  log_event(in_service ? LogCode::kTierBack : LogCode::kTierDown, "tier {}: {}",
            wire::tier_name(lower_.tier->kind()),
            in_service ? "serves again" : "out of service; what it holds counts as absent");
  publish_costs();
}

// Populated memory in pieces of whole slots, few in a turn: pages of 4 KiB take a millisecond for
// 64 MiB.
void Core::register_memory() {
  if (!lower_.registers) return;
  uint64_t left = kRegisterBytesPerTick;
  host_->each_segment([&](Segment& segment) {
    const bool is_whole = segment.populated == segment.slots;
    const auto piece =
        static_cast<uint32_t>(std::max<uint64_t>(kRegisterPieceBytes / segment.slot_bytes, 1));
    while (left > 0 && lower_.registers && !segment.draining &&
           segment.registered < segment.populated) {
      const uint32_t count = std::min(piece, segment.populated - segment.registered);
      if (count < piece && !is_whole) return;
      std::byte* begin =
          segment.memory.mapping.data() + uint64_t{segment.registered} * segment.slot_bytes;
      const uint64_t bytes = count * segment.slot_bytes;
      const Status registered = lower_.tier->register_memory({begin, bytes});
      if (!registered) {
        lower_.registers = false;
        if (registered.code() == Code::kUnsupported) return;
        log_event(
            LogCode::kTierWarning,
            "tier {}: transfers look up their pages from now on (nvme.registered_buffers): {}",
            wire::tier_name(lower_.tier->kind()), registered.error().message());
        return;
      }
      segment.registered += count;
      left -= std::min(left, bytes);
    }
  });
}

void Core::tick_tier() {
  if (!lower_) return;
  lower_.tier->tick();
  register_memory();
  scrub_some();
  for (const TierNotice& notice : lower_.tier->take_notices()) {
    log_event(notice.is_warning ? LogCode::kTierWarning : LogCode::kTierNotice, "tier {}: {}",
              wire::tier_name(lower_.tier->kind()), notice.text);
  }
  lower_.budget_spent = false;
  for (const std::unique_ptr<Tenant>& tenant : tenants_) {
    if (tenant->held_bytes == 0) continue;
    stamp_leased(*tenant);  // what was leased needs no hold any more
  }
  expire_prefetches();
  for (const std::unique_ptr<Tenant>& tenant : tenants_) demote_idle(*tenant);
  poll_tier();
}

}  // namespace kvtier::daemon
