// How a slot of a tier is named inside the daemon: dense from 0. Another chunk may get the same id
// later. Plain value.
#pragma once

#include <cstdint>

namespace kvtier::daemon {

using SlotId = uint32_t;
inline constexpr SlotId kNoSlot = UINT32_MAX;

}  // namespace kvtier::daemon
