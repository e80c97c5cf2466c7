// Prompts of benchmarks: chains of chunks whose token ids follow from a number, and storing them.
// One thread.
#pragma once

#include <vector>

#include "kvtier/kvtier.hpp"

namespace kvtier::tools {

// `chunks` chunks of chain `number`. Chains of different numbers share no chunk.
class Prompts {
 public:
  Prompts(const Space& space, size_t chunks) : space_(space), chunks_(chunks) {}

  // Token ids of a chain, valid until the next call.
  std::span<const uint32_t> tokens(uint64_t number);
  Result<KeyChain> chain(uint64_t number) { return space_.derive({.tokens = tokens(number)}); }

  // Stores the whole chain, any payload. Errors: of reserve and commit, and full when a chunk found
  // no room.
  Result<KeyChain> store(uint64_t number, std::span<const std::byte> payload);

 private:
  Status store_some(const KeyChain& chain, size_t first, size_t count,
                    std::span<const std::byte> payload);

  const Space& space_;
  const size_t chunks_;
  std::vector<uint32_t> tokens_;
};

// Small, fast, the same everywhere: which prompt comes next (SplitMix64).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t below(uint64_t end);

 private:
  uint64_t state_;
};

}  // namespace kvtier::tools
