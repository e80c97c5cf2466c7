// How large a host tier must be so that a number of chunks stays findable, and how many fit into
// one of a size: the daemon's rules for segments and slots, from the outside. Pure; any thread.
#pragma once

#include <cstdint>

#include "kvtier/wire/types.hpp"

namespace kvtier::tools {

inline constexpr uint64_t kSegmentBytesMin = 32 * wire::MiB;  // the configuration's default
inline constexpr uint64_t kSpareSlots = 512;                  // granted or retired at a time

// Of one chunk in a host slot, header included.
uint64_t slot_bytes_of(uint32_t block_tokens, uint64_t chunk_bytes);

// The segment that a tier of this capacity is made of (daemon/tiers/host_segments.cpp).
uint64_t segment_bytes_of(uint64_t capacity_bytes, uint64_t slot_bytes, uint64_t segment_bytes_min);

// A capacity with room for `chunks` and kSpareSlots more, in whole segments and two to spare.
uint64_t capacity_for_chunks(uint64_t chunks, uint64_t slot_bytes, uint64_t segment_bytes_min);

// Slots in the whole segments of a capacity: at least so many chunks fit.
uint64_t chunks_in_capacity(uint64_t capacity_bytes, uint64_t slot_bytes,
                            uint64_t segment_bytes_min);

// MemAvailable of this machine; 0 if it cannot be read.
uint64_t memory_available_bytes();

}  // namespace kvtier::tools
