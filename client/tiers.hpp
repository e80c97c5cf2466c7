// Whether what lies only in a lower tier may be asked for now. Pure.
#pragma once

#include "kvtier/wire/lookup.hpp"

namespace kvtier::client {

// The tier that would serve a chunk found kLower; false in *serves when it is out of service.
inline wire::Tier lower_tier(const wire::PublishedView& view, uint32_t lower, bool* serves) {
  const wire::Tier tier = (lower & wire::kOnNvme) != 0 ? wire::Tier::kNvme : wire::Tier::kRemote;
  const uint64_t down = view.board->tiers_down.load(std::memory_order_relaxed);
  *serves = (down >> static_cast<unsigned>(tier) & 1) == 0;
  return tier;
}

}  // namespace kvtier::client
