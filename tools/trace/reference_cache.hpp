// What an exact cache over a trace's blocks hits: the numbers a replay is held against. LRU by
// definition, and MIN (Belady), which no policy can beat by much. Ids only, no bytes, no daemon.
// Owned by one thread.
//
// The meaning of "LRU tail to head", which a replay must match (docs/traces.md says it in prose):
//   1. The hit of a request is its longest resident prefix, asked before anything changes.
//   2. Only the first min(blocks, capacity) blocks of a request are worked on: it keeps its head.
//   3. These are walked from the tail to the head. Each is made the newest; an absent one is first
//      inserted, in place of the oldest block that is not the request's own.
// So after a request its first block is the newest of all, the last one the oldest of its own.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "kvtier/result.hpp"
#include "tools/trace/trace_source.hpp"

namespace kvtier::tools {

struct ReferenceResult {
  uint64_t requests = 0;
  uint64_t blocks_asked = 0;
  uint64_t blocks_hit = 0;
  uint64_t blocks_inserted = 0;
  uint64_t blocks_evicted = 0;

  // blocks_hit / blocks_asked, 0 if nothing was asked.
  double hit_rate() const;
};

// Capacity of a share of the unique blocks, as the published tables count it: rounded down.
constexpr uint64_t capacity_of_percent(uint64_t blocks_unique, uint64_t percent) {
  return blocks_unique * percent / 100;
}

class ReferenceLru {
 public:
  explicit ReferenceLru(uint64_t capacity_blocks) : capacity_(capacity_blocks) {}

  // Serves one request; its hit in blocks. `ids` must not repeat one.
  uint64_t serve(std::span<const uint64_t> ids);
  bool resident(uint64_t id) const { return places_.contains(id); }
  const ReferenceResult& result() const { return result_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Node {
    uint64_t id;
    uint64_t request;  // the last one that used it
    uint32_t newer;
    uint32_t older;
  };

  void unlink(uint32_t place);
  void make_newest(uint32_t place);
  uint32_t take_oldest();

  uint64_t capacity_;
  ReferenceResult result_;
  std::vector<Node> nodes_;
  std::unordered_map<uint64_t, uint32_t> places_;
  uint32_t newest_ = kNone;
  uint32_t oldest_ = kNone;
};

// The same requests under MIN: absent blocks are inserted head to tail, the victim is the block of
// the cache whose next use is farthest, and a block that would itself be the victim is not
// inserted. Needs the future, hence all requests at once.
ReferenceResult simulate_min(std::span<const TraceRequest> requests, uint64_t capacity_blocks);

}  // namespace kvtier::tools
