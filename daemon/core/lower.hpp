// What the core keeps of the tier below host memory: which chunk lies in which place, what is on
// its way down and up, and who waits for it. Plain data of the core thread; core_lower.cpp,
// core_demote.cpp and core_promote.cpp act on it. Nothing here is shared with clients.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "daemon/core/reencode.hpp"
#include "daemon/core/snapshot.hpp"
#include "daemon/index/published_index.hpp"
#include "daemon/memory/slot_id.hpp"
#include "daemon/planner/tier_meter.hpp"
#include "daemon/policy/admission.hpp"
#include "daemon/tiers/host_tier.hpp"
#include "daemon/tiers/nvme_budget.hpp"
#include "daemon/tiers/tier.hpp"

namespace kvtier::daemon {

// What lies in a place, by its number: with the index entry, all that a read is compared with.
struct LowerNote {
  uint64_t checksum = 0;
  uint32_t entry = kNoEntry;  // kNoEntry: nothing of ours
  uint32_t position = 0;
  uint16_t tenant = 0;
  uint16_t reads = 0;          // under way
  uint32_t payload_bytes = 0;  // here: in host memory the chunk may be in another codec
};
static_assert(sizeof(LowerNote) == 24);

// A slot on its way down, or chosen to go.
struct Demotion {
  TenantNumber tenant = 0;
  SlotId slot = kNoSlot;
  uint32_t generation = 0;
  TierChunk chunk;
};

// A chunk on its way up. The slot is kFilling until it ends, whoever still wants it.
struct Promotion {
  TenantNumber tenant = 0;
  uint32_t entry = kNoEntry;  // kNoEntry: the chunk has gone meanwhile
  SlotId slot = kNoSlot;
  TierPlace place = 0;
  TierChunk chunk;
  uint32_t space = 0;
  std::vector<uint64_t> waiters;  // prefetches
};

// A slot that a device may still read or write, after the transfer itself was given up.
struct GivenUp {
  SlotId slot = kNoSlot;
  bool filling = false;  // by a read: the slot is nobody's until then; else its write holds it
};

// One kPrefetch: waits for promotions, then holds what it brought until its deadline.
struct Prefetch {
  uint32_t session = 0;
  uint64_t user_data = 0;
  TenantNumber tenant = 0;
  uint32_t space = 0;
  uint64_t deadline_ns = 0;
  uint32_t waiting = 0;  // promotions that have not ended
  bool answered = false;
  Code failure = Code::kOk;  // of the first promotion that failed
  std::vector<ChunkKey> keys;
  std::vector<std::pair<SlotId, uint32_t>> held;  // with generation
};

// The answer to a prefetch. `count`: keys from the first that are in host memory now.
struct PrefetchAnswer {
  uint32_t session = 0;
  uint64_t user_data = 0;
  Code status = Code::kOk;
  uint32_t count = 0;
  uint32_t retry_after_us = 0;  // of kFull: asking again after so long makes sense; 0: it does not
};

// A pass over all that lies below: each chunk is read into memory of the scrub's own and compared,
// while nobody else wants the devices. What is wrong becomes a miss before anybody asks for it.
struct Scrub {
  static constexpr uint64_t kNoTicket = 0;  // tickets begin at 1

  uint64_t rate = 0;  // bytes a second; 0: no pass under way
  TierPlace next = 0;
  uint64_t credit_bytes = 0;
  uint64_t credited_ns = 0;
  uint64_t ticket = kNoTicket;  // of the read or check under way
  TierPlace place = 0;          // that is being read
  bool is_device_late = false;  // it gave the read up, and may still write the memory
  std::unique_ptr<std::byte, void (*)(void*)> memory{nullptr, nullptr};
  uint64_t memory_bytes = 0;
  ScrubSnapshot counts;
};

struct Lower {
  Scrub scrub;  // outlives the tier, which may still write its memory
  std::unordered_map<uint64_t, PageMemory> encoded;  // by ticket of the write; outlives it, too
  std::unique_ptr<Tier> tier;
  std::vector<LowerNote> notes;  // by TierPlace

  std::deque<Demotion> chosen;                    // to be written when the tier takes it
  std::unordered_map<uint64_t, Demotion> writes;  // by ticket
  uint64_t writing_bytes = 0;
  std::deque<uint64_t> ready;  // tickets of writes that workers have encoded

  std::unordered_map<uint64_t, Promotion> reads;   // by ticket
  std::deque<uint64_t> reads_waiting;              // tickets that the tier has not taken yet
  std::deque<uint64_t> unchecked;                  // read, and no worker took the check
  std::unordered_map<uint64_t, GivenUp> given_up;  // by ticket
  std::map<uint64_t, Prefetch> prefetches;         // by number
  std::multimap<uint64_t, uint64_t> deadlines;     // of prefetches: deadline -> number
  std::vector<PrefetchAnswer> answers;             // for the session layer

  // Which chunks a write budget goes to: see core_admit.cpp.
  using Offers = nvme::Window<21, 45ull * 1'000'000'000>;
  Admission admission;
  Offers offered{UINT64_MAX};  // bytes, in a quarter of an hour
  uint64_t first_offer_ns = 0;
  // Entries whose size becomes that below, after the next fence: tenant and entry.
  std::vector<std::pair<TenantNumber, uint32_t>> resized;

  TierMeter meter;  // of reads
  TierMeter write_meter;
  uint64_t next_ticket = 1;
  uint64_t next_prefetch = 1;
  uint64_t next_victim = 0;    // the device that evictions begin with
  uint64_t flushed_below = 0;  // transfers with smaller tickets were under way at the last flush
  uint64_t flush_settles = 0;  // the tier's number for it; 0: none yet
  bool in_service = true;
  bool budget_spent = false;  // until the next tick
  bool registers = true;      // host memory with the tier, until it refuses
  bool recovering = false;    // records of an earlier daemon are being handed over
  bool tenants_known = false;
  size_t recovered_last = 0;  // records in the latest turn

  explicit operator bool() const { return tier != nullptr; }
};

}  // namespace kvtier::daemon
