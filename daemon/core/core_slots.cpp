// How slots come free: victims by policy, unpublishing, the scan of the lease cells, retirement and
// revocation. The order of steps is docs/protocol.md section 4. Core thread.
#include <algorithm>
#include <array>

#include "daemon/core/core.hpp"
#include "daemon/core/core_siblings.hpp"
#include "daemon/log/log.hpp"
#include "daemon/memory/kill_point.hpp"

namespace kvtier::daemon {

namespace {
constexpr size_t kReclaimBatchMax = 256;
// How far clean chunks are preferred: past so many older ones that would have to be written first.
constexpr size_t kLookPerVictim = 4;
constexpr size_t kLookMin = 32;
}  // namespace

// Leaves out what somebody uses: leased at the last scan, pinned, brought for somebody, read by a
// job or by the tier below.
class Core::EvictionFilter final : public VictimFilter {
 public:
  explicit EvictionFilter(Core& core) : core_(core), now_ns_(core.clock_.now_ns()) {}
  bool may_evict(SlotId slot) const override {
    const SlotNotes& notes = core_.notes_[slot];
    return notes.leased_stamp != core_.stamp_ && notes.holds == 0 &&
           notes.pinned_until_ns <= now_ns_ && notes.held_until_ns <= now_ns_;
  }

 private:
  Core& core_;
  uint64_t now_ns_;
};

Core::SlotNotes& Core::notes(SlotId slot) {
  if (slot >= notes_.size()) notes_.resize(size_t{slot} + 1);
  return notes_[slot];
}

Policy& Core::policy_of(Tenant& tenant, uint64_t slot_bytes) {
  std::unique_ptr<Policy>& policy = tenant.policies[slot_bytes];
  if (policy == nullptr) policy = std::move(make_policy(config_.host.policy)).value();
  return *policy;
}

Tenant& Core::tenant_of(SlotId slot) {
  return *tenants_[host_->segment_of(slot).tenant];
}

// Marks every slot that a lease cell of the tenant's sessions names. Call after a fence that
// follows the unpublishing of what is to be freed.
void Core::stamp_leased(const Tenant& tenant) {
  ++stamp_;
  ++counters_.reclaim_scans;
  for (const auto& [id, session] : sessions_) {
    if (session->tenant != tenant.number) continue;
    const uint32_t used = session->memory.cells_used();
    for (uint32_t i = 0; i < used; ++i) {
      const uint64_t word = session->memory.cell(i);
      if (word == 0) continue;
      const SlotId slot = host_->slot_at(tenant.number, wire::Place(word));
      if (slot == kNoSlot || slot >= notes_.size()) continue;
      if (!session->revoked_cells.empty()) {
        const auto revoked = session->revoked_cells.find(i);
        if (revoked != session->revoked_cells.end()) {
          if (revoked->second == word) continue;
          session->revoked_cells.erase(revoked);
        }
      }
      notes_[slot].leased_stamp = stamp_;
      if (notes_[slot].held_until_ns != 0) end_hold(slot);
    }
  }
}

// What a prefetch brought and held has been used, or nobody wants it any more.
void Core::end_hold(SlotId slot) {
  SlotNotes& note = notes_[slot];
  note.held_until_ns = 0;
  Tenant& tenant = tenant_of(slot);
  tenant.held_bytes -= host_->segment_of(slot).slot_bytes;
  if (note.entry == UINT32_MAX) return;
  const uint32_t lower = tenant.index->lower(note.entry);
  if ((lower & wire::kPromoted) != 0) {
    tenant.index->set_lower(note.entry, lower & ~wire::kPromoted);
  }
}

// No reader finds the chunk in host memory any more; its slot, and its entry unless it is kept
// because the chunk lies below, too, are not free before free_or_retire().
void Core::unpublish(Tenant& tenant, SlotId slot, Removal how, Below below) {
  const SlotRecord& record = host_->slots()[slot];
  SlotNotes& note = notes(slot);
  if (note.held_until_ns != 0) end_hold(slot);
  tenant.index->clear_host(note.entry);
  const bool clean = lower_place(tenant, note.entry) != 0;
  kill_point(clean ? "evict.unpublished" : "drop.unpublished");
  if (clean) --tenant.clean_chunks;
  if (clean && below == Below::kForget) detach_lower(tenant, note.entry, how);
  if (const TierPlace place = lower_place(tenant, note.entry); place != 0) {
    if (lower_.notes[place].payload_bytes != record.payload_bytes) {
      lower_.resized.emplace_back(tenant.number, note.entry);
    }
    note.entry = UINT32_MAX;
  } else {
    forget_promotion(tenant, note.entry);
    tenant.index->hide(note.entry);
  }
  const uint64_t slot_bytes = host_->segment_of(slot).slot_bytes;
  policy_of(tenant, slot_bytes).removed(slot, how);
  --tenant.chunks;
  --chunks_;
  tenant.payload_bytes -= record.payload_bytes;
  tenant.used_bytes -= slot_bytes;
  if (Space* space = find_space(tenant, record.space)) {
    if (space->spec.shard == 0) tenant.curve.left(record.key);
    --space->chunks;
    space->payload_bytes -= record.payload_bytes;
  }
  note.pinned_until_ns = 0;
  host_->slots()[slot].state.store(SlotState::kRetired, std::memory_order_release);
  kill_point(clean ? "evict.retired" : "drop.retired");
}

// After the fence that follows unpublish(): entries of chunks that have another size below get
// that.
void Core::resize_entries() {
  for (const auto& [number, entry] : std::exchange(lower_.resized, {})) {
    Tenant& tenant = *tenants_[number];
    const TierPlace place = lower_place(tenant, entry);
    if (place == 0 || !tenant.index->host_place(entry).empty()) continue;
    tenant.index->set_payload_bytes(entry, lower_.notes[place].payload_bytes);
  }
}

// After the fence that follows unpublish(): the entry, unless the chunk lives on below.
void Core::erase_entry(Tenant& tenant, SlotId slot) {
  SlotNotes& note = notes_[slot];
  if (note.entry != UINT32_MAX) tenant.index->erase(note.entry);
  note.entry = UINT32_MAX;
}

bool Core::may_be_freed(SlotId slot) {
  return notes_[slot].leased_stamp != stamp_ && notes_[slot].holds == 0;
}

// For slots just unpublished: the fence, the scan, and what follows. Frees earlier retired slots by
// the same scan. Returns how many slots came free.
size_t Core::free_or_retire(Tenant& tenant, std::span<const SlotId> slots) {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // D
  resize_entries();
  stamp_leased(tenant);
  size_t freed = 0;
  const uint64_t now = clock_.now_ns();
  for (const SlotId slot : slots) {
    SlotNotes& note = notes_[slot];
    erase_entry(tenant, slot);
    if (may_be_freed(slot)) {
      release_slot(slot);
      ++freed;
    } else {
      note.since_ns = now;
      tenant.retired.push_back(slot);
      ++counters_.retired;
    }
  }
  // Those just retired stay by the same stamp.
  return freed + std::erase_if(tenant.retired, [this](SlotId slot) {
           if (!may_be_freed(slot)) return false;
           release_slot(slot);
           return true;
         });
}

size_t Core::sweep_retired(Tenant& tenant) {
  return tenant.retired.empty() ? 0 : free_or_retire(tenant, {});
}

void Core::release_slot(SlotId slot) {
  notes(slot) = SlotNotes{};
  host_->give_back(slot);
  kill_point("host.freed");
}

// Not in the index; freed by a later scan that finds no lease on it.
void Core::retire_slot(SlotId slot) {
  host_->slots()[slot].state.store(SlotState::kRetired, std::memory_order_release);
  notes(slot).since_ns = clock_.now_ns();
  tenant_of(slot).retired.push_back(slot);
}

size_t Core::drop_slots(Tenant& tenant, std::span<const SlotId> slots, Removal how, Below below) {
  for (const SlotId slot : slots) unpublish(tenant, slot, how, below);
  return free_or_retire(tenant, slots);
}

void Core::take_victim(Tenant& tenant, SlotId slot, std::vector<SlotId>* victims) {
  const auto take = [&](SlotId one) {
    counters_.evicted_bytes += host_->slots()[one].payload_bytes;
    ++counters_.evicted;
    unpublish(tenant, one, Removal::kEvicted);
    victims->push_back(one);
  };
  each_sibling(tenant, slot, take);
  take(slot);
}

// Evicts up to `count` chunks of one slot size; the shards of a key go together. Returns how many
// left host memory; their slots come free at once unless leased. With a tier below, chunks that lie
// there go first; the others are written there before they go, or dropped when they cannot be.
size_t Core::reclaim(Tenant& tenant, uint64_t slot_bytes, size_t count) {
  drain_all_touches(tenant);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  stamp_leased(tenant);  // the first look: victims seen leased are left out
  std::array<SlotId, kReclaimBatchMax> picked;
  const EvictionFilter filter(*this);
  const size_t looked = lower_ ? std::max(count * kLookPerVictim, kLookMin) : count;
  const size_t found =
      policy_of(tenant, slot_bytes)
          .victims(std::span(picked).first(std::min(looked, picked.size())), filter);
  std::vector<SlotId> victims;
  victims.reserve(found);
  const auto resident = [this](SlotId slot) {  // not gone as another's sibling
    return host_->slots()[slot].state.load(std::memory_order_relaxed) == SlotState::kValid;
  };
  for (size_t i = 0; i < found && victims.size() < count; ++i) {
    if (!resident(picked[i]) || (lower_ && !clean_group(tenant, picked[i]))) continue;
    take_victim(tenant, picked[i], &victims);
  }
  const bool waits = lower_ && waits_when_behind();
  size_t waiting = waits ? writes_under_way(tenant, slot_bytes) : 0;
  for (size_t i = 0; lower_ && i < found && victims.size() + waiting < count; ++i) {
    if (!resident(picked[i])) continue;
    uint64_t CoreCounters::*why = lower_.budget_spent || notes_[picked[i]].refused
                                      ? &CoreCounters::dropped_budget
                                      : &CoreCounters::dropped_behind;
    if (!lower_.in_service) {
      why = &CoreCounters::dropped_unserved;
    } else if (waits && demote_group(tenant, picked[i], &why) != Down::kRefused) {
      ++waiting;
      continue;
    }
    ++(counters_.*why);
    take_victim(tenant, picked[i], &victims);
  }
  reclaim_waits_ = waiting > 0;
  free_or_retire(tenant, victims);
  return victims.size();
}

// Holds the tier to host.capacity_chunks: what was just published may push others out.
void Core::trim_to_chunk_limit(Tenant& tenant, uint64_t slot_bytes) {
  const uint64_t limit = config_.host.capacity_chunks;
  if (chunks_ <= limit) return;
  while (chunks_ > limit && reclaim(tenant, slot_bytes, chunks_ - limit) > 0) {
  }
  for (const std::unique_ptr<Tenant>& other : tenants_) {
    for (auto& [bytes, policy] : other->policies) {
      while (chunks_ > limit && reclaim(*other, bytes, chunks_ - limit) > 0) {
      }
    }
  }
}

void Core::drain_all_touches(const Tenant& tenant) {
  for (const auto& [id, session] : sessions_) {
    if (session->tenant == tenant.number) drain_touches(*session);
  }
}

void Core::drain_touches(Session& session) {
  wire::SessionHeader& header = session.memory.header();
  const uint32_t entries = session.memory.layout().touch_entries;
  const uint32_t tail = header.touch_tail.load(std::memory_order_acquire);
  // A client that runs over its own log loses its oldest touches, nothing else.
  if (tail - session.touch_head > entries) session.touch_head = tail - entries;
  Tenant& tenant = *tenants_[session.tenant];
  for (; session.touch_head != tail; ++session.touch_head) {
    const wire::Place place(session.memory.touch(session.touch_head));
    const SlotId slot = host_->slot_at(session.tenant, place);
    const SlotRecord* record = slot == kNoSlot ? nullptr : &host_->slots()[slot];
    if (record == nullptr || record->generation != place.generation() ||
        record->state.load(std::memory_order_relaxed) != SlotState::kValid) {
      ++counters_.touches_stale;
      continue;
    }
    touch_slot(tenant, slot);
  }
  header.touch_head.store(tail, std::memory_order_release);
}

void Core::touch_slot(Tenant& tenant, SlotId slot) {
  ++counters_.touches;
  const uint64_t now = clock_.now_ns();
  const auto touch = [&](SlotId one) {
    policy_of(tenant, host_->segment_of(one).slot_bytes).touched(one, host_->slots()[one].position);
    notes_[one].since_ns = now;
    count_use(one);
    host_->slots()[one].last_use_ns.store(now, std::memory_order_relaxed);
    if (notes_[one].held_until_ns != 0) end_hold(one);
    touch_below(tenant, notes_[one].entry);
  };
  tell_curve(tenant, host_->slots()[slot], true);
  touch(slot);
  each_sibling(tenant, slot, touch);
}

// Takes a slot from readers that held it too long: they learn it before anybody writes there.
void Core::revoke(Tenant& tenant, SlotId slot) {
  for (const auto& [id, session] : sessions_) {
    if (session->tenant != tenant.number) continue;
    bool held = false;
    const uint32_t used = session->memory.cells_used();
    for (uint32_t i = 0; i < used; ++i) {
      const uint64_t word = session->memory.cell(i);
      if (word == 0 || host_->slot_at(tenant.number, wire::Place(word)) != slot) continue;
      session->revoked_cells[i] = word;
      held = true;
    }
    if (!held) continue;
    ++session->revocations;
    ++counters_.revoked;
    log_event(LogCode::kLeaseRevoked, "tenant {}: process {} held segment {} slot {} too long",
              tenant.name, session->pid, host_->place(slot).segment(), host_->place(slot).slot());
    session->memory.header().revocations.fetch_add(1, std::memory_order_release);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);  // V
}

// Leases older than host.lease_max on slots that are needed end here: a stopped client must not
// hold a tier for ever.
void Core::revoke_overdue(Tenant& tenant) {
  const uint64_t now = clock_.now_ns();
  const uint64_t limit = config_.host.lease_max_ns;
  std::vector<SlotId> overdue;
  for (const SlotId slot : tenant.retired) {
    if (notes_[slot].holds == 0 && now - notes_[slot].since_ns > limit) overdue.push_back(slot);
  }
  for (const SlotId slot : overdue) {
    revoke(tenant, slot);
    std::erase(tenant.retired, slot);
    release_slot(slot);
  }
  if (!tenant.pressed && !tenant.aging) return;
  // Nothing could be evicted lately: look how long the leased chunks have been so. Once begun, the
  // looking goes on until no lease has an age, so that two short leases do not count as a long one.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  stamp_leased(tenant);
  std::vector<SlotId> stuck;
  const uint32_t now_ms = std::max(static_cast<uint32_t>(now / 1'000'000), 1u);
  tenant.aging = false;
  for (SlotId slot = 0; slot < notes_.size(); ++slot) {
    SlotNotes& note = notes_[slot];
    if (note.entry == UINT32_MAX || &tenant_of(slot) != &tenant) continue;
    if (note.leased_stamp != stamp_) {
      note.leased_since_ms = 0;
      continue;
    }
    if (note.leased_since_ms == 0) note.leased_since_ms = now_ms;
    tenant.aging = true;
    if (tenant.pressed && uint64_t{now_ms - note.leased_since_ms} * 1'000'000 > limit &&
        note.holds == 0)
      stuck.push_back(slot);
  }
  if (stuck.empty()) return;
  for (const SlotId slot : stuck) {
    ++counters_.evicted;
    counters_.evicted_bytes += host_->slots()[slot].payload_bytes;
    unpublish(tenant, slot, Removal::kEvicted);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (const SlotId slot : stuck) {
    erase_entry(tenant, slot);
    revoke(tenant, slot);
    release_slot(slot);
  }
}

}  // namespace kvtier::daemon
