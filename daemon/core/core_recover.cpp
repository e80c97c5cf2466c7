// After a restart: what the tier below has found on its medium becomes index entries, in pieces
// between turns, while the daemon serves. A chunk's space is known by its fingerprint until a
// client opens it. Core thread. Believes nothing but the record: the bytes are checked when they
// are read.
#include <array>

#include "daemon/core/core.hpp"
#include "daemon/log/log.hpp"
#include "daemon/memory/kill_point.hpp"
#include "kvtier/wire/chunk_header.hpp"

namespace kvtier::daemon {

namespace {
constexpr size_t kRecordsPerTurn = 1024;
}  // namespace

// Tenants that had chunks: they must be known before their chunks are handed over.
void Core::know_recovered_tenants() {
  for (const std::string& name : lower_.tier->recovered_tenants()) {
    const Result<TenantNumber> made = make_tenant(name, limits_of(name));
    if (!made.ok()) {
      log_event(LogCode::kTierWarning, "chunks of tenant {} stay unused: {}", name,
                made.error().message());
      continue;
    }
  }
}

// The space with the record's fingerprint; a new one that no client has opened yet, or null.
Space* Core::space_of_record(Tenant& tenant, const TierChunk& chunk) {
  for (const std::unique_ptr<Space>& space : tenant.spaces) {
    if (space->fingerprint == chunk.space) return space.get();
  }
  if (tenant.spaces.size() >= tenant.spaces_max) return nullptr;
  auto space = std::make_unique<Space>();
  space->id = next_space_++;
  space->number = static_cast<uint32_t>(tenant.spaces.size());
  space->fingerprint = chunk.space;
  space->header_bytes = chunk.header_bytes;
  space->spec.tokens_per_chunk = chunk.tokens;
  space->last_use_ns = clock_.now_ns();
  tenant.spaces.push_back(std::move(space));
  return tenant.spaces.back().get();
}

bool Core::take_record(const TierRecord& record) {
  const TierChunk& chunk = record.chunk;
  Tenant& tenant = *tenants_[record.tenant];
  if (chunk.payload_bytes == 0 || chunk.payload_bytes > wire::kChunkBytesMax || chunk.tokens == 0 ||
      chunk.tokens > wire::kTokensPerChunkMax ||
      chunk.header_bytes != wire::header_bytes_for(chunk.tokens)) {
    return false;
  }
  const Space* space = space_of_record(tenant, chunk);
  if (space == nullptr || space->header_bytes != chunk.header_bytes) return false;
  uint32_t entry = tenant.index->find(chunk.key, space->id);
  if (entry != kNoEntry && lower_place(tenant, entry) != 0) return false;
  if (entry == kNoEntry) {
    EntryFacts facts;
    facts.key = chunk.key;
    facts.space = space->id;
    facts.payload_bytes = static_cast<uint32_t>(chunk.payload_bytes);
    facts.tokens = chunk.tokens;
    entry = tenant.index->insert(facts, wire::Place());
    if (entry == kNoEntry) return false;
  }
  attach_lower(tenant, entry, record.place, chunk);
  kill_point("recover.attached");
  return true;
}

void Core::recover_some() {
  if (!lower_.recovering) return;
  if (!lower_.tenants_known) know_recovered_tenants();
  lower_.tenants_known = true;
  std::vector<TierRecord> records(kRecordsPerTurn);
  const size_t count = lower_.tier->recovered(records);
  for (size_t i = 0; i < count; ++i) {
    if (records[i].tenant < tenants_.size() && take_record(records[i])) {
      ++counters_.lower_recovered;
    } else {
      lower_.tier->forget(records[i].place);
    }
  }
  lower_.recovered_last = count;
  lower_.recovering = count > 0 || lower_.tier->recovering();
  if (lower_.recovering) return;
  log_event(LogCode::kTierRecovered, "tier {}: {} chunks of an earlier daemon are back",
            wire::tier_name(lower_.tier->kind()), counters_.lower_recovered);
}

uint64_t Core::tier_wait_ns() const {
  if (!lower_) return UINT64_MAX;
  constexpr uint64_t kMillisecondNs = 1'000'000;
  if (lower_.recovering) return lower_.recovered_last > 0 ? 0 : kMillisecondNs;
  return lower_.tier->completion_fd() < 0 && tier_active() ? 0 : UINT64_MAX;
}

}  // namespace kvtier::daemon
