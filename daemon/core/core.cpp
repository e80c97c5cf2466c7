// The core's life and its tenants and sessions. Core thread.
#include "daemon/core/core.hpp"

#include <algorithm>
#include <new>

#include "daemon/core/old_epoch.hpp"
#include "daemon/core/salts.hpp"
#include "daemon/log/log.hpp"

namespace kvtier::daemon {

namespace {

Want want(Demand demand) {
  switch (demand) {
    case Demand::kAuto:
      return Want::kAuto;
    case Demand::kNever:
      return Want::kNever;
    case Demand::kRequire:
      return Want::kRequire;
  }
  return Want::kAuto;
}

// The smallest chunk that tables are sized for by default; smaller ones just fill them sooner.
constexpr uint64_t kTypicalSlotBytesMin = 32 * wire::KiB;
// Below there is so much room that a table for the smallest chunks would cost more than they do.
constexpr uint64_t kTypicalLowerBytesMin = 64 * wire::KiB;
// Slot ids cost 64 bytes only once used, so the table is laid out for the smallest slots.
constexpr uint64_t kSlotBytesMin = 8 * wire::KiB;
// The next daemon may have more memory and goes on with this table.
constexpr uint64_t kSlotIdsMin = 1024 * wire::GiB / kSlotBytesMin;
// Nobody probes host memory: what was measured there is forgiven soon (TierMeter).
constexpr uint64_t kHostForgiveNs = 500'000'000;

}  // namespace

Core::Core(CoreOptions options, Executor& executor, const Clock& clock)
    : config_(std::move(options.config)),
      epoch_(options.epoch),
      state_directory_(std::move(options.state_directory)),
      protocol_min_(options.protocol_min),
      protocol_max_(options.protocol_max),
      executor_(executor),
      clock_(clock),
      started_ns_(clock.now_ns()),
      host_meter_(
          {.bandwidth_bytes_per_s = static_cast<double>(config_.planner.host_bandwidth_initial),
           .latency_s = static_cast<double>(config_.planner.host_latency_initial_ns) * 1e-9,
           .forgive_after_ns = kHostForgiveNs}),
      ledger_(options.keeper) {
  capacity_bytes_ = host_capacity_bytes(config_, options.memory_available_bytes);
  if (config_.host.capacity_chunks == 0) capacity_bytes_ = 0;
}

Core::~Core() {
  close();
}

Result<std::unique_ptr<Core>> Core::create(CoreOptions options, Executor& executor,
                                           const Clock& clock, std::unique_ptr<Tier> below) {
  std::unique_ptr<Core> core(new (std::nothrow) Core(options, executor, clock));
  if (core == nullptr) return Error(Code::kOutOfMemory, "no memory for the core");
  const Result<std::unique_ptr<Policy>> policy = make_policy(core->config_.host.policy);
  if (!policy.ok()) return policy.error();
  HostTierOptions host;
  host.capacity_bytes = core->capacity_bytes_;
  host.segment_bytes_min = core->config_.host.segment_bytes_min;
  host.huge_pages = want(core->config_.host.huge_pages);
  host.lock = want(core->config_.host.lock);
  host.slots_max = std::max(core->capacity_bytes_ / kSlotBytesMin, kSlotIdsMin);
  host.epoch = core->epoch_;
  host.memory_left_bytes = options.memory_left_bytes;
  core->lower_.tier = std::move(below);
  std::string reason = options.keeper == nullptr ? "daemon.keep is \"off\"" : "nothing was kept";
  if (options.kept != nullptr && !options.kept->empty()) {
    const std::vector<std::string> names = options.kept->names();
    const std::vector<std::string> published = close_published(*options.kept);
    const Status warm = options.cold ? Status(Error(Code::kUnavailable, "it was asked for"))
                                     : core->start_warm(host, *options.kept);
    if (warm.ok()) {
      core->lower_.recovering = core->lower_ && core->lower_.tier->recovering();
      for (const std::string& name : published) core->ledger_.forget(name);
      return core;
    }
    // Whatever was begun goes with this core: nobody has learned of it. Memory that clients still
    // map stays theirs until they let go; nothing of it is used again.
    reason = warm.error().message();
    below = std::move(core->lower_.tier);
    core.reset(new (std::nothrow) Core(options, executor, clock));
    if (core == nullptr) return Error(Code::kOutOfMemory, "no memory for the core");
    core->lower_.tier = std::move(below);
    for (const std::string& name : names) core->ledger_.forget(name);
    options.kept->clear();
  }
  const Status cold = core->start_cold(host, reason);
  if (!cold.ok()) return cold.error();
  core->lower_.recovering = core->lower_ && core->lower_.tier->recovering();
  return core;
}

uint64_t Core::index_entries_max() const {
  if (config_.index.chunks_max != 0) return config_.index.chunks_max;
  const uint64_t by_bytes = capacity_bytes_ / kTypicalSlotBytesMin;
  const uint64_t below =
      lower_ ? std::min<uint64_t>(lower_.tier->slots_max(),
                                  lower_.tier->capacity().capacity_bytes / kTypicalLowerBytesMin)
             : 0;
  if (config_.host.capacity_chunks == kUnlimited) return by_bytes + below;
  // Entries outlive their eviction by a moment: a batch more than the limit.
  return std::min(by_bytes, config_.host.capacity_chunks) + 2 * wire::kBatchChunksMax + below;
}

Status Core::segment_made(const Segment& segment) {
  SegmentRow row = {};
  row.tenant = segment.tenant;
  row.number = segment.number;
  row.uid = segment.uid;
  row.slot_bytes = segment.slot_bytes;
  row.accounted_bytes = segment.accounted_bytes;
  row.bytes = segment.bytes();
  row.first = segment.first;
  row.slots = segment.slots;
  row.huge = segment.memory.pages == Pages::kHuge ? 1 : 0;
  ledger_.note_next_uid(segment.uid + 1);
  return ledger_.segment(row, segment.memory.fd);
}

void Core::segment_created(const Segment& segment) {
  ++counters_.segments_created;
  log_event(LogCode::kSegmentMade, "tenant {}: segment {}, {} slots of {} bytes",
            tenants_[segment.tenant]->name, segment.number, segment.slots, segment.slot_bytes);
  tenants_[segment.tenant]->index->describe_segment(segment.number, segment.uid, segment.bytes(),
                                                    segment.slot_bytes, segment.slots);
}

void Core::segment_freed(const Segment& segment) {
  if (lower_ && segment.registered > 0) {
    lower_.tier->unregister_memory({segment.memory.mapping.data(), segment.bytes()});
  }
  ++counters_.segments_freed;
  ledger_.segment_gone(segment.uid);
  tenants_[segment.tenant]->index->forget_segment(segment.number);
}

Result<TenantNumber> Core::make_tenant(const std::string& name, const TenantConfig& limits) {
  for (const std::unique_ptr<Tenant>& tenant : tenants_) {
    if (tenant->name == name) return tenant->number;
  }
  if (!adopting_ && tenants_.size() >= config_.tenants.tenants_max) {
    return Error::format(Code::kFull, "there are %zu tenants already (tenants.tenants_max)",
                         tenants_.size());
  }
  auto tenant = std::make_unique<Tenant>();
  tenant->number = static_cast<TenantNumber>(tenants_.size());
  tenant->name = name;
  Result<wire::KeySecret> secret = tenant_secret(state_directory_, name);
  if (!secret.ok()) return secret.error();
  tenant->secret = *secret;
  IndexOptions index;
  index.tenant = tenant->number;
  index.epoch = epoch_;
  index.entries_max =
      static_cast<uint32_t>(std::min<uint64_t>(index_entries_max(), UINT32_MAX / 2));
  index.huge_pages_wanted = config_.index.huge_pages != Demand::kNever;
  Result<std::unique_ptr<PublishedIndex>> published = PublishedIndex::create(index);
  if (!published.ok()) return published.error();
  tenant->index = std::move(published).value();
  tenant->host_bytes_max =
      std::min(share_of(capacity_bytes_, limits.host_share_ppm), limits.host_bytes_max);
  tenant->sessions_max = limits.sessions_max;
  tenant->spaces_max = std::min<uint64_t>(limits.spaces_max, wire::kSpacesMax);
  if (Status kept = keep_tenant(*tenant); !kept) return kept.error();
  if (lower_) lower_.tier->know_tenant(tenant->number, name);
  tenants_.push_back(std::move(tenant));
  publish_costs();
  return tenants_.back()->number;
}

TenantConfig Core::limits_of(const std::string& name) const {
  for (const TenantConfig& listed : config_.tenant) {
    if (listed.name == name) return listed;
  }
  TenantConfig limits;
  limits.host_share_ppm = config_.tenants.host_share_ppm;
  limits.host_bytes_max = config_.tenants.host_bytes_max;
  limits.sessions_max = config_.tenants.sessions_max;
  limits.spaces_max = config_.tenants.spaces_max;
  return limits;
}

Result<TenantNumber> Core::tenant_by_uid(uint32_t uid) {
  const auto known = tenant_of_uid_.find(uid);
  if (known != tenant_of_uid_.end()) return known->second;
  for (const TenantConfig& listed : config_.tenant) {
    if (std::find(listed.uids.begin(), listed.uids.end(), uid) != listed.uids.end()) {
      Result<TenantNumber> made = make_tenant(listed.name, listed);
      if (made.ok()) tenant_of_uid_[uid] = *made;
      return made;
    }
  }
  if (config_.tenants.unlisted == UnlistedUids::kRefuse) {
    return Error::format(Code::kPermission,
                         "uid %u belongs to no tenant: list it under [[tenant]] uids, or set "
                         "tenants.unlisted = \"serve\"",
                         uid);
  }
  const std::string name = "uid-" + std::to_string(uid);
  Result<TenantNumber> made = make_tenant(name, limits_of(name));
  if (made.ok()) tenant_of_uid_[uid] = *made;
  return made;
}

Result<TenantNumber> Core::tenant_by_name(const std::string& name) {
  for (const TenantConfig& listed : config_.tenant) {
    if (listed.name == name) return make_tenant(name, listed);
  }
  return Error::format(Code::kNotFound, "no tenant is named '%s'", name.c_str());
}

Result<Session*> Core::admit(const AdmitRequest& request) {
  Tenant& tenant = *tenants_[request.tenant];
  if (draining_) return Error(Code::kUnavailable, "the daemon is stopping");
  if (const size_t attached = attached_count(); attached >= config_.daemon.sessions_max) {
    return Error::format(Code::kFull, "%zu sessions are attached already (daemon.sessions_max)",
                         attached);
  }
  if (tenant.sessions >= tenant.sessions_max) {
    return Error::format(Code::kFull, "tenant '%s' has %u sessions already (sessions_max)",
                         tenant.name.c_str(), tenant.sessions);
  }
  SessionLayout layout;
  layout.submission_entries = static_cast<uint32_t>(config_.session.submission_entries);
  layout.completion_entries = static_cast<uint32_t>(config_.session.completion_entries);
  layout.lease_cells = static_cast<uint32_t>(config_.session.lease_cells);
  layout.touch_entries = static_cast<uint32_t>(config_.session.touch_entries);
  layout.argument_bytes = config_.session.argument_bytes;
  const uint32_t id = next_session_++;
  ledger_.note_next_session(next_session_);
  Result<SessionMemory> memory = SessionMemory::create(layout, id, epoch_);
  if (!memory.ok()) return memory.error();
  auto session = std::make_unique<Session>(id, request.tenant, std::move(memory).value(), epoch_);
  session->name = request.name;
  session->pid = request.pid;
  session->uid = request.uid;
  session->read_only = request.read_only;
  session->attached_ns = clock_.now_ns();
  if (Status kept = keep_session(*session, request.process); !kept) return kept.error();
  Session* result = session.get();
  sessions_[id] = std::move(session);
  ++tenant.sessions;
  ++counters_.sessions_opened;
  return result;
}

Session* Core::find_session(uint32_t id) {
  const auto session = sessions_.find(id);
  return session == sessions_.end() ? nullptr : session->second.get();
}

void Core::orphan_session(Session& session) {
  if (session.state == SessionState::kAttached) session.state = SessionState::kOrphaned;
  session.memory.header().ended.store(1, std::memory_order_release);
  end_prefetches_of(session.id);
}

void Core::remove_session(Session& session) {
  drain_touches(session);
  drain_plans(session);
  ledger_.session_ending(session.id);
  end_prefetches_of(session.id);
  // A thread of a living client may stand between writing a cell and validating it: after the fence
  // it sees `ended`, before it the scans that come now still count.
  session.memory.header().ended.store(1, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const std::vector<SlotId> grants(session.grants.begin(), session.grants.end());
  for (const SlotId slot : grants) {
    end_grant(session, slot);
    if (session.epoch == epoch_) {
      release_slot(slot);
    } else {
      // A reader of before may have kept its cell when its lease was revoked: the scan decides.
      retire_slot(slot);
    }
    ++counters_.aborted;
  }
  Tenant& tenant = *tenants_[session.tenant];
  for (size_t i = 0; i < wire::kCountersMax; ++i) {
    tenant.ended_counters[i] += session.memory.header().counters[i].load(std::memory_order_relaxed);
  }
  if (session.epoch == epoch_) --tenant.sessions;
  ++counters_.sessions_ended;
  const TenantNumber number = session.tenant;
  const uint32_t id = session.id;
  sessions_.erase(id);
  ledger_.session_gone(id);
  sweep_retired(*tenants_[number]);
}

Status Core::give_up(const Session& caller, uint32_t id, uint64_t epoch) {
  Session* session = find_session(id);
  if (session == nullptr || session->epoch != epoch) {
    return Error::format(Code::kNotFound, "there is no session %u of that epoch", id);
  }
  if (session->pid != caller.pid || session->uid != caller.uid) {
    return Error::format(Code::kPermission, "session %u belongs to another process", id);
  }
  if (session->state == SessionState::kAttached) {
    return Error::format(Code::kInvalidArgument, "session %u is attached: detach it instead", id);
  }
  remove_session(*session);
  return {};
}

// Sessions of this epoch; those of the daemon before do not count against the limits, because their
// processes must be able to attach again to give them up.
size_t Core::attached_count() const {
  size_t count = 0;
  for (const std::unique_ptr<Tenant>& tenant : tenants_) count += tenant->sessions;
  return count;
}

void Core::protocol_error(Session& session) {
  ++session.protocol_errors;
  ++counters_.protocol_errors;
  if (session.state == SessionState::kKilled) return;
  session.state = SessionState::kKilled;
  session.memory.header().ended.store(1, std::memory_order_release);
  ended_sessions_.push_back(session.id);
}

Status Core::kill_session(uint32_t id) {
  Session* session = find_session(id);
  if (session == nullptr) return Error::format(Code::kNotFound, "there is no session %u", id);
  if (session->state == SessionState::kAttached) {
    session->state = SessionState::kKilled;
    session->memory.header().ended.store(1, std::memory_order_release);
    ended_sessions_.push_back(id);
  }
  return {};
}

std::vector<uint32_t> Core::take_ended_sessions() {
  return std::exchange(ended_sessions_, {});
}

void Core::close() {
  if (closed_) return;
  closed_ = true;
  for (const std::unique_ptr<Tenant>& tenant : tenants_) tenant->index->close_epoch();
  for (const auto& [id, session] : sessions_) {
    session->memory.header().ended.store(1, std::memory_order_release);
  }
  if (host_ != nullptr) ledger_.orderly_stop();
}

}  // namespace kvtier::daemon
