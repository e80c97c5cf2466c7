// Opening spaces, handing out segments, cost reports, hints. Core thread.
#include <algorithm>
#include <cstring>

#include "daemon/core/core.hpp"
#include "daemon/log/log.hpp"
#include "kvtier/wire/chunk_header.hpp"

namespace kvtier::daemon {

namespace {

template <size_t N>
bool is_terminated(const char (&text)[N]) {
  return std::memchr(text, 0, N) != nullptr;
}

// Bytes after a terminator would make equal names different spaces.
template <size_t N>
void clear_tail(char (&text)[N]) {
  const size_t length = std::strlen(text);
  std::memset(text + length, 0, N - length);
}

wire::SpaceSpecWire canonical(wire::SpaceSpecWire spec) {
  clear_tail(spec.model);
  clear_tail(spec.dtype);
  clear_tail(spec.layout);
  clear_tail(spec.isa);
  spec.reserved0 = 0;
  std::memset(spec.reserved1, 0, sizeof spec.reserved1);
  return spec;
}

}  // namespace

Status Core::check_spec(const wire::SpaceSpecWire& spec) {
  if (!is_terminated(spec.model) || !is_terminated(spec.dtype) || !is_terminated(spec.layout) ||
      !is_terminated(spec.isa)) {
    return Error(Code::kInvalidArgument, "a name of the space is not zero-terminated");
  }
  if (spec.model[0] == 0) return Error(Code::kInvalidArgument, "the space names no model");
  if (spec.tokens_per_chunk == 0 || spec.tokens_per_chunk > wire::kTokensPerChunkMax) {
    return Error::format(Code::kInvalidArgument, "tokens_per_chunk is %u; it must be 1 to %u",
                         spec.tokens_per_chunk, wire::kTokensPerChunkMax);
  }
  if (spec.chunk_bytes_max == 0 || spec.chunk_bytes_max > wire::kChunkBytesMax) {
    return Error::format(Code::kInvalidArgument, "chunk_bytes is %llu; it must be 1 to %llu",
                         static_cast<unsigned long long>(spec.chunk_bytes_max),
                         static_cast<unsigned long long>(wire::kChunkBytesMax));
  }
  if (spec.shards == 0 || spec.shards > wire::kShardsMax || spec.shard >= spec.shards) {
    return Error::format(Code::kInvalidArgument, "shard %u of %u; there are 1 to %u shards",
                         spec.shard, spec.shards, wire::kShardsMax);
  }
  if (spec.kind > static_cast<uint32_t>(wire::PayloadKind::kTyped)) {
    return Error::format(Code::kInvalidArgument, "payload kind %u is unknown", spec.kind);
  }
  return {};
}

Space* Core::find_space(Tenant& tenant, uint32_t id) {
  // Ids grow with numbers, so the table is sorted by id.
  const auto space = std::lower_bound(
      tenant.spaces.begin(), tenant.spaces.end(), id,
      [](const std::unique_ptr<Space>& left, uint32_t wanted) { return left->id < wanted; });
  return space != tenant.spaces.end() && (*space)->id == id ? space->get() : nullptr;
}

Result<OpenedSpace> Core::open_space(Session& session, const wire::SpaceSpecWire& wanted) {
  const Status valid = check_spec(wanted);
  if (!valid.ok()) {
    ++counters_.invalid_requests;
    return valid.error();
  }
  const wire::SpaceSpecWire spec = canonical(wanted);
  const wire::Fingerprint fingerprint = wire::fingerprint_of(spec);
  const wire::Fingerprint group = wire::group_fingerprint_of(spec);
  Tenant& tenant = *tenants_[session.tenant];
  const auto opened = [](const Space& space) {
    return OpenedSpace{space.id, space.number, space.header_bytes, space.group, space.slot_bytes};
  };
  uint32_t group_number = 0;
  for (const std::unique_ptr<Space>& space : tenant.spaces) {
    if (space->fingerprint == fingerprint) {
      space->last_use_ns = clock_.now_ns();
      if (space->group == 0) {
        if (Status kept = describe_recovered(tenant, *space, spec); !kept) return kept.error();
      }
      return opened(*space);
    }
    if (space->group != 0 && wire::group_fingerprint_of(space->spec) == group)
      group_number = space->group;
  }
  if (tenant.spaces.size() >= tenant.spaces_max) {
    return Error::format(Code::kFull, "tenant '%s' has %zu spaces already (spaces_max)",
                         tenant.name.c_str(), tenant.spaces.size());
  }
  SpaceRow row = {};
  row.tenant = tenant.number;
  row.number = static_cast<uint32_t>(tenant.spaces.size());
  row.id = next_space_;
  row.group = group_number != 0 ? group_number : next_group_;
  row.spec = spec;
  if (Status kept = ledger_.space(row); !kept) return kept.error();
  return opened(add_space(tenant, spec, row.id, row.group));
}

Space& Core::add_space(Tenant& tenant, const wire::SpaceSpecWire& spec, uint32_t id,
                       uint32_t group) {
  next_space_ = std::max(next_space_, id + 1);
  next_group_ = std::max(next_group_, group + 1);
  auto space = std::make_unique<Space>();
  space->id = id;
  space->number = static_cast<uint32_t>(tenant.spaces.size());
  space->group = group;
  space->spec = spec;
  space->fingerprint = wire::fingerprint_of(spec);
  space->header_bytes = static_cast<uint32_t>(wire::header_bytes_for(spec.tokens_per_chunk));
  space->slot_bytes = wire::slot_bytes_for(space->header_bytes + spec.chunk_bytes_max);
  space->last_use_ns = clock_.now_ns();
  join_group(tenant, *space);
  choose_codecs(*space);
  tenant.spaces.push_back(std::move(space));
  publish_space(tenant, *tenant.spaces.back());
  warn_if_too_large(tenant, *tenant.spaces.back());
  return *tenant.spaces.back();
}

void Core::warn_if_too_large(const Tenant& tenant, const Space& space) const {
  const std::string text = why_not_below(space);
  if (!text.empty()) log_event(LogCode::kTierWarning, "tenant {}: {}", tenant.name, text);
}

// A space of which only chunks below were known is opened for the first time since the start.
Status Core::describe_recovered(Tenant& tenant, Space& space, const wire::SpaceSpecWire& spec) {
  const wire::Fingerprint group = wire::group_fingerprint_of(spec);
  SpaceRow row = {};
  row.tenant = tenant.number;
  row.number = space.number;
  row.id = space.id;
  row.group = next_group_;
  row.spec = spec;
  for (const std::unique_ptr<Space>& other : tenant.spaces) {
    if (other->group != 0 && wire::group_fingerprint_of(other->spec) == group) {
      row.group = other->group;
    }
  }
  if (Status kept = ledger_.space(row); !kept) return kept;
  space.group = row.group;
  next_group_ = std::max(next_group_, row.group + 1);
  space.spec = spec;
  space.header_bytes = static_cast<uint32_t>(wire::header_bytes_for(spec.tokens_per_chunk));
  space.slot_bytes = wire::slot_bytes_for(space.header_bytes + spec.chunk_bytes_max);
  join_group(tenant, space);
  choose_codecs(space);
  publish_space(tenant, space);
  warn_if_too_large(tenant, space);
  return {};
}

void Core::join_group(Tenant& tenant, Space& space) {
  for (const std::unique_ptr<Space>& sibling : tenant.spaces) {
    if (sibling.get() == &space || sibling->group != space.group) continue;
    sibling->siblings.push_back(space.id);
    space.siblings.push_back(sibling->id);
  }
}

void Core::publish_space(Tenant& tenant, const Space& space) {
  wire::SpaceDescriptor descriptor = {};
  descriptor.id = space.id;
  descriptor.group = space.group;
  descriptor.shard = space.spec.shard;
  descriptor.shards = space.spec.shards;
  descriptor.tokens_per_chunk = space.spec.tokens_per_chunk;
  descriptor.header_bytes = space.header_bytes;
  descriptor.chunk_bytes_max = space.spec.chunk_bytes_max;
  descriptor.fingerprint_lo = space.fingerprint.lo;
  descriptor.fingerprint_hi = space.fingerprint.hi;
  descriptor.codec = static_cast<uint32_t>(space.store_codec);
  tenant.index->describe_space(space.number, descriptor);
}

Result<Core::SegmentFd> Core::segment_fd(const Session& session, uint32_t number, uint64_t uid) {
  const Segment* segment = host_->find_segment(session.tenant, number);
  if (segment == nullptr || segment->uid != uid) {
    return Error::format(Code::kNotFound, "segment %u is gone", number);
  }
  Result<Fd> fd = duplicate(session.read_only ? segment->read_only : segment->memory.fd);
  if (!fd.ok()) return fd.error();
  return SegmentFd{std::move(fd).value(), segment->bytes()};
}

Status Core::report_prefill(Session& session, uint32_t id, uint64_t tokens, uint64_t context,
                            double seconds) {
  Space* space = find_space(*tenants_[session.tenant], id);
  if (space == nullptr) {
    ++counters_.reports_refused;
    return Error::format(Code::kInvalidArgument, "there is no space %u", id);
  }
  if (!space->prefill.report(clock_.now_ns(), tokens, context, seconds)) {
    ++counters_.reports_refused;
    return Error::format(Code::kInvalidArgument, "prefill of %llu tokens in %g s cannot be",
                         static_cast<unsigned long long>(tokens), seconds);
  }
  return {};
}

Status Core::report_load(Session&, wire::Tier tier, uint64_t bytes, double seconds) {
  if (tier != wire::Tier::kHost || !host_meter_.report(clock_.now_ns(), bytes, seconds)) {
    ++counters_.reports_refused;
    return Error::format(Code::kInvalidArgument, "a load of %llu bytes in %g s cannot be",
                         static_cast<unsigned long long>(bytes), seconds);
  }
  return {};
}

Status Core::report_model(Session& session, uint32_t id, double flops_token, double flops_pair,
                          double flops_per_s) {
  Space* space = find_space(*tenants_[session.tenant], id);
  if (space == nullptr || !space->prefill.describe(flops_token, flops_pair, flops_per_s)) {
    ++counters_.reports_refused;
    return Error(Code::kInvalidArgument, "a model of so many FLOPs cannot be, or has no space");
  }
  return {};
}

void Core::drain_plans(Session& session) {
  if (session.memory.plan(0) == nullptr) return;
  const uint32_t tail = session.memory.header().plan_tail.load(std::memory_order_acquire);
  const uint32_t written = tail - session.plan_head;
  if (written == 0) return;
  if (written > kPlanEntries) {  // overwritten, or a tail that makes no sense
    plans_.add_lost(written - kPlanEntries);
    session.plan_head = tail - kPlanEntries;
  }
  for (; session.plan_head != tail; ++session.plan_head) {
    wire::PlanRecord record;
    if (wire::read_plan_cell(*session.memory.plan(session.plan_head), session.plan_head, &record)) {
      plans_.add(session.id, tenants_[session.tenant]->name, record);
    } else {
      plans_.add_lost(1);
    }
  }
}

Status Core::hint(Session& session, uint32_t space, std::span<const wire::KeyArg> keys,
                  wire::HintKind kind, double value) {
  if (!(value >= 0) || value > 1e9) {
    ++counters_.invalid_requests;
    return Error::format(Code::kInvalidArgument, "hint value %g is out of range", value);
  }
  Tenant& tenant = *tenants_[session.tenant];
  for (const wire::KeyArg& key : keys) {
    const uint32_t entry = tenant.index->find(key.key, space);
    if (entry == kNoEntry || tenant.index->host_place(entry).empty()) continue;
    const SlotId slot = host_->slot_at(tenant.number, tenant.index->host_place(entry));
    Policy& policy = policy_of(tenant, host_->segment_of(slot).slot_bytes);
    switch (kind) {
      case wire::HintKind::kSessionEnd:
        policy.hinted(slot, Policy::Outlook::kNever);
        notes(slot).uses = 0;
        notes(slot).refused = false;
        break;
      case wire::HintKind::kNextUseIn:
        policy.hinted(slot, Policy::Outlook::kSoon);
        break;
      case wire::HintKind::kPin:
        notes(slot).pinned_until_ns =
            value == 0 ? 0 : clock_.now_ns() + static_cast<uint64_t>(value * 1e9);
        break;
      case wire::HintKind::kClass:
        break;  // for policies that keep classes
      default:
        ++counters_.invalid_requests;
        return Error::format(Code::kInvalidArgument, "hint %llu is unknown",
                             static_cast<unsigned long long>(kind));
    }
  }
  return {};
}

}  // namespace kvtier::daemon
