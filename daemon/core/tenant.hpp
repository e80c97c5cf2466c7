// A trust domain: its published memory, spaces, policies and limits. Core thread; owned by Core.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/core/snapshot.hpp"
#include "daemon/index/published_index.hpp"
#include "daemon/planner/prefill_cost.hpp"
#include "daemon/policy/policy.hpp"
#include "daemon/tiers/host_tier.hpp"
#include "kvtier/wire/key.hpp"
#include "kvtier/wire/messages.hpp"

namespace kvtier::daemon {

struct Space {
  uint32_t id = 0;
  uint32_t number = 0;  // in the published table
  uint32_t group = 0;
  wire::SpaceSpecWire spec = {};
  wire::Fingerprint fingerprint;
  uint32_t header_bytes = 0;
  uint64_t slot_bytes = 0;  // of a full chunk
  uint64_t last_use_ns = 0;
  uint64_t chunks = 0;
  uint64_t payload_bytes = 0;
  uint64_t stored = 0;
  PrefillCost prefill;
  std::vector<uint32_t> siblings;  // ids of the group's other shards
};

struct Tenant {
  TenantNumber number = 0;
  std::string name;
  wire::KeySecret secret = {};
  std::unique_ptr<PublishedIndex> index;
  std::vector<std::unique_ptr<Space>> spaces;            // by number
  std::map<uint64_t, std::unique_ptr<Policy>> policies;  // by slot size
  std::vector<SlotId> retired;                           // unpublished, still leased
  bool aging = false;    // leases of it have ages that must be followed
  bool pressed = false;  // a reserve found no slot since the last tick
  uint64_t host_bytes_max = 0;
  uint64_t sessions_max = 0;
  uint64_t spaces_max = 0;
  uint32_t sessions = 0;
  uint64_t chunks = 0;
  uint64_t payload_bytes = 0;
  uint64_t used_bytes = 0;          // slots of valid chunks
  ClientCounters ended_counters{};  // of sessions that are gone
};

}  // namespace kvtier::daemon
