// How a core starts: cold, or on the memory of the daemon before. Tables first (tenants, spaces,
// segments, sessions), then every slot by its state (core_adopt_slots.cpp). An error before the end
// leaves nothing that anybody knows of, and the start is cold. A daemon killed anywhere in here
// leaves what the next one can start from: each change of a slot or row is whole by itself, and
// each is one that the next start would make again. Core thread.
#include <algorithm>
#include <cstring>

#include "daemon/core/adoption.hpp"
#include "daemon/core/core.hpp"
#include "daemon/log/log.hpp"

namespace kvtier::daemon {

namespace {

template <size_t N>
bool is_terminated(const char (&text)[N]) {
  return std::memchr(text, 0, N) != nullptr;
}

uint64_t check_of(const wire::KeySecret& secret) {
  return XXH3_64bits(secret.bytes, sizeof secret.bytes);
}

Error damaged(const char* what) {
  return Error::format(Code::kCorrupt, "the manifest's %s make no sense", what);
}

}  // namespace

void Core::say_start(const std::string& mode, const std::string& reason) {
  start_mode_ = mode;
  start_reason_ = reason;
  log_event(LogCode::kStartMode, "{}: {}; kept by: {}", mode, reason, ledger_.kind());
  ledger_.serve();
}

Status Core::start_cold(const HostTierOptions& host, const std::string& reason) {
  Result<std::unique_ptr<HostTier>> tier = HostTier::create(host, executor_, *this);
  if (!tier.ok()) return tier.error();
  host_ = std::move(tier).value();
  Status begun = ledger_.begin(host_->slots().memory().fd, kSlotTableLayout, epoch_);
  if (!begun.ok()) return begun;
  say_start("cold", reason);
  return {};
}

Status Core::start_warm(const HostTierOptions& host, KeptFds& kept) {
  const uint64_t began_ns = clock_.now_ns();
  Fd table = kept.take(Ledger::manifest_name());
  Fd records = kept.take(Ledger::slots_name());
  if (!table || !records) return Error(Code::kNotFound, "no manifest or no slot table was kept");
  Result<std::unique_ptr<Manifest>> opened = Manifest::adopt(std::move(table), kSlotTableLayout);
  if (!opened.ok()) return opened.error();
  Manifest& manifest = **opened;
  Result<std::unique_ptr<SlotTable>> slots = SlotTable::adopt(std::move(records), epoch_);
  if (!slots.ok()) return slots.error();
  HostTierOptions options = host;
  options.next_uid = manifest.header().next_uid.load(std::memory_order_relaxed);
  Result<std::unique_ptr<HostTier>> tier =
      HostTier::adopt(options, executor_, *this, std::move(slots).value());
  if (!tier.ok()) return tier.error();
  host_ = std::move(tier).value();
  next_session_ = std::max(1u, manifest.header().next_session.load(std::memory_order_relaxed));
  const bool orderly = manifest.header().orderly.exchange(0, std::memory_order_relaxed) == 1;
  manifest.header().epoch.store(epoch_, std::memory_order_relaxed);
  ledger_.go_on(std::move(opened).value());

  adopting_ = true;
  Adoption adoption;
  if (Status s = adopt_tenants(manifest); !s) return s;
  if (Status s = adopt_spaces(manifest); !s) return s;
  if (Status s = adopt_sessions(adoption, manifest, kept); !s) return s;
  if (Status s = adopt_segments(manifest, kept); !s) return s;
  // T: the old epoch was closed before, the old cells are looked at after.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  adopt_slots(adoption);
  adopting_ = false;
  for (const uint32_t ending : adoption.ending) ledger_.session_gone(ending);
  drain_surplus();
  publish_costs();
  for (const std::string& name : kept.names()) {
    log_event(LogCode::kKeptUnknown, "'{}' was kept, but nothing says what it is; given back",
              name);
    ledger_.forget(name);
  }
  kept.clear();
  const double seconds = static_cast<double>(clock_.now_ns() - began_ns) * 1e-9;
  say_start(orderly ? "warm" : "crash_warm",
            Error::format(Code::kOk,
                          "the daemon before %s; %llu chunks found again, %llu dropped, %zu of its "
                          "sessions watched, in %.3f s",
                          orderly ? "stopped in order" : "ended without a word",
                          static_cast<unsigned long long>(counters_.adopted),
                          static_cast<unsigned long long>(counters_.adopt_dropped), orphans_.size(),
                          seconds)
                .message());
  return {};
}

Status Core::keep_tenant(const Tenant& tenant) {
  const Status kept = ledger_.published(tenant.number, epoch_, tenant.index->memory().fd);
  if (!kept.ok() || adopting_ || !ledger_.keeps()) return kept;
  TenantRow row = {};
  if (tenant.name.size() >= sizeof row.name) {
    return Error::format(Code::kInvalidArgument,
                         "the tenant name '%.40s...' has %zu bytes; %zu fit", tenant.name.c_str(),
                         tenant.name.size(), sizeof row.name - 1);
  }
  row.number = tenant.number;
  row.secret_check = check_of(tenant.secret);
  std::memcpy(row.name, tenant.name.data(), tenant.name.size());
  const Status written = ledger_.tenant(row);
  if (!written.ok()) ledger_.forget(Ledger::published_name(tenant.number, epoch_));
  return written;
}

Status Core::adopt_tenants(const Manifest& manifest) {
  std::vector<uint32_t> rows = manifest.tenants.used();
  std::sort(rows.begin(), rows.end(), [&](uint32_t left, uint32_t right) {
    return manifest.tenants[left].number < manifest.tenants[right].number;
  });
  for (const uint32_t number : rows) {
    const TenantRow& row = manifest.tenants[number];
    if (row.number != tenants_.size() || !is_terminated(row.name)) return damaged("tenants");
    const std::string name = row.name;
    const Result<TenantNumber> made = make_tenant(name, limits_of(name));
    if (!made.ok()) return made.error();
    if (*made != row.number) return damaged("tenants");
    if (check_of(tenants_[*made]->secret) != row.secret_check) {
      return Error::format(Code::kIncompatible,
                           "the salt of tenant '%s' is another one, so no key could be found",
                           name.c_str());
    }
  }
  return {};
}

Status Core::adopt_spaces(const Manifest& manifest) {
  std::vector<uint32_t> rows = manifest.spaces.used();
  std::sort(rows.begin(), rows.end(), [&](uint32_t left, uint32_t right) {
    return manifest.spaces[left].id < manifest.spaces[right].id;
  });
  for (const uint32_t number : rows) {
    const SpaceRow& row = manifest.spaces[number];
    if (row.tenant >= tenants_.size() || row.id < next_space_ || !check_spec(row.spec)) {
      return damaged("spaces");
    }
    Tenant& tenant = *tenants_[row.tenant];
    if (row.number < tenant.spaces.size() || row.number >= wire::kSpacesMax) {
      return damaged("spaces");
    }
    // Numbers of spaces that only chunks in a lower tier had, and that nobody opened: left unused.
    while (tenant.spaces.size() < row.number) {
      auto unused = std::make_unique<Space>();
      unused->number = static_cast<uint32_t>(tenant.spaces.size());
      unused->id = row.id - (row.number - unused->number);
      tenant.spaces.push_back(std::move(unused));
    }
    add_space(tenant, row.spec, row.id, row.group);
  }
  return {};
}

Status Core::adopt_segments(const Manifest& manifest, KeptFds& kept) {
  for (const uint32_t number : manifest.segments.used()) {
    const SegmentRow& row = manifest.segments[number];
    if (row.tenant >= tenants_.size() || row.slots == 0) return damaged("segments");
    ledger_.know_segment(row.uid, number);
    Result<Memfd> memory = adopt_memfd(kept.take(Ledger::segment_name(row.uid)), row.bytes,
                                       row.huge != 0 ? Pages::kHuge : Pages::kSmall);
    if (!memory.ok()) {
      // What is in it is lost, and nobody gets its slots again: a miss, nothing worse.
      log_event(LogCode::kKeptUnknown, "segment {} of tenant {}: {}", row.number,
                tenants_[row.tenant]->name, memory.error().message());
      ledger_.segment_gone(row.uid);
      continue;
    }
    Result<Fd> read_only = reopen_read_only(memory->fd);
    if (!read_only.ok()) return read_only.error();
    Segment segment;
    segment.tenant = row.tenant;
    segment.number = row.number;
    segment.uid = row.uid;
    segment.memory = std::move(memory).value();
    segment.read_only = std::move(read_only).value();
    segment.slot_bytes = row.slot_bytes;
    segment.accounted_bytes = row.accounted_bytes;
    segment.first = row.first;
    segment.slots = row.slots;
    const Result<Segment*> adopted = host_->adopt_segment(std::move(segment));
    if (!adopted.ok()) return adopted.error();
    tenants_[row.tenant]->index->describe_segment(row.number, row.uid, (*adopted)->bytes(),
                                                  row.slot_bytes, row.slots);
  }
  return host_->adopted();
}

Status Core::keep_session(const Session& session, const Fd* process) {
  if (!ledger_.keeps()) return {};
  if (process == nullptr) return Error(Code::kInvalidArgument, "a session without its process");
  SessionRow row = {};
  const SessionLayout& layout = session.memory.layout();
  row.epoch = session.epoch;
  row.id = session.id;
  row.tenant = session.tenant;
  row.pid = session.pid;
  row.uid = session.uid;
  row.read_only = session.read_only ? 1 : 0;
  row.submission_entries = layout.submission_entries;
  row.completion_entries = layout.completion_entries;
  row.lease_cells = layout.lease_cells;
  row.touch_entries = layout.touch_entries;
  row.argument_bytes = layout.argument_bytes;
  row.attached_ns = session.attached_ns;
  std::memcpy(row.name, session.name.data(), std::min(session.name.size(), sizeof row.name - 1));
  return ledger_.session(row, session.memory.fd(), *process);
}

// Without a session's memory nobody knows what it leases, without its process when that ends: then
// nothing of the old memory may be used again.
Status Core::adopt_sessions(Adoption& adoption, Manifest& manifest, KeptFds& kept) {
  for (const uint32_t number : manifest.sessions.used()) {
    const SessionRow& row = manifest.sessions[number];
    ledger_.know_session(row.id, number);
    next_session_ = std::max(next_session_, row.id + 1);
    Fd memory_fd = kept.take(Ledger::session_name(row.id));
    Fd process = kept.take(Ledger::process_name(row.id));
    if (row.head.state.load(std::memory_order_relaxed) == RowState::kEnding) {
      adoption.ending.push_back(row.id);  // it has detached, or its process has ended
      continue;
    }
    if (!memory_fd || !process) {
      return Error::format(Code::kCorrupt, "memory or process of session %u was not kept", row.id);
    }
    if (row.tenant >= tenants_.size() || !is_terminated(row.name) || find_session(row.id)) {
      return damaged("sessions");
    }
    SessionLayout layout;
    layout.submission_entries = row.submission_entries;
    layout.completion_entries = row.completion_entries;
    layout.lease_cells = row.lease_cells;
    layout.touch_entries = row.touch_entries;
    layout.argument_bytes = row.argument_bytes;
    Result<SessionMemory> memory = SessionMemory::adopt(std::move(memory_fd), layout);
    if (!memory.ok()) return memory.error();
    auto session =
        std::make_unique<Session>(row.id, row.tenant, std::move(memory).value(), row.epoch);
    session->name = row.name;
    session->pid = row.pid;
    session->uid = row.uid;
    session->read_only = row.read_only != 0;
    session->attached_ns = row.attached_ns;
    session->touch_head = session->memory.header().touch_head.load(std::memory_order_relaxed);
    orphan_session(*session);
    orphans_.push_back({session.get(), std::move(process)});
    sessions_[row.id] = std::move(session);
  }
  return {};
}

}  // namespace kvtier::daemon
