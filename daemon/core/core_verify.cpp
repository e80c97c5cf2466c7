// Checksums that the daemon makes or checks itself, on workers: chunks committed without one, and
// chunks that a client found wrong. Core thread, except the bodies of jobs.
#include <memory>

#include "daemon/core/core.hpp"
#include "daemon/log/log.hpp"
#include "daemon/memory/guard.hpp"
#include "kernels/checksum.hpp"

namespace kvtier::daemon {

namespace {

// What a job reads of a slot, and what it brings back. The slot is held meanwhile.
struct HashJob {
  const std::byte* payload;
  uint64_t bytes;
  bool readable = false;
  uint64_t root = 0;

  void run() {
    readable = guarded(payload, bytes, [this] { root = kernels::hash_only(payload, bytes); });
  }
};

}  // namespace

void Core::verify_later(Tenant& tenant, SlotId slot) {
  const SlotRecord& record = host_->slots()[slot];
  const Space* space = find_space(tenant, record.space);
  if (space == nullptr) return;
  auto hash = std::make_shared<HashJob>(
      HashJob{host_->data(slot) + space->header_bytes, record.payload_bytes});
  Job job;
  job.work = [hash] { hash->run(); };
  job.done = [this, number = tenant.number, slot, generation = record.generation, hash] {
    verified(*tenants_[number], slot, generation, hash->readable, hash->root);
  };
  if (executor_.submit(std::move(job))) {
    ++notes(slot).holds;
  } else {
    unverified_.push_back(slot);
  }
}

void Core::verified(Tenant& tenant, SlotId slot, uint32_t generation, bool readable,
                    uint64_t root) {
  --notes(slot).holds;
  SlotRecord& record = host_->slots()[slot];
  if (record.generation != generation ||
      record.state.load(std::memory_order_relaxed) != SlotState::kValid) {
    return;  // evicted meanwhile; the sweep of retired slots frees it
  }
  if (!readable || !write_checksum(slot, root)) {
    const SlotId slots[] = {slot};
    hole_found(tenant);
    drop_slots(tenant, slots, Removal::kDropped);
    return;
  }
  ++counters_.verified_later;
  tenant.index->set_flags(notes(slot).entry, 0);
}

void Core::bad_chunk(Session& session, wire::Place place, wire::BadKind kind) {
  Tenant& tenant = *tenants_[session.tenant];
  const SlotId slot = host_->slot_at(session.tenant, place);
  if (slot == kNoSlot || host_->slots()[slot].generation != place.generation() ||
      host_->slots()[slot].state.load(std::memory_order_relaxed) != SlotState::kValid) {
    return;  // gone already
  }
  ++(kind == wire::BadKind::kHeader ? counters_.corrupt_header : counters_.corrupt_checksum);
  ++counters_.quarantined;
  log_event(LogCode::kChunkCorrupt, "tenant {}: process {} found {} of segment {} slot {} wrong",
            tenant.name, session.pid,
            kind == wire::BadKind::kHeader ? "the header" : "the checksum", place.segment(),
            place.slot());
  quarantine(tenant, slot);
  confirm_quarantine(tenant, slot);
}

void Core::quarantine(Tenant& tenant, SlotId slot) {
  unpublish(tenant, slot, Removal::kDropped);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  erase_entry(tenant, slot);  // kept if the chunk lies below: those bytes are checked by themselves
  host_->slots()[slot].state.store(SlotState::kQuarantined, std::memory_order_release);
}

// A slot whose bytes prove right after all (the client's copy went wrong, or it lied) comes back;
// one that is really wrong stays out of use.
void Core::confirm_quarantine(Tenant& tenant, SlotId slot) {
  const SlotRecord& record = host_->slots()[slot];
  const Space* space = find_space(tenant, record.space);
  if (space == nullptr || (record.flags & kRecordHasChecksum) == 0) return;
  auto hash = std::make_shared<HashJob>(
      HashJob{host_->data(slot) + space->header_bytes, record.payload_bytes});
  Job job;
  job.work = [hash] { hash->run(); };
  job.done = [this, number = tenant.number, slot, hash] {
    SlotRecord& checked = host_->slots()[slot];
    --notes(slot).holds;
    if (!hash->readable || hash->root != checked.checksum) return;
    checked.state.store(SlotState::kRetired, std::memory_order_release);
    notes(slot).since_ns = clock_.now_ns();
    tenants_[number]->retired.push_back(slot);
  };
  if (executor_.submit(std::move(job))) ++notes(slot).holds;
}

}  // namespace kvtier::daemon
