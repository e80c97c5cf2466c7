// What operators ask of the core: snapshots, chunks, flushing. Core thread, between turns.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include "daemon/config/show.hpp"
#include "daemon/core/core.hpp"
#include "daemon/core/show_meter.hpp"
#include "daemon/memory/guard.hpp"
#include "kvtier/version.hpp"
#include "kvtier/wire/chunk_header.hpp"

namespace kvtier::daemon {

namespace {

constexpr size_t kKeyDigits = 32;
constexpr size_t kKeyDigitsMin = 8;

std::string hex(ChunkKey key) {
  char text[kKeyDigits + 1];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(key.hi),
                static_cast<unsigned long long>(key.lo));
  return text;
}

double seconds_since(uint64_t then_ns, uint64_t now_ns) {
  return static_cast<double>(now_ns - std::min(then_ns, now_ns)) * 1e-9;
}

const char* state_name(SlotState state, bool has_checksum) {
  switch (state) {
    case SlotState::kValid:
      return has_checksum ? "valid" : "unverified";
    case SlotState::kGranted:
      return "granted";
    case SlotState::kQuarantined:
      return "quarantined";
    case SlotState::kRetired:
      return "retired";
    case SlotState::kFilling:
      return "filling";
    case SlotState::kFree:
      return "free";
    case SlotState::kUnused:
      return "unused";
  }
  return "unknown";
}

void add_counters(const wire::SessionHeader& header, ClientCounters& sum) {
  for (size_t i = 0; i < wire::kCountersMax; ++i) {
    sum[i] += header.counters[i].load(std::memory_order_relaxed);
  }
}

}  // namespace

ChunkSnapshot Core::describe(SlotId slot) {
  const SlotRecord& record = host_->slots()[slot];
  const Segment& segment = host_->segment_of(slot);
  const SlotNotes& note = notes(slot);
  ChunkSnapshot chunk;
  chunk.found = true;
  chunk.tenant = tenants_[segment.tenant]->name;
  chunk.space = record.space;
  chunk.key = hex(record.key);
  wire::ChunkHeader header = {};
  const std::byte* data = host_->data(slot);
  if (guarded(data, sizeof header, [&] { std::memcpy(&header, data, sizeof header); })) {
    chunk.parent = hex(header.parent);
    chunk.tokens = header.tokens;
  }
  chunk.tier = "host";
  chunk.has_checksum = (record.flags & kRecordHasChecksum) != 0;
  chunk.state = state_name(record.state.load(std::memory_order_relaxed), chunk.has_checksum);
  chunk.position = record.position;
  chunk.generation = record.generation;
  chunk.segment = segment.number;
  chunk.slot = slot - segment.first;
  chunk.payload_bytes = record.payload_bytes;
  chunk.checksum = record.checksum;
  const uint64_t now = clock_.now_ns();
  chunk.pinned = note.pinned_until_ns > now;
  chunk.idle_seconds = seconds_since(note.since_ns, now);
  for (const auto& [id, session] : sessions_) {
    if (session->tenant != segment.tenant) continue;
    const uint32_t used = session->memory.cells_used();
    for (uint32_t i = 0; i < used; ++i) {
      const uint64_t word = session->memory.cell(i);
      if (word != 0 && host_->slot_at(segment.tenant, wire::Place(word)) == slot) ++chunk.leases;
    }
  }
  return chunk;
}

std::string Core::key_digits(ChunkKey key) {
  return hex(key);
}

// The keys that begin with the digits.
bool Core::key_range(const std::string& key, KeyRange* range, Status* status) {
  if (key.size() < kKeyDigitsMin || key.size() > kKeyDigits ||
      key.find_first_not_of("0123456789abcdef") != std::string::npos) {
    *status = Error::format(Code::kInvalidArgument,
                            "'%.40s' is no key: %zu to %zu hexadecimal digits are", key.c_str(),
                            kKeyDigitsMin, kKeyDigits);
    return false;
  }
  const std::string low = key + std::string(kKeyDigits - key.size(), '0');
  const std::string high = key + std::string(kKeyDigits - key.size(), 'f');
  const auto number = [](const std::string& digits, size_t first) {
    return std::strtoull(digits.substr(first, 16).c_str(), nullptr, 16);
  };
  range->first = {number(low, 0), number(low, 16)};
  range->last = {number(high, 0), number(high, 16)};
  return true;
}

// Slots whose chunk's key begins with the digits; all of one key, or an error. A whole key is
// looked up; a head of one is compared with every slot, as numbers, so that even large tiers take a
// moment.
std::vector<SlotId> Core::slots_of_key(const std::string& key, Status* status) {
  std::vector<SlotId> slots;
  KeyRange range;
  if (!key_range(key, &range, status)) return slots;
  const auto& [begin, end] = range;
  if (begin == end) {
    const ChunkKey whole = {begin.second, begin.first};
    for (const std::unique_ptr<Tenant>& tenant : tenants_) {
      for (const std::unique_ptr<Space>& space : tenant->spaces) {
        const uint32_t entry = tenant->index->find(whole, space->id);
        if (entry == kNoEntry || tenant->index->host_place(entry).empty()) continue;
        slots.push_back(host_->slot_at(tenant->number, tenant->index->host_place(entry)));
      }
    }
    if (!slots.empty()) return slots;
  }
  std::optional<ChunkKey> found;
  host_->each_segment([&](const Segment& segment) {
    for (SlotId slot = segment.first; slot < segment.first + segment.slots; ++slot) {
      const SlotRecord& record = host_->slots()[slot];
      const std::pair<uint64_t, uint64_t> candidate = {record.key.hi, record.key.lo};
      if (candidate < begin || candidate > end) continue;
      const SlotState state = record.state.load(std::memory_order_relaxed);
      if (state != SlotState::kValid && state != SlotState::kGranted &&
          state != SlotState::kQuarantined) {
        continue;
      }
      if (found.has_value() && *found != record.key) {
        *status = Error::format(Code::kInvalidArgument,
                                "more than one key begins with %s: give more digits", key.c_str());
      }
      found = record.key;
      slots.push_back(slot);
    }
  });
  if (!status->ok()) slots.clear();
  return slots;
}

std::vector<ChunkSnapshot> Core::show_chunk(const std::string& key) {
  Status status;
  std::vector<ChunkSnapshot> chunks;
  for (const SlotId slot : slots_of_key(key, &status)) chunks.push_back(describe(slot));
  KeyRange range;
  if (!status.ok() || !lower_ || !key_range(key, &range, &status)) return chunks;
  for (const auto& [tenant, entry] : lower_entries_between(range)) {
    ChunkSnapshot below = describe_lower(tenant, entry);
    if (!chunks.empty() && chunks.front().key != below.key) return {};  // more than one key
    chunks.push_back(std::move(below));
  }
  return chunks;
}

std::vector<ChunkSnapshot> Core::list_chunks(size_t count) {
  std::vector<SlotId> slots;
  host_->each_segment([&](const Segment& segment) {
    for (SlotId slot = segment.first; slot < segment.first + segment.slots; ++slot) {
      if (host_->slots()[slot].state.load(std::memory_order_relaxed) == SlotState::kValid) {
        slots.push_back(slot);
      }
    }
  });
  const size_t shown = std::min(count, slots.size());
  std::partial_sort(
      slots.begin(), slots.begin() + static_cast<std::ptrdiff_t>(shown), slots.end(),
      [this](SlotId left, SlotId right) { return notes_[left].since_ns > notes_[right].since_ns; });
  std::vector<ChunkSnapshot> chunks;
  for (size_t i = 0; i < shown; ++i) chunks.push_back(describe(slots[i]));
  return chunks;
}

Result<uint64_t> Core::act_on_chunk(const std::string& key, ChunkAction action,
                                    double pin_seconds) {
  Status status;
  const std::vector<SlotId> slots = slots_of_key(key, &status);
  if (!status.ok()) return status.error();
  uint64_t acted = 0;
  for (const SlotId slot : slots) {
    if (host_->slots()[slot].state.load(std::memory_order_relaxed) != SlotState::kValid) continue;
    switch (action) {
      case ChunkAction::kDrop: {
        const SlotId one[] = {slot};
        ++counters_.dropped;
        drop_slots(tenant_of(slot), one, Removal::kDropped, Below::kForget);
        break;
      }
      case ChunkAction::kPin:
        notes(slot).pinned_until_ns =
            clock_.now_ns() + static_cast<uint64_t>(std::clamp(pin_seconds, 0.0, 1e9) * 1e9);
        break;
      case ChunkAction::kUnpin:
        notes(slot).pinned_until_ns = 0;
        break;
    }
    ++acted;
  }
  KeyRange range;
  if (lower_ && action == ChunkAction::kDrop && key_range(key, &range, &status)) {
    for (const auto& [number, entry] : lower_entries_between(range)) {
      Tenant& tenant = *tenants_[number];
      if (lower_.notes[lower_place(tenant, entry)].reads > 0) continue;
      remove_lower_only(tenant, {&entry, 1}, Removal::kDropped);
      ++counters_.dropped;
      ++acted;
    }
  }
  if (acted == 0) return Error::format(Code::kNotFound, "no chunk has the key %s", key.c_str());
  return acted;
}

Result<uint64_t> Core::flush(const std::string& name) {
  uint64_t dropped = 0;
  bool known = name.empty();
  const uint64_t now = clock_.now_ns();
  for (const std::unique_ptr<Tenant>& tenant : tenants_) {
    if (!name.empty() && tenant->name != name) continue;
    known = true;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    stamp_leased(*tenant);
    std::vector<SlotId> slots;
    host_->each_segment([&](const Segment& segment) {
      if (segment.tenant != tenant->number) return;
      for (SlotId slot = segment.first; slot < segment.first + segment.slots; ++slot) {
        if (host_->slots()[slot].state.load(std::memory_order_relaxed) == SlotState::kValid &&
            notes(slot).leased_stamp != stamp_ && notes(slot).pinned_until_ns <= now) {
          slots.push_back(slot);
        }
      }
    });
    dropped += slots.size();
    drop_slots(*tenant, slots, Removal::kDropped, Below::kForget);
    dropped += drop_lower_only(*tenant);
  }
  if (!known) return Error::format(Code::kNotFound, "no tenant is named '%s'", name.c_str());
  counters_.dropped += dropped;
  lower_.flushed_below = lower_.next_ticket;
  lower_.flush_settles = 0;
  return dropped;
}

// What was being written or read below at that moment is forgotten when that ends.
bool Core::flush_settled() {
  if (!lower_) return true;
  const auto is_before = [this](const auto& transfer) {
    return transfer.first < lower_.flushed_below;
  };
  if (std::any_of(lower_.writes.begin(), lower_.writes.end(), is_before) ||
      std::any_of(lower_.reads.begin(), lower_.reads.end(), is_before)) {
    return false;
  }
  if (lower_.flush_settles == 0) lower_.flush_settles = lower_.tier->settle();
  return lower_.tier->settled(lower_.flush_settles);
}

std::string Core::config_text() {
  return show_config(config_);
}

Result<std::vector<std::string>> Core::reload_config() {
  if (!reload_) return Error(Code::kUnsupported, "this daemon was started without a file");
  Result<std::vector<std::string>> changed = reload_();
  if (!changed.ok()) ++counters_.config_reload_failures;
  return changed;
}

CoreSnapshot Core::snapshot() {
  CoreSnapshot snapshot;
  snapshot.version = KVTIER_VERSION;
  snapshot.protocol_min = protocol_min_;
  snapshot.protocol_max = protocol_max_;
  snapshot.epoch = epoch_;
  snapshot.uptime_seconds = seconds_since(started_ns_, clock_.now_ns());
  snapshot.start_mode = start_mode_;
  snapshot.start_reason = start_reason_;
  fill_tiers(snapshot);
  fill_tenants(snapshot);
  fill_sessions(snapshot);
  snapshot.counters = counters_;
  snapshot.plans = {.recorded = plans_.recorded(),
                    .records_lost = plans_.lost(),
                    .measured = plans_.ends(),
                    .error_p50 = plans_.error(0.5),
                    .error_p99 = plans_.error(0.99)};
  if (!host_->message().empty()) {
    snapshot.problems.push_back("host memory: " + host_->message() +
                                " (see kvtier doctor for limits)");
  }
  snapshot.keeper = ledger_.kind();
  if (std::string trouble = ledger_.trouble(); !trouble.empty()) {
    snapshot.keeper_trouble = trouble;
    snapshot.problems.push_back(std::move(trouble));
  }
  const TierSnapshot& host = snapshot.tiers.front();
  if (host.quarantined_slots > 0) {
    snapshot.problems.push_back(
        std::to_string(host.quarantined_slots) +
        " host slots are quarantined for wrong bytes: check the memory of this machine");
  }
  if (lower_ && !lower_.in_service) {
    snapshot.problems.push_back("the nvme tier is out of service: see kvtier tier list, the log");
  }
  for (const TierDevice& device : snapshot.tiers.back().devices) {
    if (device.reason.empty()) continue;
    snapshot.problems.push_back("nvme: " + device.name +
                                (device.state == "failed" ? " cannot be used: " : " is out: ") +
                                device.reason);
  }
  for (const std::unique_ptr<Tenant>& tenant : tenants_) {
    for (const std::unique_ptr<Space>& space : tenant->spaces) {
      if (std::string text = why_not_below(*space); !text.empty()) {
        snapshot.problems.push_back("tenant " + tenant->name + ": " + text);
        break;  // one of a tenant tells enough
      }
    }
  }
  snapshot.health = draining_ ? "draining" : snapshot.problems.empty() ? "good" : "degraded";
  return snapshot;
}

std::vector<LoggedPlan> Core::explain(const std::string& select, size_t count) {
  for (const auto& [id, session] : sessions_) drain_plans(*session);
  return plans_.find(select, count);
}

void Core::fill_tiers(CoreSnapshot& snapshot) {
  TierSnapshot tier;
  tier.name = "host";
  tier.state = capacity_bytes_ == 0 ? "off" : "on";
  if (capacity_bytes_ == 0) tier.reason = "host.capacity or host.capacity_chunks is 0";
  tier.capacity_bytes = capacity_bytes_;
  tier.capacity_chunks = config_.host.capacity_chunks;
  tier.allocated_bytes = host_->allocated_bytes();
  tier.unlocked_bytes = host_->unlocked_bytes();
  tier.huge_pages = host_->huge_pages();
  tier.policy = config_.host.policy;
  fill_meter(host_meter_, clock_.now_ns(), &tier);
  tier.evictions = counters_.evicted;
  const uint64_t now = clock_.now_ns();
  host_->each_segment([&](const Segment& segment) {
    ++tier.segments;
    for (SlotId slot = segment.first; slot < segment.first + segment.slots; ++slot) {
      switch (host_->slots()[slot].state.load(std::memory_order_relaxed)) {
        case SlotState::kGranted:
          ++tier.granted_slots;
          break;
        case SlotState::kRetired:
          ++tier.retired_slots;
          break;
        case SlotState::kQuarantined:
          ++tier.quarantined_slots;
          break;
        case SlotState::kValid:
          if (notes(slot).pinned_until_ns > now) ++tier.pinned_chunks;
          break;
        default:
          break;
      }
    }
  });
  for (const std::unique_ptr<Tenant>& tenant : tenants_) {
    tier.chunks += tenant->chunks;
    tier.payload_bytes += tenant->payload_bytes;
    tier.used_bytes += tenant->used_bytes;
  }
  snapshot.tiers.push_back(std::move(tier));
  snapshot.tiers.push_back(show_lower());
}

void Core::fill_tenants(CoreSnapshot& snapshot) {
  const uint64_t now = clock_.now_ns();
  for (const std::unique_ptr<Tenant>& tenant : tenants_) {
    TenantSnapshot shown;
    shown.name = tenant->name;
    shown.number = tenant->number;
    shown.host_bytes = host_->tenant_bytes(tenant->number);
    shown.host_bytes_max = tenant->host_bytes_max;
    shown.chunks = tenant->chunks;
    shown.payload_bytes = tenant->payload_bytes;
    shown.index_entries = tenant->index->entries_used();
    shown.index_entries_max = tenant->index->entries_max();
    shown.index_bytes = tenant->index->bytes();
    shown.index_overflows = tenant->index->bucket_overflows();
    shown.sessions = tenant->sessions;
    shown.spaces = static_cast<uint32_t>(tenant->spaces.size());
    shown.counters = tenant->ended_counters;
    for (const auto& [id, session] : sessions_) {
      if (session->tenant == tenant->number) {
        add_counters(session->memory.header(), shown.counters);
      }
    }
    snapshot.tenants.push_back(std::move(shown));
    for (const std::unique_ptr<Space>& space : tenant->spaces) {
      SpaceSnapshot item;
      item.id = space->id;
      item.tenant = tenant->name;
      item.model = space->spec.model;
      item.dtype = space->spec.dtype;
      item.layout = space->spec.layout;
      item.isa = space->spec.isa;
      item.layers = space->spec.layers;
      item.kv_heads = space->spec.kv_heads;
      item.head_dim = space->spec.head_dim;
      item.tokens_per_chunk = space->spec.tokens_per_chunk;
      item.shard = space->spec.shard;
      item.shards = space->spec.shards;
      item.typed = space->spec.kind == static_cast<uint32_t>(wire::PayloadKind::kTyped);
      item.chunk_bytes = space->spec.chunk_bytes_max;
      item.slot_bytes = space->slot_bytes;
      item.chunks = space->chunks;
      item.payload_bytes = space->payload_bytes;
      item.stored = space->stored;
      item.idle_seconds = seconds_since(space->last_use_ns, now);
      const PrefillCost::Fit fit = space->prefill.fit(now);
      item.prefill_samples = space->prefill.samples(now);
      item.prefill_s_per_token = item.prefill_samples == 0 ? 0 : fit.a;
      item.prefill_s_per_pair = fit.b;
      item.prefill_s_per_call = fit.g;
      snapshot.spaces.push_back(std::move(item));
    }
  }
}

void Core::fill_sessions(CoreSnapshot& snapshot) {
  const uint64_t now = clock_.now_ns();
  for (const auto& [id, session] : sessions_) {
    SessionSnapshot shown;
    shown.id = id;
    shown.tenant = tenants_[session->tenant]->name;
    shown.name = session->name;
    shown.pid = session->pid;
    shown.uid = session->uid;
    shown.state = session->state == SessionState::kAttached   ? "attached"
                  : session->state == SessionState::kOrphaned ? "orphaned"
                                                              : "killed";
    shown.read_only = session->read_only;
    shown.age_seconds = seconds_since(session->attached_ns, now);
    const uint32_t used = session->memory.cells_used();
    for (uint32_t i = 0; i < used; ++i) {
      if (session->memory.cell(i) != 0) ++shown.leases;
    }
    shown.grants = session->grants.size();
    shown.revocations = session->revocations;
    shown.requests = session->requests;
    shown.protocol_errors = session->protocol_errors;
    add_counters(session->memory.header(), shown.counters);
    snapshot.sessions.push_back(std::move(shown));
  }
}

}  // namespace kvtier::daemon
