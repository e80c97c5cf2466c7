// MIN (Belady) over the numbered blocks: evicts what is used again last, and does not insert what
// would itself be that. Blocks are inserted head to tail. One thread.
#include <algorithm>
#include <chrono>
#include <queue>

#include "tools/simulate/simulator.hpp"

namespace kvtier::tools {

namespace {

// For every block asked, in order: the number of the next request that asks for it.
std::vector<uint32_t> next_uses(const SimTrace& trace) {
  std::vector<uint32_t> uses(trace.blocks.size());
  std::vector<uint32_t> next(trace.unique, UINT32_MAX);
  for (size_t r = trace.requests.size(); r-- > 0;) {
    const SimTrace::Request& request = trace.requests[r];
    for (uint64_t i = request.first + request.count; i-- > request.first;) {
      uses[i] = next[trace.blocks[i]];
      next[trace.blocks[i]] = static_cast<uint32_t>(r);
    }
  }
  return uses;
}

}  // namespace

SimResult simulate_bound(const SimTrace& trace, uint64_t chunks) {
  const auto began = std::chrono::steady_clock::now();
  const std::vector<uint32_t> uses = next_uses(trace);
  std::vector<uint64_t> next(trace.unique, 0);  // next use + 1 of what is resident; 0: absent
  std::priority_queue<std::pair<uint64_t, uint32_t>> farthest;  // may hold outdated pairs
  uint64_t resident = 0;
  SimResult result;
  for (const SimTrace::Request& request : trace.requests) {
    const std::span<const uint32_t> blocks = trace.blocks_of(request);
    uint64_t hit = 0;
    while (hit < blocks.size() && next[blocks[hit]] != 0) ++hit;
    ++result.requests;
    result.blocks_asked += blocks.size();
    result.blocks_hit += hit;
    result.tokens_asked += request.tokens;
    result.tokens_hit += std::min<uint64_t>(request.tokens, hit * request.block_tokens);
    for (size_t i = 0; i < blocks.size() && chunks > 0; ++i) {
      const uint64_t use = uint64_t{uses[request.first + i]} + 1;
      const uint32_t block = blocks[i];
      if (next[block] == 0) {
        if (resident >= chunks) {
          while (next[farthest.top().second] != farthest.top().first) farthest.pop();
          if (farthest.top().first <= use) continue;
          next[farthest.top().second] = 0;
          farthest.pop();
          --resident;
          ++result.evicted;
        }
        ++resident;
      }
      next[block] = use;
      farthest.emplace(use, block);
    }
  }
  result.wall_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return result;
}

}  // namespace kvtier::tools
