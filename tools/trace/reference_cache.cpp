// What an exact cache over a trace's blocks hits. Owned by one thread.
#include "tools/trace/reference_cache.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace kvtier::tools {

double ReferenceResult::hit_rate() const {
  if (blocks_asked == 0) return 0;
  return static_cast<double>(blocks_hit) / static_cast<double>(blocks_asked);
}

uint64_t ReferenceLru::serve(std::span<const uint64_t> ids) {
  uint64_t hit = 0;
  while (hit < ids.size() && resident(ids[hit])) ++hit;
  ++result_.requests;
  result_.blocks_asked += ids.size();
  result_.blocks_hit += hit;

  const std::span<const uint64_t> head = ids.first(std::min<uint64_t>(ids.size(), capacity_));
  for (const uint64_t id : head) {  // may not be evicted meanwhile
    const auto found = places_.find(id);
    if (found != places_.end()) nodes_[found->second].request = result_.requests;
  }
  for (size_t i = head.size(); i-- > 0;) {
    const auto found = places_.find(head[i]);
    if (found != places_.end()) {
      unlink(found->second);
      make_newest(found->second);
      continue;
    }
    const uint32_t place = take_oldest();
    nodes_[place] = {.id = head[i], .request = result_.requests, .newer = kNone, .older = kNone};
    places_.emplace(head[i], place);
    make_newest(place);
    ++result_.blocks_inserted;
  }
  return hit;
}

void ReferenceLru::unlink(uint32_t place) {
  const Node& node = nodes_[place];
  (node.newer == kNone ? newest_ : nodes_[node.newer].older) = node.older;
  (node.older == kNone ? oldest_ : nodes_[node.older].newer) = node.newer;
}

void ReferenceLru::make_newest(uint32_t place) {
  nodes_[place].newer = kNone;
  nodes_[place].older = newest_;
  (newest_ == kNone ? oldest_ : nodes_[newest_].newer) = place;
  newest_ = place;
}

// A free place, or that of the oldest block that the request being served does not use. One always
// exists: the request works on `capacity_` blocks at most and this one is absent.
uint32_t ReferenceLru::take_oldest() {
  if (nodes_.size() < capacity_) {
    nodes_.emplace_back();
    return static_cast<uint32_t>(nodes_.size() - 1);
  }
  uint32_t place = oldest_;
  while (nodes_[place].request == result_.requests) place = nodes_[place].newer;
  unlink(place);
  places_.erase(nodes_[place].id);
  ++result_.blocks_evicted;
  return place;
}

namespace {

// For every block of every request, in order: the number of the next request that has it.
std::vector<uint64_t> next_uses(std::span<const TraceRequest> requests) {
  std::vector<uint64_t> uses;
  std::unordered_map<uint64_t, uint64_t> next;
  for (size_t r = requests.size(); r-- > 0;) {
    const std::vector<uint64_t>& ids = requests[r].hash_ids;
    for (size_t i = ids.size(); i-- > 0;) {
      const auto [found, fresh] = next.try_emplace(ids[i], r);
      uses.push_back(fresh ? UINT64_MAX : std::exchange(found->second, r));
    }
  }
  std::reverse(uses.begin(), uses.end());
  return uses;
}

}  // namespace

ReferenceResult simulate_min(std::span<const TraceRequest> requests, uint64_t capacity_blocks) {
  const std::vector<uint64_t> uses = next_uses(requests);
  std::unordered_map<uint64_t, uint64_t> resident;  // id -> next use
  std::set<std::pair<uint64_t, uint64_t>> by_use;   // the same, ordered
  ReferenceResult result;
  size_t use = 0;
  for (const TraceRequest& request : requests) {
    const std::vector<uint64_t>& ids = request.hash_ids;
    uint64_t hit = 0;
    while (hit < ids.size() && resident.contains(ids[hit])) ++hit;
    ++result.requests;
    result.blocks_asked += ids.size();
    result.blocks_hit += hit;
    for (const uint64_t id : ids) {
      const uint64_t next = uses[use++];
      const auto found = resident.find(id);
      if (found != resident.end()) {
        by_use.erase({found->second, id});
        found->second = next;
        by_use.emplace(next, id);
        continue;
      }
      if (capacity_blocks == 0) continue;
      if (resident.size() == capacity_blocks) {
        const auto farthest = std::prev(by_use.end());
        if (farthest->first <= next) continue;
        resident.erase(farthest->second);
        by_use.erase(farthest);
        ++result.blocks_evicted;
      }
      resident.emplace(id, next);
      by_use.emplace(next, id);
      ++result.blocks_inserted;
    }
  }
  return result;
}

}  // namespace kvtier::tools
