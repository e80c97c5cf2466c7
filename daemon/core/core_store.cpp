// Stores: reserve, grant, commit, abort, and the checks that follow. The order of writes is
// docs/protocol.md sections 3 and 8. Core thread, except the bodies of jobs.
#include <algorithm>
#include <cstring>
#include <memory>

#include "daemon/core/core.hpp"
#include "daemon/log/log.hpp"
#include "daemon/memory/guard.hpp"
#include "daemon/memory/kill_point.hpp"
#include "kernels/checksum.hpp"
#include "kvtier/wire/chunk_header.hpp"

namespace kvtier::daemon {

namespace {

using wire::CommitOutcome;
using wire::ReserveOutcome;

// How long a client should wait before it asks again: about a population job, or a lease.
constexpr uint32_t kRetryGrowingUs = 2000;
constexpr uint32_t kRetryLeasedUs = 200;
constexpr uint32_t kRetryWritingUs = 300;

// Written into `scratch`, so that it is complete before it goes into shared memory in one copy.
void compose_header(const Space& space, const ReserveRequest& request, uint32_t generation,
                    std::vector<std::byte>& scratch) {
  scratch.assign(space.header_bytes, std::byte{0});
  auto* header = reinterpret_cast<wire::ChunkHeader*>(scratch.data());
  header->magic = wire::kChunkMagic;
  header->version = 1;
  header->header_bytes = space.header_bytes;
  header->key = request.arg.key;
  header->parent = request.arg.parent;
  header->fingerprint_lo = space.fingerprint.lo;
  header->fingerprint_hi = space.fingerprint.hi;
  header->payload_bytes = request.arg.payload_bytes;
  std::memcpy(header->engine_hash, request.arg.engine_hash, sizeof header->engine_hash);
  header->tokens = static_cast<uint32_t>(request.tokens.size());
  header->extra_ids = static_cast<uint32_t>(request.extra_ids.size());
  header->position = request.arg.position;
  header->codec = request.arg.codec;
  header->generation = generation;
  if (!request.tokens.empty()) {
    std::memcpy(scratch.data() + sizeof(wire::ChunkHeader), request.tokens.data(),
                request.tokens.size_bytes());
  }
  if (!request.extra_ids.empty()) {
    std::memcpy(scratch.data() + wire::extra_ids_offset(header->tokens), request.extra_ids.data(),
                request.extra_ids.size_bytes());
  }
  header->header_checksum = XXH3_64bits(scratch.data(), scratch.size());
}

}  // namespace

bool Core::valid_reserve(const Space& space, const ReserveRequest& request) const {
  const wire::ReserveArg& arg = request.arg;
  return arg.payload_bytes > 0 && arg.payload_bytes <= space.spec.chunk_bytes_max &&
         (arg.key.lo != 0 || arg.key.hi != 0) &&
         wire::codec_fits(arg.codec, static_cast<wire::PayloadKind>(space.spec.kind)) &&
         request.tokens.size() <= space.spec.tokens_per_chunk &&
         wire::extra_ids_offset(static_cast<uint32_t>(request.tokens.size())) +
                 request.extra_ids.size() * 8 <=
             space.header_bytes;
}

void Core::reserve(Session& session, uint32_t id, std::span<const ReserveRequest> requests,
                   std::span<wire::ReserveAnswer> answers) {
  Tenant& tenant = *tenants_[session.tenant];
  Space* space = find_space(tenant, id);
  for (size_t i = 0; i < requests.size(); ++i) {
    answers[i] = {0, static_cast<uint32_t>(ReserveOutcome::kDeclined), 0};
    if (space == nullptr || session.read_only || !valid_reserve(*space, requests[i])) {
      ++counters_.invalid_requests;
      continue;
    }
    reserve_one(session, tenant, *space, requests[i], &answers[i]);
    switch (static_cast<ReserveOutcome>(answers[i].outcome)) {
      case ReserveOutcome::kGranted:
        ++counters_.reserved;
        break;
      case ReserveOutcome::kPresent:
        ++counters_.present;
        break;
      case ReserveOutcome::kInProgress:
        ++counters_.in_progress;
        break;
      case ReserveOutcome::kFull:
        ++counters_.full;
        break;
      case ReserveOutcome::kOverQuota:
        ++counters_.over_quota;
        break;
      case ReserveOutcome::kDeclined:
        ++counters_.declined;
        break;
      case ReserveOutcome::kBusy:
        ++counters_.busy;
        break;
    }
  }
  if (space != nullptr) space->last_use_ns = clock_.now_ns();
}

void Core::reserve_one(Session& session, Tenant& tenant, Space& space,
                       const ReserveRequest& request, wire::ReserveAnswer* answer) {
  const auto say = [answer](ReserveOutcome outcome) {
    answer->outcome = static_cast<uint32_t>(outcome);
  };
  if (capacity_bytes_ == 0 || draining_) return say(ReserveOutcome::kDeclined);
  const ChunkKey key = request.arg.key;
  const uint32_t entry = tenant.index->find(key, space.id);
  if (entry != kNoEntry) {
    if (!tenant.index->host_place(entry).empty()) return say(ReserveOutcome::kPresent);
    // Below only: whoever computed it again may store it, which is cheaper than to read it.
    if (tenant.promoting.contains(entry)) return say(ReserveOutcome::kInProgress);
  }
  const auto granted = granted_by_key_.find(key.lo);
  if (granted != granted_by_key_.end()) {
    const uint64_t now = clock_.now_ns();
    for (const SlotId slot : granted->second) {
      const SlotRecord& record = host_->slots()[slot];
      // A grant that takes too long (a stopped client) does not keep others from storing the chunk.
      if (record.key == key && record.space == space.id &&
          now - notes_[slot].since_ns <= config_.host.grant_stale_after_ns) {
        return say(ReserveOutcome::kInProgress);
      }
    }
  }
  const uint64_t slot_bytes = wire::slot_bytes_for(space.header_bytes + request.arg.payload_bytes);
  const SlotId slot = take_slot(tenant, slot_bytes, answer);
  if (slot == kNoSlot) return;
  if (!grant(session, tenant, space, request, slot)) {
    hole_found(tenant);
    release_slot(slot);
    return say(ReserveOutcome::kFull);
  }
  answer->place = host_->place(slot).word();
  say(ReserveOutcome::kGranted);
}

// A free slot of the size, by growing the tier while there is room, then by evicting; or the answer
// why there is none.
SlotId Core::take_slot(Tenant& tenant, uint64_t slot_bytes, wire::ReserveAnswer* answer) {
  const auto refuse = [answer](ReserveOutcome outcome, uint32_t retry_after_us) {
    answer->outcome = static_cast<uint32_t>(outcome);
    answer->retry_after_us = retry_after_us;
    return kNoSlot;
  };
  SlotId slot = host_->take(tenant.number, slot_bytes);
  const uint64_t now = clock_.now_ns();
  const bool within_quota =
      host_->tenant_bytes(tenant.number) + host_->segment_bytes_for(slot_bytes) <=
      tenant.host_bytes_max;
  tenant.last_store_ns = now;
  if (slot != kNoSlot) {
    if (within_quota) host_->grow_ahead(tenant.number, slot_bytes, now);
    keep_ahead(tenant, slot_bytes);
    return slot;
  }
  if (host_->segment_bytes_for(slot_bytes) > capacity_bytes_) {
    return refuse(ReserveOutcome::kDeclined, 0);  // the whole tier does not hold one such chunk
  }
  Growth growth = Growth::kNoRoom;
  if (within_quota || host_->growing(tenant.number, slot_bytes)) {
    growth = host_->grow(tenant.number, slot_bytes, now);
    if (growth == Growth::kStarted || growth == Growth::kUnderWay) {
      return refuse(ReserveOutcome::kBusy, kRetryGrowingUs);
    }
  }
  // Below its fair share a tenant gets memory of others, and evicts its own until that has come.
  const bool draining = make_room_for(tenant, slot_bytes);
  const size_t batch = std::max<size_t>(config_.host.reclaim_batch, 1);
  // A small pool must not lose all of itself to one batch.
  const uint64_t resident = tenant.chunks;
  const size_t wanted = std::clamp<size_t>(resident / 16, 1, batch);
  reclaim(tenant, slot_bytes, wanted);
  slot = host_->take(tenant.number, slot_bytes);
  if (slot != kNoSlot) {
    keep_ahead(tenant, slot_bytes);
    return slot;
  }
  if (reclaim_waits_) return refuse(ReserveOutcome::kBusy, kRetryWritingUs);
  tenant.pressed = true;
  if (draining) return refuse(ReserveOutcome::kBusy, kRetryGrowingUs);
  if (!tenant.retired.empty()) return refuse(ReserveOutcome::kBusy, kRetryLeasedUs);
  const bool limited = !within_quota && tenant.host_bytes_max < capacity_bytes_;
  log_event(limited ? LogCode::kQuotaReached : LogCode::kTierFull,
            "tenant {}: no room for a slot of {} bytes, and nothing that may be evicted{}",
            tenant.name, slot_bytes, limited ? "; host_share and host_max limit it" : "");
  return refuse(limited ? ReserveOutcome::kOverQuota : ReserveOutcome::kFull, 0);
}

// Records the grant, then writes the header: only then may the client learn of it. False when the
// slot's memory is gone.
bool Core::grant(Session& session, Tenant&, Space& space, const ReserveRequest& request,
                 SlotId slot) {
  SlotRecord& record = host_->slots()[slot];
  kill_point("store.claimed");
  // 0 is skipped: no place may be 0.
  record.generation = record.generation >= wire::Place::kGenerationMax ? 1 : record.generation + 1;
  record.key = request.arg.key;
  record.payload_bytes = request.arg.payload_bytes;
  record.checksum = 0;
  record.space = space.id;
  record.session = session.id;
  record.position = request.arg.position;
  record.flags = 0;
  record.state.store(SlotState::kGranted, std::memory_order_release);
  kill_point("store.granted");
  SlotNotes& note = notes(slot);
  note = SlotNotes{};
  note.since_ns = clock_.now_ns();

  compose_header(space, request, record.generation, header_scratch_);
  std::atomic_thread_fence(std::memory_order_release);  // G: the daemon writes the slot here
  std::byte* target = host_->data(slot);
  const std::byte* source = header_scratch_.data();
  const size_t bytes = header_scratch_.size();
  if (!guarded(target, bytes, [&] { std::memcpy(target, source, bytes); })) return false;
  session.grants.insert(slot);
  granted_by_key_[record.key.lo].push_back(slot);
  kill_point("store.header_written");
  return true;
}

void Core::end_grant(Session& session, SlotId slot) {
  session.grants.erase(slot);
  const auto granted = granted_by_key_.find(host_->slots()[slot].key.lo);
  if (granted == granted_by_key_.end()) return;
  std::erase(granted->second, slot);
  if (granted->second.empty()) granted_by_key_.erase(granted);
}

SlotId Core::granted_slot(Session& session, uint64_t word) const {
  const wire::Place place(word);
  const SlotId slot = host_->slot_at(session.tenant, place);
  if (slot == kNoSlot || !session.grants.contains(slot)) return kNoSlot;
  return host_->slots()[slot].generation == place.generation() ? slot : kNoSlot;
}

void Core::abort(Session& session, std::span<const wire::CommitArg> arguments) {
  for (const wire::CommitArg& argument : arguments) {
    const SlotId slot = granted_slot(session, argument.place);
    if (slot == kNoSlot) {
      ++counters_.invalid_requests;
      continue;
    }
    end_grant(session, slot);
    release_slot(slot);
    ++counters_.aborted;
  }
}

void Core::commit(Session& session, std::span<const wire::CommitArg> arguments,
                  std::span<wire::CommitAnswer> answers) {
  uint64_t slot_bytes = 0;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const SlotId slot = granted_slot(session, arguments[i].place);
    if (slot != kNoSlot) slot_bytes = host_->segment_of(slot).slot_bytes;
    answers[i] = {static_cast<uint32_t>(commit_one(session, arguments[i])), 0};
  }
  if (slot_bytes != 0) trim_to_chunk_limit(*tenants_[session.tenant], slot_bytes);
}

CommitOutcome Core::commit_one(Session& session, const wire::CommitArg& argument) {
  const SlotId slot = granted_slot(session, argument.place);
  if (slot == kNoSlot) {
    ++counters_.invalid_requests;
    return CommitOutcome::kUnknownGrant;
  }
  Tenant& tenant = *tenants_[session.tenant];
  SlotRecord& record = host_->slots()[slot];
  end_grant(session, slot);
  Space* space = find_space(tenant, record.space);
  const uint32_t known = tenant.index->find(record.key, record.space);
  if (known != kNoEntry && !tenant.index->host_place(known).empty()) {
    // Granted twice because the first writer took too long: the first commit won.
    release_slot(slot);
    return CommitOutcome::kPresent;
  }
  const bool verified = (argument.flags & wire::kCommitHasChecksum) != 0;
  kill_point("store.committing");
  if (verified && !write_checksum(slot, argument.checksum)) {
    release_slot(slot);
    return CommitOutcome::kFailed;
  }
  kill_point("store.checksum_in_record");
  record.state.store(SlotState::kValid, std::memory_order_release);
  kill_point("store.valid");
  if (space == nullptr || !publish(tenant, *space, slot, verified ? 0 : wire::kUnverified)) {
    release_slot(slot);
    return CommitOutcome::kFailed;
  }
  kill_point("store.published");
  ++counters_.committed;
  counters_.stored_bytes += record.payload_bytes;
  if (!verified) {
    ++counters_.committed_unverified;
    verify_later(tenant, slot);
  }
  return CommitOutcome::kStored;
}

bool Core::write_checksum(SlotId slot, uint64_t checksum) {
  SlotRecord& record = host_->slots()[slot];
  std::byte* data = host_->data(slot);
  auto* header = reinterpret_cast<wire::ChunkHeader*>(data);
  if (guarded(data, sizeof *header, [&] {
        header->checksum = checksum;
        header->flags = wire::kHeaderHasChecksum;
      })) {
    // A daemon killed in between leaves a chunk without a checksum in its record, which the next
    // one drops; never a record that promises what the header does not have.
    kill_point("store.checksum_in_header");
    std::atomic_thread_fence(std::memory_order_release);
    record.checksum = checksum;
    std::atomic_thread_fence(std::memory_order_release);
    record.flags |= kRecordHasChecksum;
    return true;
  }
  hole_found(tenant_of(slot));
  return false;
}

void Core::hole_found(const Tenant& tenant) {
  ++counters_.faults_guarded;
  log_event(LogCode::kHoleFound, "tenant {}: memory of its chunks has gone", tenant.name);
}

// False when the index has no room even after evicting.
bool Core::publish(Tenant& tenant, Space& space, SlotId slot, uint32_t flags) {
  const SlotRecord& record = host_->slots()[slot];
  EntryFacts facts;
  facts.key = record.key;
  facts.space = record.space;
  facts.payload_bytes = static_cast<uint32_t>(record.payload_bytes);
  facts.tokens = space.spec.tokens_per_chunk;
  facts.flags = flags;
  const wire::Place place = host_->place(slot);
  uint32_t entry = tenant.index->find(record.key, record.space);
  if (entry != kNoEntry) {
    tenant.index->set_payload_bytes(entry, facts.payload_bytes);  // below it may be another
    tenant.index->set_flags(entry, flags);
    tenant.index->set_host(entry, place);
    ++tenant.clean_chunks;
    touch_below(tenant, entry);
  } else {
    entry = tenant.index->insert(facts, place);
    if (entry == kNoEntry) {
      if (!make_index_room(tenant)) {
        reclaim(tenant, host_->segment_of(slot).slot_bytes, config_.host.reclaim_batch);
      }
      entry = tenant.index->insert(facts, place);
      if (entry == kNoEntry) return false;
    }
  }
  ++space.stored;
  tell_curve(tenant, record, false);
  published(tenant, space, slot, entry);
  return true;
}

// The books of a chunk that has just become visible in host memory.
void Core::published(Tenant& tenant, Space& space, SlotId slot, uint32_t entry) {
  const SlotRecord& record = host_->slots()[slot];
  const uint64_t slot_bytes = host_->segment_of(slot).slot_bytes;
  SlotNotes& note = notes(slot);
  note.entry = entry;
  note.since_ns = clock_.now_ns();
  note.uses = 0;
  count_use(slot);
  // One that was refused before and comes back is known.
  for (uint32_t n = lower_.admission.uses_before(record.key); n > 0; --n) count_use(slot);
  host_->slots()[slot].last_use_ns.store(note.since_ns, std::memory_order_relaxed);
  ++tenant.chunks;
  ++chunks_;
  tenant.payload_bytes += record.payload_bytes;
  tenant.used_bytes += slot_bytes;
  ++space.chunks;
  space.payload_bytes += record.payload_bytes;
  ChunkFacts chunk;
  chunk.key = record.key;
  chunk.position = record.position;
  chunk.tokens = space.spec.tokens_per_chunk;
  chunk.bytes = record.payload_bytes;
  policy_of(tenant, slot_bytes).inserted(slot, chunk);
  if (space.spec.shard == 0) tenant.curve.entered(record.key);
}

}  // namespace kvtier::daemon
