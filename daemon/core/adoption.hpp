// What a warm start gathers before it publishes anything; part of Core. Core thread.
#pragma once

#include <algorithm>
#include <vector>

#include "daemon/core/core.hpp"

namespace kvtier::daemon {

struct Core::Adoption {
  struct Chunk {
    uint64_t last_use_ns;
    SlotId slot;
    uint32_t position;
  };
  std::vector<Chunk> chunks;     // of the tenant at hand
  std::vector<uint32_t> ending;  // sessions that were being taken down
  uint32_t space_id = 0;         // of the last slot: most have the same
  const Space* space = nullptr;

  bool is_ending(uint32_t session) const {
    return std::find(ending.begin(), ending.end(), session) != ending.end();
  }
};

}  // namespace kvtier::daemon
