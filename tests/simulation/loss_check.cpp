#include "tests/simulation/loss_check.hpp"

#include <algorithm>
#include <cstdio>
#include <map>

#include "tests/simulation/cast.hpp"

namespace kvtier::simulation {
namespace {

wire::Fingerprint fingerprint_of(uint32_t space) {
  wire::SpaceSpecWire spec = {};
  std::snprintf(spec.model, sizeof spec.model, "%s", kSpaces[space].model);
  spec.tokens_per_chunk = kTokensPerChunk;
  spec.shard = kSpaces[space].shard;
  spec.shards = kSpaces[space].shards;
  spec.chunk_bytes_max = kSpaces[space].payload_bytes;
  return wire::fingerprint_of(spec);
}

Holding holding_of(daemon::Core& core, const std::set<ChunkName>& committed) {
  Holding holding;
  for (const ChunkName& name : committed) {
    const auto number = core.tenant_by_uid(1000 + name.tenant);
    if (!number.ok()) continue;
    const daemon::Tenant& tenant = core.tenant(*number);
    const wire::Fingerprint wanted = fingerprint_of(name.space);
    const auto space = std::find_if(tenant.spaces.begin(), tenant.spaces.end(),
                                    [&](const auto& one) { return one->fingerprint == wanted; });
    if (space == tenant.spaces.end()) continue;
    const wire::FoundChunk found =
        wire::find_chunk(tenant.index->view(), key_of(name), (*space)->id);
    if (found.found == wire::Found::kHost && (found.flags & wire::kUnverified) == 0) {
      holding.host.insert(name);
    }
    if ((found.lower & wire::kOnNvme) != 0) holding.below.insert(name);
  }
  return holding;
}

// All that the daemon says it took away, or found wrong.
uint64_t departures_of(daemon::Core& core) {
  const daemon::CoreCounters& c = core.counters();
  return c.evicted + c.lower_evicted + c.dropped + c.quarantined + c.corrupt_checksum +
         c.corrupt_header + c.corrupt_nvme_header + c.corrupt_nvme_checksum + c.reads_failed +
         c.reads_stale + c.adopt_dropped + c.recheck_failed;
}

}  // namespace

void LossCheck::ends(daemon::Core& core, const std::set<ChunkName>& committed) {
  before_ = holding_of(core, committed);
}

void LossCheck::ended(Ending ending) {
  below_.clear();
  if (ending == Ending::kPowerCut) before_ = {};
  if (ending == Ending::kPowerCut || environment_.is_faulty()) return;
  const auto recorded = environment_.recorded();
  for (const ChunkName& name : before_.below) {
    if (recorded.contains({key_of(name).lo, fingerprint_of(name.space).lo})) below_.insert(name);
  }
}

void LossCheck::started(daemon::Core& core, const std::set<ChunkName>& committed) {
  const Holding now = holding_of(core, committed);
  for (const ChunkName& name : before_.host) {
    if (!now.host.contains(name)) fail("lost with the daemon, from host memory: {}", text_of(name));
  }
  expected_ += before_.host.size();
  before_ = now;
  departures_ = departures_of(core);
}

void LossCheck::look(daemon::Core& core, const std::set<ChunkName>& committed) {
  const Holding now = holding_of(core, committed);
  const uint64_t departures = departures_of(core);
  const auto is_here = [&now](const ChunkName& name) {
    return now.host.contains(name) || now.below.contains(name);
  };
  const auto missing = [&](const std::set<ChunkName>& had) {
    return static_cast<uint64_t>(
        std::count_if(had.begin(), had.end(), [&](const auto& name) { return !is_here(name); }));
  };
  const auto name_one = [&](const std::set<ChunkName>& had) {
    return text_of(
        *std::find_if(had.begin(), had.end(), [&](const auto& name) { return !is_here(name); }));
  };
  std::set<ChunkName> had = before_.host;
  had.insert(before_.below.begin(), before_.below.end());
  if (missing(had) > departures - departures_) {
    fail("{} chunks are gone, and only {} were taken away: {}", missing(had),
         departures - departures_, name_one(had));
  }
  before_ = now;
  departures_ = departures;
  if (below_.empty() || environment_.is_recovering()) return;
  // Departures of the whole life: what was found may have gone again meanwhile.
  if (missing(below_) > departures) {
    fail("{} chunks that were recorded below are not found again, and only {} were taken away: {}",
         missing(below_), departures, name_one(below_));
  }
  expected_ += below_.size();
  below_.clear();
}

}  // namespace kvtier::simulation
