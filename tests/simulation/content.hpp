// What every chunk of the simulation holds: bytes made from its name, so that the model knows each
// byte without storing one. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "kvtier/wire/key.hpp"
#include "kvtier/wire/types.hpp"

namespace kvtier::simulation {

// Names a chunk: which prompt of which space of which tenant, and where in it.
struct ChunkName {
  uint32_t tenant = 0;
  uint32_t space = 0;  // shard of the tenant's group, or a space of its own
  uint32_t prompt = 0;
  uint32_t position = 0;
  auto operator<=>(const ChunkName&) const = default;  // NOLINT(modernize-use-nullptr)
};

// Keys are the same in all shards and spaces, as with one prompt for several models.
inline ChunkKey key_of(const ChunkName& name) {
  const uint64_t words[2] = {uint64_t{name.tenant} << 32 | 0x5157,
                             uint64_t{name.prompt} << 32 | name.position};
  const XXH128_hash_t hash = XXH3_128bits(words, sizeof words);
  return {hash.low64 | 1, hash.high64};
}

inline uint64_t content_seed(const ChunkName& name) {
  return XXH3_64bits(&name, sizeof name);
}

// splitmix64 of the word's number.
inline uint64_t content_word(uint64_t seed, uint64_t word) {
  uint64_t z = seed + (word + 1) * 0x9e37'79b9'7f4a'7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d0'49bb'1331'11ebULL;
  return z ^ (z >> 31);
}

inline void fill_content(const ChunkName& name, std::span<std::byte> out) {
  const uint64_t seed = content_seed(name);
  for (size_t i = 0; i + 8 <= out.size(); i += 8) {
    const uint64_t word = content_word(seed, i / 8);
    std::memcpy(out.data() + i, &word, 8);
  }
}

// How many words are not what they must be.
inline uint64_t wrong_words(const ChunkName& name, std::span<const std::byte> bytes) {
  const uint64_t seed = content_seed(name);
  uint64_t wrong = 0;
  for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    const uint64_t word = content_word(seed, i / 8);
    if (std::memcmp(bytes.data() + i, &word, 8) != 0) ++wrong;
  }
  return wrong;
}

}  // namespace kvtier::simulation
