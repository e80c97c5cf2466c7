// The checksum of a chunk's header: XXH3-64 of its header_bytes with checksum, flags and the field
// itself taken as 0 (docs/protocol.md, section 7). Pure; any thread; no allocation.
#pragma once

#include <cstring>

#include "kvtier/wire/chunk_header.hpp"
#include "kvtier/wire/key.hpp"

namespace kvtier::wire {

// `slot` has header_bytes readable bytes, header_bytes >= sizeof(ChunkHeader).
inline uint64_t header_checksum_of(const std::byte* slot, uint32_t header_bytes) {
  ChunkHeader header;
  std::memcpy(&header, slot, sizeof header);
  header.checksum = 0;
  header.flags = 0;
  header.header_checksum = 0;
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_64bits_reset(&state);
  XXH3_64bits_update(&state, &header, sizeof header);
  XXH3_64bits_update(&state, slot + sizeof header, header_bytes - sizeof header);
  return XXH3_64bits_digest(&state);
}

}  // namespace kvtier::wire
