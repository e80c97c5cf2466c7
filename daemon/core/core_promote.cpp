// Upwards: a prefetch takes host slots for its whole range or is refused, the tier reads straight
// into them, a worker compares header and payload with what was recorded, and only then the chunk
// is published. One read serves all who wait for it. Core thread, except the bodies of jobs.
//
// A slot is kFilling from before its read begins until the tier has reported the end of it,
// whatever became of those who wanted it: nobody else gets memory that a device may still write.
#include <algorithm>

#include "daemon/core/core.hpp"
#include "daemon/core/core_siblings.hpp"
#include "daemon/core/promotion_check.hpp"
#include "daemon/log/log.hpp"
#include "daemon/memory/kill_point.hpp"

namespace kvtier::daemon {

namespace {

constexpr uint32_t kHeldShare = 2;  // of a tenant's memory, at most, is held by its prefetches

}  // namespace

// A chunk of a range that is not in host memory.
struct Core::Wanted {
  uint32_t entry;
  TierPlace place;  // 0: it is on its way already
  SlotId slot = kNoSlot;
};

uint32_t Core::count_resident(const Tenant& tenant, uint32_t space,
                              std::span<const ChunkKey> keys) {
  uint32_t resident = 0;
  for (const ChunkKey& key : keys) {
    const uint32_t entry = tenant.index->find(key, space);
    if (entry == kNoEntry || tenant.index->host_place(entry).empty()) break;
    ++resident;
  }
  return resident;
}

// What has to be brought; false when a key is nowhere, or the tier does not serve.
bool Core::plan_prefetch(Tenant& tenant, uint32_t space, std::span<const wire::KeyArg> keys,
                         std::vector<Wanted>* wanted, PrefetchAnswer* answer) {
  const auto want = [&](uint32_t entry) {
    if (!tenant.index->host_place(entry).empty()) return true;
    if (tenant.promoting.contains(entry)) {
      wanted->push_back({entry, 0});
      return true;
    }
    const TierPlace place = lower_place(tenant, entry);
    if (place == 0) return false;
    wanted->push_back({entry, place});
    return true;
  };
  for (const wire::KeyArg& key : keys) {
    const uint32_t entry = tenant.index->find(key.key, space);
    if (entry == kNoEntry || !want(entry)) {
      answer->status = Code::kNotFound;
      ++counters_.prefetch_absent;
      return false;
    }
    each_sibling_entry(tenant, key.key, space, want);
  }
  if (!wanted->empty() && !lower_.in_service) {
    answer->status = Code::kUnavailable;
    ++counters_.prefetch_unserved;
    return false;
  }
  return true;
}

// Slots for all that has to be read, or none.
bool Core::take_slots_for(Tenant& tenant, std::vector<Wanted>* wanted, PrefetchAnswer* answer) {
  for (const Wanted& one : *wanted) {
    if (one.place != 0) ++lower_.notes[one.place].reads;  // taking slots must not evict it
  }
  bool enough = true;
  uint64_t bytes = tenant.held_bytes;
  for (Wanted& one : *wanted) {
    if (one.place == 0) continue;
    const TierChunk chunk = lower_chunk(tenant, one.entry);
    const uint64_t slot_bytes = wire::slot_bytes_for(chunk.header_bytes + chunk.payload_bytes);
    bytes += slot_bytes;
    wire::ReserveAnswer why = {};
    if (bytes <= std::min(capacity_bytes_, tenant.host_bytes_max) / kHeldShare) {
      one.slot = take_slot(tenant, slot_bytes, &why);
    }
    if (one.slot != kNoSlot) continue;
    answer->retry_after_us = why.retry_after_us;
    enough = false;
    if (why.retry_after_us != 0) write_oldest(tenant, slot_bytes, wanted->size());
    break;
  }
  if (enough) return true;
  for (const Wanted& one : *wanted) {
    if (one.slot != kNoSlot) release_slot(one.slot);
    if (one.place != 0) read_of_place_ended(one.place);
  }
  answer->status = Code::kFull;
  ++counters_.prefetch_full;
  return false;
}

void Core::prefetch(Session& session, uint64_t user_data, uint32_t space_id,
                    std::span<const wire::KeyArg> keys, uint64_t deadline_ns) {
  ++counters_.prefetches;
  ++session.unanswered;
  Tenant& tenant = *tenants_[session.tenant];
  const uint64_t now = clock_.now_ns();
  if (deadline_ns == 0) deadline_ns = now + kPrefetchHoldNs;
  Prefetch made;
  made.session = session.id;
  made.user_data = user_data;
  made.tenant = session.tenant;
  made.space = space_id;
  made.deadline_ns = std::min(deadline_ns, now + kPrefetchHoldMaxNs);
  for (const wire::KeyArg& key : keys) made.keys.push_back(key.key);

  PrefetchAnswer answer = {session.id, user_data, Code::kOk, 0, 0};
  std::vector<Wanted> wanted;
  const auto refuse = [&] {
    answer.count = count_resident(tenant, space_id, made.keys);
    lower_.answers.push_back(answer);
  };
  if (session.prefetches >= kPrefetchesMax && !end_oldest_prefetch(session.id)) {
    answer.status = Code::kFull;
    ++counters_.prefetch_full;
    return refuse();
  }
  if (!plan_prefetch(tenant, space_id, keys, &wanted, &answer)) return refuse();
  // What is there already stays while slots are taken for the rest.
  const auto hold_resident = [&](uint32_t entry) {
    const wire::Place place = tenant.index->host_place(entry);
    if (!place.empty()) hold(made, host_->slot_at(tenant.number, place));
  };
  for (const ChunkKey& key : made.keys) {
    hold_resident(tenant.index->find(key, space_id));
    each_sibling_entry(tenant, key, space_id, hold_resident);
  }
  const uint64_t number = lower_.next_prefetch++;
  ++session.prefetches;
  const bool took = take_slots_for(tenant, &wanted, &answer);
  Prefetch& prefetch = lower_.prefetches[number] = std::move(made);
  lower_.deadlines.emplace(prefetch.deadline_ns, number);
  if (!took) {
    answer_prefetch(prefetch, answer.status);
    lower_.answers.back().retry_after_us = answer.retry_after_us;
    return end_prefetch(number, Code::kOk);
  }
  for (const Wanted& one : wanted) begin_promotion(tenant, one, number);
  if (prefetch.waiting == 0) settle_prefetch(prefetch);
  pump_reads();
  if (clock_.now_ns() >= prefetch.deadline_ns) expire_prefetches();
}

// What was brought longest ago has most likely been leased by now; if not, it is held no more.
// False when every prefetch of the session still waits for a read.
bool Core::end_oldest_prefetch(uint32_t session) {
  const auto oldest = std::find_if(
      lower_.prefetches.begin(), lower_.prefetches.end(), [session](const auto& numbered) {
        return numbered.second.session == session && numbered.second.answered;
      });
  if (oldest == lower_.prefetches.end()) return false;
  end_prefetch(oldest->first, Code::kOk);
  return true;
}

void Core::hold(Prefetch& prefetch, SlotId slot) {
  SlotNotes& note = notes(slot);
  if (note.held_until_ns == 0) {
    tenants_[prefetch.tenant]->held_bytes += host_->segment_of(slot).slot_bytes;
  }
  note.held_until_ns = std::max(note.held_until_ns, prefetch.deadline_ns);
  prefetch.held.emplace_back(slot, host_->slots()[slot].generation);
}

// Joins the read under way, or makes the slot one that a tier fills and queues the read.
void Core::begin_promotion(Tenant& tenant, const Wanted& wanted, uint64_t prefetch) {
  ++lower_.prefetches[prefetch].waiting;
  const auto under_way = tenant.promoting.find(wanted.entry);
  if (under_way != tenant.promoting.end()) {
    lower_.reads[under_way->second].waiters.push_back(prefetch);
    ++counters_.prefetch_joined;
    if (wanted.slot == kNoSlot) return;
    release_slot(wanted.slot);  // the same key twice in one range
    read_of_place_ended(wanted.place);
    return;
  }
  const EntryFacts facts = tenant.index->facts(wanted.entry);
  const TierChunk chunk = lower_chunk(tenant, wanted.entry);
  kill_point("promote.claimed");
  SlotRecord& record = host_->slots()[wanted.slot];
  record.generation = record.generation >= wire::Place::kGenerationMax ? 1 : record.generation + 1;
  record.key = chunk.key;
  record.payload_bytes = chunk.payload_bytes;
  record.checksum = chunk.checksum;
  record.space = facts.space;
  record.session = 0;
  record.position = chunk.position;
  record.flags = 0;
  record.state.store(SlotState::kFilling, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_release);  // G: the tier writes the slot
  kill_point("promote.filling");
  notes(wanted.slot) = SlotNotes{};
  notes(wanted.slot).since_ns = clock_.now_ns();
  tenant.held_bytes += host_->segment_of(wanted.slot).slot_bytes;
  const uint64_t ticket = lower_.next_ticket++;
  lower_.reads[ticket] = {tenant.number, wanted.entry, wanted.slot, wanted.place,
                          chunk,         facts.space,  {prefetch}};
  tenant.promoting[wanted.entry] = ticket;
  tenant.index->set_lower(wanted.entry, wire::kOnNvme | wire::kPromoting);
  lower_.reads_waiting.push_back(ticket);
}

// Hands reads to the tier, as many as it takes.
void Core::pump_reads() {
  while (!lower_.reads_waiting.empty()) {
    const uint64_t ticket = lower_.reads_waiting.front();
    Promotion& promotion = lower_.reads[ticket];
    if (promotion.entry == kNoEntry || promotion.waiters.empty()) {  // nobody wants it any more
      lower_.reads_waiting.pop_front();
      end_promotion(ticket, Code::kRevoked);
      continue;
    }
    const Status begun = lower_.tier->begin_read(
        {ticket, promotion.place, {host_->data(promotion.slot), promotion.chunk.bytes()}});
    if (begun.code() == Code::kUnavailable && lower_.tier->capacity().in_service) return;
    lower_.reads_waiting.pop_front();
    if (begun.ok()) {
      kill_point("promote.queued");
      lower_.meter.begun(clock_.now_ns(), promotion.chunk.bytes());
    } else {
      end_promotion(ticket, begun.code());
    }
  }
}

void Core::read_ended(const TierCompletion& completion) {
  const auto read = lower_.reads.find(completion.ticket);
  if (read == lower_.reads.end()) return;
  const bool good = completion.code == Code::kOk;
  lower_.meter.ended(clock_.now_ns(), read->second.chunk.bytes(), completion.seconds, good);
  if (good) {
    kill_point("promote.read");
    check_promotion(completion.ticket);
  } else {
    if (completion.memory_in_use) {
      lower_.given_up[completion.ticket] = {read->second.slot, true};
    }
    end_promotion(completion.ticket, completion.code);
  }
}

void Core::check_promotion(uint64_t ticket) {
  const Promotion& promotion = lower_.reads[ticket];
  auto check = std::make_shared<PromotionCheck>(PromotionCheck{
      host_->data(promotion.slot), promotion.chunk, host_->slots()[promotion.slot].generation});
  Job job;
  job.work = [check] { check->run(); };
  job.done = [this, ticket, check] {
    if (check->verdict == Verdict::kSound) return end_promotion(ticket, Code::kOk);
    ++(check->verdict == Verdict::kHeader ? counters_.corrupt_nvme_header
                                          : counters_.corrupt_nvme_checksum);
    log_event(LogCode::kTierCorrupt, "tier {}: {} of a chunk of {} bytes wrong",
              wire::tier_name(lower_.tier->kind()),
              check->verdict == Verdict::kHeader ? "the header" : "the checksum",
              check->due.payload_bytes);
    end_promotion(ticket, Code::kCorrupt);
  };
  if (!run_or_submit(executor_, promotion.chunk.bytes(), std::move(job))) {
    lower_.unchecked.push_back(ticket);
  }
}

// The read is over, and the slot the core's again: the chunk is published, or a miss.
void Core::end_promotion(uint64_t ticket, Code code) {
  const auto found = lower_.reads.find(ticket);
  Promotion promotion = std::move(found->second);
  lower_.reads.erase(found);
  Tenant& tenant = *tenants_[promotion.tenant];
  tenant.held_bytes -= host_->segment_of(promotion.slot).slot_bytes;
  read_of_place_ended(promotion.place);
  if (promotion.entry == kNoEntry && code == Code::kOk) code = Code::kRevoked;
  if (promotion.entry != kNoEntry) {
    tenant.promoting.erase(promotion.entry);
    tenant.index->set_lower(promotion.entry, wire::kOnNvme);
  }
  const bool wanted = promotion.entry != kNoEntry && code == Code::kOk;
  if (wanted && tenant.index->host_place(promotion.entry).empty()) {
    publish_promoted(promotion);
  } else if (!lower_.given_up.contains(ticket)) {
    release_slot(promotion.slot);  // stored again meanwhile, gone, or wrong
  }
  switch (code) {
    case Code::kCorrupt:
    case Code::kSystem:
    case Code::kNotFound:
      if (code == Code::kSystem) ++counters_.reads_failed;
      if (code == Code::kNotFound) ++counters_.reads_stale;
      if (promotion.entry == kNoEntry) break;
      if (tenant.index->host_place(promotion.entry).empty()) {
        remove_lower_only(tenant, {&promotion.entry, 1}, Removal::kDropped);
      } else {
        detach_lower(tenant, promotion.entry, Removal::kDropped);
      }
      break;
    case Code::kUnavailable:
      ++counters_.reads_unserved;
      break;
    default:  // published, or abandoned before it began
      break;
  }
  if (code == Code::kRevoked) code = Code::kNotFound;
  for (const uint64_t number : promotion.waiters) {
    const auto waiter = lower_.prefetches.find(number);
    if (waiter == lower_.prefetches.end()) continue;
    Prefetch& prefetch = waiter->second;
    --prefetch.waiting;
    if (code != Code::kOk && prefetch.failure == Code::kOk) prefetch.failure = code;
    const wire::Place place =
        code == Code::kOk ? tenant.index->host_place(promotion.entry) : wire::Place();
    if (!place.empty()) {
      const SlotId slot = host_->slot_at(tenant.number, place);
      hold(prefetch, slot);
      tenant.index->set_lower(promotion.entry,
                              tenant.index->lower(promotion.entry) | wire::kPromoted);
    }
    if (prefetch.waiting == 0) settle_prefetch(prefetch);
  }
}

void Core::publish_promoted(Promotion& promotion) {
  Tenant& tenant = *tenants_[promotion.tenant];
  SlotRecord& record = host_->slots()[promotion.slot];
  kill_point("promote.checked");
  record.flags = kRecordHasChecksum;
  record.state.store(SlotState::kValid, std::memory_order_release);
  kill_point("promote.valid");
  Space* space = find_space(tenant, promotion.space);
  tenant.index->set_payload_bytes(promotion.entry, static_cast<uint32_t>(record.payload_bytes));
  tenant.index->set_flags(promotion.entry, 0);
  tenant.index->set_host(promotion.entry, host_->place(promotion.slot));
  published(tenant, *space, promotion.slot, promotion.entry);
  kill_point("promote.published");
  ++tenant.clean_chunks;
  touch_below(tenant, promotion.entry);
  ++counters_.promoted;
  counters_.promoted_bytes += record.payload_bytes;
}

void Core::answer_prefetch(Prefetch& prefetch, Code status) {
  prefetch.answered = true;
  kill_point("promote.answered");
  lower_.answers.push_back(
      {prefetch.session, prefetch.user_data, status,
       count_resident(*tenants_[prefetch.tenant], prefetch.space, prefetch.keys), 0});
}

// Every read of it has ended. What it brought stays held.
void Core::settle_prefetch(Prefetch& prefetch) {
  if (prefetch.answered) return;
  Code status = prefetch.failure;
  const uint32_t resident =
      count_resident(*tenants_[prefetch.tenant], prefetch.space, prefetch.keys);
  if (status == Code::kOk && resident < prefetch.keys.size()) status = Code::kNotFound;
  answer_prefetch(prefetch, status);
}

// Lets go what it holds. `status` is the answer if there was none yet.
void Core::end_prefetch(uint64_t number, Code status) {
  const auto found = lower_.prefetches.find(number);
  Prefetch& prefetch = found->second;
  if (!prefetch.answered) answer_prefetch(prefetch, status);
  for (const auto& [slot, generation] : prefetch.held) {
    // Somebody else's longer hold stays.
    if (notes_[slot].held_until_ns != prefetch.deadline_ns ||
        host_->slots()[slot].generation != generation) {
      continue;
    }
    const uint32_t entry = notes_[slot].entry;
    const Tenant& tenant = *tenants_[prefetch.tenant];
    if (entry != UINT32_MAX && (tenant.index->lower(entry) & wire::kPromoted) != 0) {
      ++counters_.promoted_unused;
    }
    end_hold(slot);
  }
  if (prefetch.waiting > 0) {
    for (auto& [ticket, promotion] : lower_.reads) std::erase(promotion.waiters, number);
  }
  if (Session* session = find_session(prefetch.session)) --session->prefetches;
  const auto [first, last] = lower_.deadlines.equal_range(prefetch.deadline_ns);
  for (auto deadline = first; deadline != last; ++deadline) {
    if (deadline->second != number) continue;
    lower_.deadlines.erase(deadline);
    break;
  }
  lower_.prefetches.erase(found);
}

Status Core::cancel(Session& session, uint64_t user_data) {
  for (const auto& [number, prefetch] : lower_.prefetches) {
    if (prefetch.session != session.id || prefetch.user_data != user_data) continue;
    ++counters_.prefetch_cancelled;
    end_prefetch(number, Code::kRevoked);
    pump_reads();  // what nobody waits for any more and the tier has not begun
    return {};
  }
  return Error(Code::kNotFound, "no prefetch under way or held has this number");
}

void Core::end_prefetches_of(uint32_t session) {
  std::vector<uint64_t> numbers;
  for (const auto& [number, prefetch] : lower_.prefetches) {
    if (prefetch.session == session) numbers.push_back(number);
  }
  for (const uint64_t number : numbers) end_prefetch(number, Code::kUnavailable);
}

uint64_t Core::next_deadline_ns() const {
  return lower_.deadlines.empty() ? UINT64_MAX : lower_.deadlines.begin()->first;
}

void Core::expire_prefetches() {
  const uint64_t now = clock_.now_ns();
  while (!lower_.deadlines.empty() && lower_.deadlines.begin()->first <= now) {
    const uint64_t number = lower_.deadlines.begin()->second;
    if (!lower_.prefetches[number].answered) ++counters_.prefetch_late;
    end_prefetch(number, Code::kDeadline);
  }
}

void Core::forget_promotion(Tenant& tenant, uint32_t entry) {
  const auto under_way = tenant.promoting.find(entry);
  if (under_way == tenant.promoting.end()) return;
  lower_.reads[under_way->second].entry = kNoEntry;
  tenant.promoting.erase(under_way);
}

}  // namespace kvtier::daemon
