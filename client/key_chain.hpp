// Inside of KeyChain: keys, and what the headers of these chunks must say. One thread at a time.
#pragma once

#include <array>
#include <vector>

#include "kvtier/kvtier.hpp"
#include "kvtier/wire/key.hpp"

namespace kvtier {
namespace client {

// Random, one a session.
struct TagSecret {
  uint64_t id = 0;  // not 0
  uint8_t bytes[wire::kSecretBytes];
};

}  // namespace client

struct KeyChain::Impl {
  std::vector<ChunkKey> keys;
  ChunkKey root;
  wire::Fingerprint group;  // of the spaces it is for
  uint64_t secret_id = 0;   // keys of another tenant secret name nothing
  uint32_t tokens_per_chunk = 0;
  std::vector<uint32_t> tokens;        // of all chunks, or none (folded without ids)
  std::vector<uint64_t> extra_ids;     // of all chunks, in order
  std::vector<uint32_t> extra_begins;  // by chunk, one more than chunks; empty without extra ids
  std::vector<std::array<uint8_t, 32>> engine_hashes;  // folded chains only

  ChunkKey parent(size_t chunk) const { return chunk == 0 ? root : keys[chunk - 1]; }
  std::span<const uint32_t> chunk_tokens(size_t chunk) const {
    if (tokens.empty()) return {};
    return {tokens.data() + chunk * tokens_per_chunk, tokens_per_chunk};
  }
  std::span<const uint64_t> chunk_extras(size_t chunk) const {
    if (extra_begins.empty()) return {};
    return {extra_ids.data() + extra_begins[chunk], extra_begins[chunk + 1] - extra_begins[chunk]};
  }

  // 64 bits of everything a header must say of a chunk except its space, under a secret that only
  // this session has: names contents in the table of verified headers independently of the key, so
  // that a header verified for one prompt says nothing to another prompt with an equal key. Made
  // when first asked for, kTagBatch chunks at a time, and kept.
  uint64_t tag(size_t chunk, const client::TagSecret& secret) {
    if (tags_of_ != secret.id || chunk >= tags_.size()) make_tags(chunk, secret);
    return tags_[chunk];
  }

 private:
  static constexpr size_t kTagBatch = 64;
  // Throws bad_alloc.
  void make_tags(size_t chunk, const client::TagSecret& secret);
  void append_tags(const client::TagSecret& secret);
  std::vector<uint64_t> tags_;  // of a head of the chain
  uint64_t tags_of_ = 0;
};

}  // namespace kvtier
