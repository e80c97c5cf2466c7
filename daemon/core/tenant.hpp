// A trust domain: its published memory, spaces, policies and limits. Core thread; owned by Core.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/core/snapshot.hpp"
#include "daemon/index/published_index.hpp"
#include "daemon/planner/prefill_cost.hpp"
#include "daemon/policy/miss_curve.hpp"
#include "daemon/policy/policy.hpp"
#include "daemon/tiers/host_tier.hpp"
#include "daemon/tiers/tier.hpp"
#include "kernels/codec.hpp"
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
  kernels::Codec store_codec = kernels::Codec::kNone;  // that clients are asked to use
  kernels::Codec lower_codec = kernels::Codec::kNone;  // of what is written below
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
  MissCurve curve;
  std::vector<SlotId> retired;  // unpublished, still leased
  // The tier below.
  std::vector<TierPlace> lower;  // by index entry; 0: not there
  // By slot size and device, over TierPlace.
  std::map<std::pair<uint64_t, uint32_t>, std::unique_ptr<Policy>> lower_policies;
  std::unordered_map<uint32_t, uint64_t> promoting;  // entry -> ticket
  std::map<uint64_t, uint32_t> taken_since_look;     // slots, by size: see keep_ahead()
  uint64_t lower_chunks = 0;
  uint64_t lower_bytes = 0;   // payloads
  uint64_t clean_chunks = 0;  // in host memory and below
  uint64_t held_bytes = 0;    // slots that prefetches fill
  uint64_t last_store_ns = 0;
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
