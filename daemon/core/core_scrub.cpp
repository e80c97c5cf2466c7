// Scrubbing: what lies below is read and compared at a rate, one chunk at a time and only while no
// reader waits, so that damage is found before a prompt needs the bytes. Core thread, except the
// bodies of jobs.
#include <algorithm>
#include <cstdlib>

#include "daemon/core/core.hpp"
#include "daemon/core/promotion_check.hpp"
#include "daemon/log/log.hpp"

namespace kvtier::daemon {

namespace {
constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr size_t kPlacesPerTurn = 4096;  // that are looked at, most of them empty
}  // namespace

Status Core::scrub(uint64_t bytes_per_second) {
  if (!lower_) return Error(Code::kUnsupported, "there is no tier below host memory to scrub");
  Scrub& scrub = lower_.scrub;
  const uint64_t passes = scrub.counts.passes;
  scrub.rate = bytes_per_second;
  scrub.counts.running = bytes_per_second != 0;
  if (bytes_per_second == 0) return {};
  scrub.next = 0;
  scrub.credit_bytes = 0;
  scrub.credited_ns = clock_.now_ns();
  scrub.counts = {};
  scrub.counts.running = true;
  scrub.counts.passes = passes;
  return {};
}

// One more read, when the rate and everybody else allow it.
void Core::scrub_some() {
  Scrub& scrub = lower_.scrub;
  const uint64_t now = clock_.now_ns();
  const uint64_t rate = scrub.counts.running ? scrub.rate : config_.nvme.scrub_rate;
  if (rate == 0 || lower_.recovering || !lower_.in_service) return;
  if (!scrub.counts.running) static_cast<void>(this->scrub(rate));
  const uint64_t passed_ns = std::min(now - scrub.credited_ns, kSecondNs);
  const uint64_t earned = rate / 1000 * (passed_ns / 1'000'000);
  if (earned > 0) {
    scrub.credited_ns = now;
    // Saved up for a second, or for the largest chunk at a low rate.
    const uint64_t most = std::max(rate, uint64_t{wire::kChunkBytesMax} + wire::MiB);
    scrub.credit_bytes = std::min(scrub.credit_bytes + earned, most);
  }
  if (scrub.ticket != Scrub::kNoTicket || scrub.is_device_late) return;
  if (!lower_.reads_waiting.empty()) return;
  for (size_t looked = 0; looked < kPlacesPerTurn; ++looked) {
    if (scrub.next >= lower_.notes.size()) return end_scrub();
    const LowerNote& note = lower_.notes[scrub.next];
    if (note.entry != kNoEntry && note.reads == 0) {
      if (!begin_scrub(scrub.next)) return;  // later
      ++scrub.next;
      return;
    }
    ++scrub.next;
  }
}

bool Core::begin_scrub(TierPlace place) {
  Scrub& scrub = lower_.scrub;
  LowerNote& note = lower_.notes[place];
  Tenant& tenant = *tenants_[note.tenant];
  const TierChunk chunk = lower_chunk(tenant, note.entry);
  const uint64_t bytes = chunk.bytes();
  if (chunk.header_bytes == 0) return true;  // its space has gone; so will it
  if (scrub.credit_bytes < bytes) return false;
  if (scrub.memory_bytes < bytes) {
    const uint64_t wanted = wire::round_up(bytes, wire::kPageBytes);
    scrub.memory = {static_cast<std::byte*>(std::aligned_alloc(wire::kPageBytes, wanted)),
                    &std::free};
    scrub.memory_bytes = scrub.memory == nullptr ? 0 : wanted;
    if (scrub.memory == nullptr) return false;
  }
  const uint64_t ticket = lower_.next_ticket++;
  const Status begun = lower_.tier->begin_read({ticket, place, {scrub.memory.get(), bytes}});
  if (!begun) return begun.code() != Code::kUnavailable;
  ++note.reads;
  scrub.credit_bytes -= bytes;
  scrub.ticket = ticket;
  scrub.place = place;
  return true;
}

// True when the transfer was the scrub's.
bool Core::scrub_read_ended(const TierCompletion& completion) {
  Scrub& scrub = lower_.scrub;
  if (completion.ticket != scrub.ticket || scrub.ticket == Scrub::kNoTicket) return false;
  if (scrub.is_device_late) {  // now the memory is the scrub's again
    scrub.is_device_late = false;
    scrub.ticket = Scrub::kNoTicket;
    return true;
  }
  const LowerNote& note = lower_.notes[scrub.place];
  if (completion.memory_in_use) {
    scrub.is_device_late = true;
    read_of_place_ended(scrub.place);
    return true;
  }
  if (completion.code != Code::kOk || note.entry == kNoEntry) {
    // A read that failed says more of the device, which judges itself, than of the chunk.
    scrub.ticket = Scrub::kNoTicket;
    read_of_place_ended(scrub.place);
    return true;
  }
  auto check = std::make_shared<PromotionCheck>(
      PromotionCheck{scrub.memory.get(), lower_chunk(*tenants_[note.tenant], note.entry), 1});
  Job job;
  job.work = [check] { check->run(); };
  job.done = [this, check] { scrub_checked(check->due, check->verdict); };
  if (!run_or_submit(executor_, check->due.bytes(), std::move(job))) {
    scrub.ticket =
        Scrub::kNoTicket;  // workers are busy; this chunk's turn comes with the next pass
    read_of_place_ended(scrub.place);
  }
  return true;
}

void Core::scrub_checked(const TierChunk& due, Verdict verdict) {
  Scrub& scrub = lower_.scrub;
  scrub.ticket = Scrub::kNoTicket;
  ++scrub.counts.checked;
  scrub.counts.bytes += due.bytes();
  ++counters_.scrubbed;
  const uint32_t entry = lower_.notes[scrub.place].entry;
  Tenant& tenant = *tenants_[lower_.notes[scrub.place].tenant];
  read_of_place_ended(scrub.place);
  if (verdict != Verdict::kSound && entry != kNoEntry) drop_damaged(tenant, entry, due, verdict);
  scrub_some();  // not only with the next tick: that would be a chunk a tick, whatever the rate
}

void Core::drop_damaged(Tenant& tenant, uint32_t entry, const TierChunk& due, Verdict verdict) {
  ++lower_.scrub.counts.bad;
  ++(verdict == Verdict::kHeader ? counters_.corrupt_nvme_header : counters_.corrupt_nvme_checksum);
  log_event(LogCode::kTierCorrupt, "tier {}: {} of a chunk of {} bytes wrong, found by scrubbing",
            wire::tier_name(lower_.tier->kind()),
            verdict == Verdict::kHeader ? "the header" : "the checksum", due.payload_bytes);
  if (tenant.index->host_place(entry).empty()) {
    remove_lower_only(tenant, {&entry, 1}, Removal::kDropped);
  } else {
    detach_lower(tenant, entry, Removal::kDropped);
  }
}

void Core::end_scrub() {
  Scrub& scrub = lower_.scrub;
  ++scrub.counts.passes;
  if (scrub.counts.checked > 0) {
    log_event(LogCode::kTierNotice, "tier {}: scrubbed, {} chunks of {} bytes, {} of them wrong",
              wire::tier_name(lower_.tier->kind()), scrub.counts.checked, scrub.counts.bytes,
              scrub.counts.bad);
  }
  if (config_.nvme.scrub_rate != 0) {  // the next pass, at the configured rate
    scrub.rate = config_.nvme.scrub_rate;
    scrub.next = 0;
    return;
  }
  scrub.counts.running = false;
  scrub.rate = 0;
  if (!scrub.is_device_late) {
    scrub.memory.reset();
    scrub.memory_bytes = 0;
  }
}

}  // namespace kvtier::daemon
