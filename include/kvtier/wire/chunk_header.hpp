// The header in front of every payload, the same bytes in host slots, on nvme and remote.
// Written by the daemon before a grant; the checksum fields at commit. docs/protocol.md, section 7.
#pragma once

#include "kvtier/wire/types.hpp"

namespace kvtier::wire {

inline constexpr uint64_t kChunkMagic = 0x3130'4b4e'4843'564bULL;  // "KVCHNK01"

// Fixed part; then token ids (uint32 each), padding to 8, extra ids (uint64 each), padding with
// zeros to header_bytes. The payload follows.
struct ChunkHeader {
  uint64_t magic;
  uint32_t version;       // 1
  uint32_t header_bytes;  // multiple of 4096
  ChunkKey key;
  ChunkKey parent;          // the space's root key for position 0
  uint64_t fingerprint_lo;  // of the space
  uint64_t fingerprint_hi;
  uint64_t payload_bytes;   // as stored
  uint64_t checksum;        // root of the payload's checksum tree; 0 and no flag: none yet
  uint8_t engine_hash[32];  // the engine's own hash where the key was folded from it, else zero
  uint32_t tokens;
  uint32_t extra_ids;
  uint32_t position;
  uint32_t codec;
  uint32_t flags;            // kHeaderHasChecksum
  uint32_t generation;       // of the slot when granted
  uint64_t header_checksum;  // XXH3-64 of header_bytes with checksum, flags and this taken as 0
  uint64_t reserved[14];
};
static_assert(sizeof(ChunkHeader) == 256);
inline constexpr uint32_t kHeaderHasChecksum = 1u << 0;

constexpr uint64_t extra_ids_offset(uint32_t tokens) {
  return round_up(sizeof(ChunkHeader) + uint64_t{tokens} * 4, 8);
}
// Bytes in front of the payload for chunks of up to `tokens` tokens: room for 16 extra ids at
// least, rounded to whole pages so that one direct I/O reads header and payload.
constexpr uint64_t header_bytes_for(uint32_t tokens) {
  return round_up(extra_ids_offset(tokens) + 16 * 8, kPageBytes);
}
static_assert(header_bytes_for(512) == 4096);

// Slot sizes come in eight steps per power of two and whole pages, so at most 12.5 % is lost.
constexpr uint64_t slot_bytes_for(uint64_t bytes) {
  const uint64_t need = round_up(bytes == 0 ? 1 : bytes, kPageBytes);
  const uint64_t power = std::bit_floor(need);
  const uint64_t step = power / 8 < kPageBytes ? kPageBytes : power / 8;
  return round_up(need, step);
}
static_assert(slot_bytes_for(68 * KiB) == 72 * KiB);
static_assert(slot_bytes_for(4096) == 4096);

}  // namespace kvtier::wire
