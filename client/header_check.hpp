// Compares the header of a chunk with what a key chain says it must be: once for each use of a slot
// and session (protocol.md, section 7). Any thread; no system call, no allocation.
//
// Headers lie in memory that every client of the tenant can write: nothing in one is used as an
// offset or a size before it was compared with a value this process computed itself.
#pragma once

#include "client/key_chain.hpp"
#include "client/segments.hpp"
#include "client/session_core.hpp"
#include "kvtier/wire/chunk_header.hpp"

namespace kvtier::client {

enum class HeaderVerdict : uint8_t {
  kSame = 0,
  kOther = 1,    // a sound header of this key with other ids: a collision of keys
  kCodec = 2,    // in a codec this client cannot read
  kCorrupt = 3,  // the header contradicts itself, or the index: damaged, or in the wrong slot
};

struct HeaderDue {
  KeyChain::Impl* chain;
  size_t chunk;
  const SpaceRecord* space;
  const OpenedSpace* opened;
  uint32_t payload_bytes;  // as the index says
};

// `slot` is where the header begins; the place's lease is held.
HeaderVerdict check_header(const HeaderDue& due, wire::Place place, const std::byte* slot);

// The word of the verified table for this content in this use of the slot. Never 0.
inline uint64_t verified_word(const HeaderDue& due, wire::Place place, const TagSecret& secret) {
  const uint64_t word = (due.chain->tag(due.chunk, secret) ^ due.space->fingerprint.lo) +
                        uint64_t{place.generation()} * 0x9e37'79b9'7f4a'7c15ULL;
  return word == 0 ? 1 : word;
}

}  // namespace kvtier::client
