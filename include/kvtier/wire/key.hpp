// How keys are made: the one definition that clients execute and tests check. Pure, any thread.
//
//   content hash  H   = XXH3-128(secret; token ids as uint32 LE, then extra ids as uint64 LE)
//   key               = XXH3-128(secret; parent.lo parent.hi H.lo H.hi)
//   root key          = XXH3-128(secret; group fingerprint lo hi, "kvtier-root")
//   folded key        = XXH3-128(secret; root.lo root.hi, the engine's 32 bytes)
//
// Two steps, so that the long hashes of a prompt do not wait for each other. The secret comes from
// the tenant's salt, so keys of one tenant say nothing about another's.
#pragma once

#include <cstring>

#include "kvtier/wire/messages.hpp"
#include "kvtier/wire/types.hpp"

// Header-only xxHash, under a name of its own: no symbol of it leaves the library.
#ifndef XXH_INLINE_ALL
#define XXH_INLINE_ALL
#endif
#include <xxhash.h>

namespace kvtier::wire {

// The tenant's key secret as it came with the attach reply.
struct KeySecret {
  uint8_t bytes[kSecretBytes];
};

// Equal specs give equal fingerprints; the group's leaves the shard number out.
struct Fingerprint {
  uint64_t lo = 0;
  uint64_t hi = 0;
  bool operator==(const Fingerprint&) const = default;
};

inline ChunkKey hash_to_key(const KeySecret& secret, const void* data, size_t bytes) {
  const XXH128_hash_t hash =
      XXH3_128bits_withSecret(data, bytes, secret.bytes, sizeof secret.bytes);
  return {hash.low64, hash.high64};
}

// Token ids and extra ids must be adjacent in memory, tokens first, when there are extra ids.
inline ChunkKey content_hash(const KeySecret& secret, const void* ids, size_t bytes) {
  return hash_to_key(secret, ids, bytes);
}

// A key that came out as all zero (once in 2^128) is moved, since zero means none.
inline ChunkKey not_zero(ChunkKey key) {
  if (key.lo == 0 && key.hi == 0) key.lo = 1;
  return key;
}

inline ChunkKey chain_key(const KeySecret& secret, ChunkKey parent, ChunkKey content) {
  const uint64_t words[4] = {parent.lo, parent.hi, content.lo, content.hi};
  return not_zero(hash_to_key(secret, words, sizeof words));
}

inline ChunkKey root_key(const KeySecret& secret, Fingerprint group) {
  struct {
    uint64_t lo, hi;
    char label[16];
  } input = {group.lo, group.hi, "kvtier-root"};
  return not_zero(hash_to_key(secret, &input, sizeof input));
}

inline ChunkKey fold_engine_hash(const KeySecret& secret, ChunkKey root,
                                 const uint8_t (&engine_hash)[32]) {
  uint8_t input[48];
  std::memcpy(input, &root, 16);
  std::memcpy(input + 16, engine_hash, 32);
  return not_zero(hash_to_key(secret, input, sizeof input));
}

inline Fingerprint fingerprint_of(const SpaceSpecWire& spec) {
  const XXH128_hash_t hash = XXH3_128bits(&spec, sizeof spec);
  return {hash.low64, hash.high64};
}

inline Fingerprint group_fingerprint_of(SpaceSpecWire spec) {
  spec.shard = 0;
  return fingerprint_of(spec);
}

}  // namespace kvtier::wire
