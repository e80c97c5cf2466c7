#include "client/header_check.hpp"

#include <cstring>

#include "client/encoding.hpp"
#include "kvtier/wire/header_checksum.hpp"

namespace kvtier::client {
namespace {

bool sound(const wire::ChunkHeader& header, const std::byte* slot, uint32_t header_bytes) {
  return header.magic == wire::kChunkMagic && header.version == 1 &&
         header.header_bytes == header_bytes &&
         header.header_checksum == wire::header_checksum_of(slot, header_bytes);
}

bool same_ids(const HeaderDue& due, const wire::ChunkHeader& header, const std::byte* slot) {
  const auto tokens = due.chain->chunk_tokens(due.chunk);
  const auto extras = due.chain->chunk_extras(due.chunk);
  std::array<uint8_t, 32> hash = {};
  const bool folded = !due.chain->engine_hashes.empty();
  if (folded) hash = due.chain->engine_hashes[due.chunk];
  if (std::memcmp(header.engine_hash, hash.data(), hash.size()) != 0) return false;
  if (folded) {
    // Either side may have been without ids; the engine's hash decides then.
    if (tokens.empty() || header.tokens == 0) return header.extra_ids == 0;
  }
  if (header.tokens != tokens.size() || header.extra_ids != extras.size()) return false;
  if (std::memcmp(slot + sizeof header, tokens.data(), tokens.size_bytes()) != 0) return false;
  if (extras.empty()) return true;
  const uint64_t offset = wire::extra_ids_offset(static_cast<uint32_t>(tokens.size()));
  return std::memcmp(slot + offset, extras.data(), extras.size_bytes()) == 0;
}

// What the index said of the slot, and the daemon wrote into it at the grant: only damage makes it
// another.
bool in_its_place(const HeaderDue& due, const wire::ChunkHeader& header, wire::Place place) {
  return header.magic == wire::kChunkMagic && header.version == 1 &&
         header.header_bytes == due.opened->header_bytes &&
         header.key == due.chain->keys[due.chunk] &&
         header.fingerprint_lo == due.space->fingerprint.lo &&
         header.fingerprint_hi == due.space->fingerprint.hi &&
         header.payload_bytes == due.payload_bytes && header.generation == place.generation();
}

bool same_content(const HeaderDue& due, const wire::ChunkHeader& header, const std::byte* slot) {
  return header.parent == due.chain->parent(due.chunk) && header.position == due.chunk &&
         same_ids(due, header, slot);
}

}  // namespace

HeaderVerdict check_header(const HeaderDue& due, wire::Place place, const std::byte* slot) {
  wire::ChunkHeader header;
  std::memcpy(&header, slot, sizeof header);
  if (!in_its_place(due, header, place)) return HeaderVerdict::kCorrupt;
  if (same_content(due, header, slot)) {
    return plausible(due.space->spec, header.codec, header.payload_bytes) ? HeaderVerdict::kSame
                                                                          : HeaderVerdict::kCodec;
  }
  return sound(header, slot, due.opened->header_bytes) ? HeaderVerdict::kOther
                                                       : HeaderVerdict::kCorrupt;
}

}  // namespace kvtier::client
