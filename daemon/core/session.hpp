// What the core knows of one attached client. Core thread; owned by Core, used by the session
// layer.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>

#include "daemon/core/session_memory.hpp"
#include "daemon/core/snapshot.hpp"
#include "daemon/memory/slot_id.hpp"
#include "daemon/tiers/host_tier.hpp"

namespace kvtier::daemon {

enum class SessionState : uint8_t {
  kAttached,
  kOrphaned,  // its socket closed without a detach: admits nothing, keeps leases and grants
  kKilled,    // ended by an operator or for a broken ring; otherwise like orphaned
};

struct Session {
  Session(uint32_t number, TenantNumber owner, SessionMemory shared, uint64_t attached_epoch)
      : id(number), tenant(owner), memory(std::move(shared)), epoch(attached_epoch) {}

  uint32_t id;
  TenantNumber tenant;
  SessionMemory memory;
  uint64_t epoch;  // of the daemon that it attached to; another one: adopted, and orphaned
  SessionState state = SessionState::kAttached;
  std::string name;
  int pid = 0;
  uint32_t uid = 0;
  bool read_only = false;
  uint64_t attached_ns = 0;

  // The daemon's own positions in the rings; the words in the memory are for the client.
  uint32_t submission_head = 0;
  uint32_t completion_tail = 0;
  uint32_t touch_head = 0;
  uint32_t plan_head = 0;
  uint32_t unanswered = 0;  // requests taken whose completions come later
  uint32_t prefetches = 0;  // that have not ended

  std::unordered_set<SlotId> grants;
  // Cells of revoked leases whose holder has not cleared them yet: cell -> word.
  std::unordered_map<uint32_t, uint64_t> revoked_cells;
  uint64_t requests = 0;
  uint64_t protocol_errors = 0;
  uint64_t revocations = 0;
};

}  // namespace kvtier::daemon
