// A cache of keys without bytes under a policy: what a policy would have hit, on a sample of the
// keys and a size reduced as much. Core thread; at most a few thousand keys.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "daemon/policy/policy.hpp"

namespace kvtier::daemon {

class GhostCache {
 public:
  explicit GhostCache(std::unique_ptr<Policy> policy) : policy_(std::move(policy)) {}

  // True for a hit. Nothing is evicted: in the middle of a path its own head would be in danger.
  bool used(uint32_t tag, const ChunkFacts& facts);
  // Down to the capacity, which may change from time to time.
  void trim(uint64_t capacity);
  void hinted(uint32_t tag, Policy::Outlook outlook);
  const Policy& policy() const { return *policy_; }

 private:
  std::unique_ptr<Policy> policy_;
  std::unordered_map<uint32_t, SlotId> slots_;
  std::vector<uint32_t> tags_;  // by slot
  std::vector<SlotId> free_;
};

}  // namespace kvtier::daemon
