// The bytes and token ids that a replay stores for a block, derived from the block's id alone, so
// that any byte that comes back can be checked without keeping a copy. Pure; any thread.
//
// Payload: little-endian 64-bit words w(i) = mix(seed + i * step), mix(x) = x ^ (x >> 31), where
// seed and the odd step are hashes of (id, salt). mix is a bijection and step is odd, so all words
// of a block differ: a word, chunk fragment or page in another place of the same block is found
// with certainty, one of another block (other seed, other step) but for a chance of 2^-64 a word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace kvtier::tools {

// Fills `payload`, any size and alignment. A shorter payload is a prefix of a longer one.
// `salt` keeps apart what different spaces or tenants store under one id.
void fill_payload(uint64_t id, uint64_t salt, std::span<std::byte> payload);

// How many bytes of `payload` differ from what fill_payload writes there; 0 is right.
uint64_t count_wrong_bytes(uint64_t id, uint64_t salt, std::span<const std::byte> payload);

// Token ids of the block. The first two are a bijection of `id`: two or more tokens differ for any
// two ids, a single one for any two ids below 2^32. Not words of any vocabulary.
void fill_tokens(uint64_t id, std::span<uint32_t> tokens);

}  // namespace kvtier::tools
