// What becomes of each slot of the daemon before. Its state says what may still happen to its
// bytes; docs/protocol.md section 8 has the table. Core thread, at a warm start.
#include <algorithm>

#include "daemon/core/adoption.hpp"
#include "daemon/core/core.hpp"
#include "daemon/log/log.hpp"
#include "daemon/memory/kill_point.hpp"

namespace kvtier::daemon {

namespace {
// A read that the daemon before had asked a device for may still arrive in the slot, long after the
// process: the kernel holds the pages. Nobody says when it has let go; so many times what a device
// is given for a transfer in service (a minute by default, as long as kernels try) is waited.
constexpr uint64_t kFillingHoldTimeouts = 40;
constexpr size_t kAhead = 12;  // chunks between fetching a line and using it
}  // namespace

void Core::adopt_slots(Adoption& adoption) {
  notes_.resize(host_->slots().high_water());
  for (const std::unique_ptr<Tenant>& tenant : tenants_) {
    stamp_leased(*tenant);
    host_->each_segment([&](const Segment& segment) {
      if (segment.tenant != tenant->number) return;
      for (SlotId slot = segment.first; slot < segment.first + segment.slots; ++slot) {
        adopt_slot(adoption, *tenant, segment, slot);
      }
    });
    publish_adopted(adoption, *tenant);
  }
  kill_point("adopt.adopted");
  host_->each_segment([&](Segment& segment) { host_->settle(segment); });
}

void Core::adopt_slot(Adoption& adoption, Tenant& tenant, const Segment& segment, SlotId slot) {
  SlotRecord& record = host_->slots()[slot];
  const SlotState state = record.state.load(std::memory_order_acquire);
  switch (state) {
    case SlotState::kUnused:
      return;
    case SlotState::kFree:
    case SlotState::kRetired:
      return hold_or_free(tenant, slot);
    case SlotState::kGranted:
      return adopt_grant(adoption, tenant, slot);
    case SlotState::kFilling:
      fillings_.emplace_back(clock_.now_ns() + kFillingHoldTimeouts * config_.nvme.io_timeout_ns,
                             slot);
      return;
    case SlotState::kQuarantined:
      return;
    case SlotState::kValid:
      break;
    default:  // no state at all: never used again
      record.state.store(SlotState::kQuarantined, std::memory_order_release);
      return;
  }
  if (record.space != adoption.space_id || adoption.space == nullptr) {
    adoption.space_id = record.space;
    adoption.space = find_space(tenant, record.space);
  }
  const Space* space = adoption.space;
  const bool whole = (record.flags & kRecordHasChecksum) != 0 && space != nullptr &&
                     (record.key.lo != 0 || record.key.hi != 0) && record.payload_bytes != 0 &&
                     record.payload_bytes <= segment.slot_bytes &&
                     space->header_bytes + record.payload_bytes <= segment.slot_bytes &&
                     record.payload_bytes <= space->spec.chunk_bytes_max;
  if (!whole || !is_served(tenant)) {
    ++counters_.adopt_dropped;
    return hold_or_free(tenant, slot);
  }
  adoption.chunks.push_back(
      {record.last_use_ns.load(std::memory_order_relaxed), slot, record.position});
}

// Stays with the session that it was granted to, which may be copying into it right now.
void Core::adopt_grant(const Adoption& adoption, Tenant& tenant, SlotId slot) {
  SlotRecord& record = host_->slots()[slot];
  Session* session = find_session(record.session);
  if (session != nullptr && session->tenant == tenant.number) {
    session->grants.insert(slot);
    granted_by_key_[record.key.lo].push_back(slot);
    notes_[slot].since_ns = clock_.now_ns();
    return;
  }
  if (adoption.is_ending(record.session)) return hold_or_free(tenant, slot);
  // Nobody knows whose it is, so nobody can say when it is done with it.
  record.state.store(SlotState::kQuarantined, std::memory_order_release);
}

// Holds no chunk. A slot that an old lease cell names is held all the same: its reader may not have
// looked at the epoch yet.
void Core::hold_or_free(Tenant& tenant, SlotId slot) {
  SlotRecord& record = host_->slots()[slot];
  if (notes_[slot].leased_stamp != stamp_) {
    record.state.store(SlotState::kFree, std::memory_order_release);
    return;
  }
  record.state.store(SlotState::kRetired, std::memory_order_release);
  notes_[slot].since_ns = clock_.now_ns();
  tenant.retired.push_back(slot);
}

// Into index and policy in the order of their last use; of one path, used at one moment, the head
// comes last, so that it outlives its tail.
void Core::publish_adopted(Adoption& adoption, Tenant& tenant) {
  std::vector<Adoption::Chunk> chunks = std::exchange(adoption.chunks, {});
  std::sort(chunks.begin(), chunks.end(),
            [](const Adoption::Chunk& left, const Adoption::Chunk& right) {
              if (left.last_use_ns != right.last_use_ns)
                return left.last_use_ns < right.last_use_ns;
              if (left.position != right.position) return left.position > right.position;
              return left.slot < right.slot;
            });
  const uint64_t now = clock_.now_ns();
  const size_t room = tenant.index->entries_max() - tenant.index->entries_used();
  size_t left_out = chunks.size() > room ? chunks.size() - room : 0;  // the coldest
  rechecks_.reserve(rechecks_.size() + chunks.size() - left_out);
  tenant.index->expect(chunks.size());
  for (size_t i = 0; i < chunks.size(); ++i) {
    // Records and buckets lie all over; without this the loop would wait for each.
    if (i + 2 * kAhead < chunks.size()) {
      __builtin_prefetch(&host_->slots()[chunks[i + 2 * kAhead].slot]);
      const SlotRecord& soon = host_->slots()[chunks[i + kAhead].slot];
      tenant.index->prefetch(soon.key, soon.space);
    }
    const Adoption::Chunk& chunk = chunks[i];
    const SlotRecord& record = host_->slots()[chunk.slot];
    Space* space = find_space(tenant, record.space);
    EntryFacts facts;
    facts.key = record.key;
    facts.space = record.space;
    facts.payload_bytes = static_cast<uint32_t>(record.payload_bytes);
    facts.tokens = space->spec.tokens_per_chunk;
    facts.flags = wire::kCheckOnLoad;
    uint32_t entry = kNoEntry;
    if (left_out > 0) {
      --left_out;
    } else if (tenant.index->find(record.key, record.space) == kNoEntry) {
      entry = tenant.index->insert(facts, host_->place(chunk.slot));
    }
    if (entry == kNoEntry) {
      ++counters_.adopt_dropped;
      hold_or_free(tenant, chunk.slot);
      continue;
    }
    SlotNotes& note = notes_[chunk.slot];
    note.entry = entry;
    note.since_ns = std::min(chunk.last_use_ns, now);
    const uint64_t slot_bytes = host_->segment_of(chunk.slot).slot_bytes;
    ++counters_.adopted;
    ++tenant.chunks;
    ++chunks_;
    tenant.payload_bytes += record.payload_bytes;
    tenant.used_bytes += slot_bytes;
    ++space->chunks;
    space->payload_bytes += record.payload_bytes;
    policy_of(tenant, slot_bytes)
        .inserted(chunk.slot, {record.key, record.position, facts.tokens, record.payload_bytes});
    rechecks_.push_back({chunk.slot, record.generation});
    kill_point("adopt.published");
  }
}

// Whether anybody can attach to the tenant under this configuration.
bool Core::is_served(const Tenant& tenant) const {
  const std::string& name = tenant.name;
  for (const TenantConfig& listed : config_.tenant) {
    if (listed.name == name) return true;
  }
  if (!name.starts_with("uid-") || config_.tenants.unlisted == UnlistedUids::kRefuse) return false;
  const auto uid = static_cast<uint32_t>(std::strtoul(name.c_str() + 4, nullptr, 10));
  return std::none_of(config_.tenant.begin(), config_.tenant.end(), [uid](const TenantConfig& one) {
    return std::find(one.uids.begin(), one.uids.end(), uid) != one.uids.end();
  });
}

// Gives back what this configuration does not allow: tenants that nobody can reach, more than a
// tenant's or the whole tier's capacity. The coldest segments go first.
void Core::drain_surplus() {
  struct Candidate {
    uint64_t used_ns;
    TenantNumber tenant;
    uint32_t number;
    uint64_t bytes;
  };
  std::vector<Candidate> segments;
  std::vector<uint64_t> bytes_of(tenants_.size(), 0);
  uint64_t bytes = 0;
  host_->each_segment([&](const Segment& segment) {
    segments.push_back(
        {mean_use_ns(segment), segment.tenant, segment.number, segment.accounted_bytes});
    bytes_of[segment.tenant] += segment.accounted_bytes;
    bytes += segment.accounted_bytes;
  });
  std::sort(segments.begin(), segments.end(), [](const Candidate& left, const Candidate& right) {
    return left.used_ns < right.used_ns;
  });
  for (const Candidate& one : segments) {
    const Tenant& owner = *tenants_[one.tenant];
    if (bytes <= capacity_bytes_ && bytes_of[one.tenant] <= owner.host_bytes_max &&
        is_served(owner)) {
      continue;
    }
    bytes -= one.bytes;
    bytes_of[one.tenant] -= one.bytes;
    if (Segment* segment = host_->find_segment(one.tenant, one.number)) drain_segment(*segment);
  }
  for (const std::unique_ptr<Tenant>& tenant : tenants_) {
    for (auto& [slot_bytes, policy] : tenant->policies) trim_to_chunk_limit(*tenant, slot_bytes);
  }
}

// Reads that the daemon before began have arrived by now, or never will.
void Core::release_fillings() {
  if (fillings_.empty()) return;
  const uint64_t now = clock_.now_ns();
  std::erase_if(fillings_, [&](const std::pair<uint64_t, SlotId>& filling) {
    if (now < filling.first) return false;
    retire_slot(filling.second);
    return true;
  });
}

}  // namespace kvtier::daemon
