// Space::derive and Space::fold: from a prompt, or an engine's own hashes, to keys. Any thread.
#include <algorithm>
#include <cstring>

#include "client/space_impl.hpp"
#include "kernels/hash.hpp"
#include "kvtier/wire/chunk_header.hpp"

namespace kvtier {
namespace {

using client::guarded;

struct Secret {
  wire::KeySecret bytes;
  uint64_t id = 0;
};

Error no_secret() {
  return {Code::kUnavailable,
          "no daemon was ever attached: keys need the tenant's secret; recompute"};
}

// An empty chain of the space, under the tenant's latest secret.
Result<std::unique_ptr<KeyChain::Impl>> begin_chain(const Space::Impl& space, Secret* secret) {
  if (!space.core->last_secret(&secret->bytes, &secret->id)) return no_secret();
  auto chain = std::make_unique<KeyChain::Impl>();
  chain->group = space.record->group;
  chain->secret_id = secret->id;
  chain->tokens_per_chunk = space.record->spec.tokens_per_chunk;
  chain->root = wire::root_key(secret->bytes, chain->group);
  return chain;
}

// Copies the extra ids of full chunks, and checks their order and number.
Status take_extras(const Prompt& prompt, size_t chunks, KeyChain::Impl* chain) {
  if (prompt.extras.empty()) return {};
  const uint64_t room = (wire::header_bytes_for(chain->tokens_per_chunk) -
                         wire::extra_ids_offset(chain->tokens_per_chunk)) /
                        sizeof(uint64_t);
  const uint64_t ids_max = std::min<uint64_t>(room, wire::kExtraIdsMax);
  chain->extra_begins.assign(chunks + 1, 0);
  uint32_t last = 0;
  for (const ExtraId& extra : prompt.extras) {
    if (extra.chunk < last) {
      return Error::format(Code::kInvalidArgument, "extra ids not sorted: chunk %u after %u",
                           extra.chunk, last);
    }
    last = extra.chunk;
    if (extra.chunk >= chunks) break;  // of the partial tail, which has no key
    chain->extra_ids.push_back(extra.id);
    if (++chain->extra_begins[extra.chunk + 1] > ids_max) {
      return Error::format(Code::kInvalidArgument, "chunk %u has more than %llu extra ids",
                           extra.chunk, static_cast<unsigned long long>(ids_max));
    }
  }
  for (size_t i = 0; i < chunks; ++i) chain->extra_begins[i + 1] += chain->extra_begins[i];
  return {};
}

ChunkKey hash_with_extras(const wire::KeySecret& secret, const KeyChain::Impl& chain, size_t chunk,
                          std::vector<std::byte>* buffer) {
  const auto tokens = std::as_bytes(chain.chunk_tokens(chunk));
  const auto extras = std::as_bytes(chain.chunk_extras(chunk));
  buffer->assign(tokens.begin(), tokens.end());
  buffer->insert(buffer->end(), extras.begin(), extras.end());
  return wire::content_hash(secret, buffer->data(), buffer->size());
}

void derive_keys(const wire::KeySecret& secret, KeyChain::Impl* chain) {
  const size_t chunks = chain->keys.size();
  constexpr size_t kBatch = 64;
  kernels::Hash128 hashes[kBatch];
  std::vector<std::byte> buffer;
  ChunkKey parent = chain->root;
  for (size_t begin = 0; begin < chunks; begin += kBatch) {
    const size_t count = std::min(kBatch, chunks - begin);
    const size_t bytes = size_t{chain->tokens_per_chunk} * sizeof(uint32_t);
    kernels::hash128_batch({.base = chain->chunk_tokens(begin).data(),
                            .stride_bytes = bytes,
                            .bytes_each = bytes,
                            .count = count},
                           secret.bytes, sizeof secret.bytes, hashes);
    for (size_t i = 0; i < count; ++i) {
      ChunkKey content = {hashes[i].low, hashes[i].high};
      if (!chain->chunk_extras(begin + i).empty()) {
        content = hash_with_extras(secret, *chain, begin + i, &buffer);
      }
      parent = wire::chain_key(secret, parent, content);
      chain->keys[begin + i] = parent;
    }
  }
}

}  // namespace

void KeyChain::Impl::make_tags(size_t chunk, const client::TagSecret& secret) {
  if (tags_of_ != secret.id) tags_.clear();
  tags_of_ = secret.id;
  tags_.reserve(keys.size());
  while (tags_.size() <= chunk) append_tags(secret);
}

void KeyChain::Impl::append_tags(const client::TagSecret& secret) {
  const size_t first = tags_.size();
  const size_t count = std::min(kTagBatch, keys.size() - first);
  kernels::Hash128 hashes[kTagBatch] = {};
  if (!tokens.empty()) {
    const size_t bytes = size_t{tokens_per_chunk} * sizeof(uint32_t);
    kernels::hash128_batch({.base = chunk_tokens(first).data(),
                            .stride_bytes = bytes,
                            .bytes_each = bytes,
                            .count = count},
                           secret.bytes, sizeof secret.bytes, hashes);
  }
  for (size_t i = 0; i < count; ++i) {
    const auto extras = chunk_extras(first + i);
    struct {
      kernels::Hash128 tokens;
      uint64_t extras = 0;
      ChunkKey parent;
      uint64_t position = 0;
      std::array<uint8_t, 32> engine_hash = {};
    } all;
    all.tokens = hashes[i];
    if (!extras.empty()) {
      all.extras = XXH3_64bits_withSecret(extras.data(), extras.size_bytes(), secret.bytes,
                                          sizeof secret.bytes);
    }
    all.parent = parent(first + i);
    all.position = first + i;
    if (!engine_hashes.empty()) all.engine_hash = engine_hashes[first + i];
    tags_.push_back(XXH3_64bits_withSecret(&all, sizeof all, secret.bytes, sizeof secret.bytes));
  }
}

KeyChain::KeyChain() = default;
KeyChain::~KeyChain() = default;
KeyChain::KeyChain(KeyChain&&) noexcept = default;
KeyChain& KeyChain::operator=(KeyChain&&) noexcept = default;

std::span<const ChunkKey> KeyChain::keys() const {
  if (impl_ == nullptr) return {};
  return impl_->keys;
}

size_t KeyChain::size() const {
  return impl_ == nullptr ? 0 : impl_->keys.size();
}

Result<KeyChain> Space::derive(const Prompt& prompt) const {
  if (impl_->core->forked()) return client::forked_error();
  return guarded<KeyChain>([&]() -> Result<KeyChain> {
    Secret secret;
    auto begun = begin_chain(*impl_, &secret);
    if (!begun.ok()) return begun.error();
    KeyChain chain;
    chain.impl_ = std::move(begun).value();
    KeyChain::Impl& made = *chain.impl_;
    const size_t chunks = prompt.tokens.size() / made.tokens_per_chunk;
    if (chunks > UINT32_MAX) return Error(Code::kInvalidArgument, "a prompt of 2^32 chunks");
    const auto tokens = prompt.tokens.first(chunks * made.tokens_per_chunk);
    made.tokens.assign(tokens.begin(), tokens.end());
    made.keys.resize(chunks);
    if (Status status = take_extras(prompt, chunks, &made); !status) return status.error();
    derive_keys(secret.bytes, &made);
    return chain;
  });
}

Result<KeyChain> Space::fold(std::span<const std::array<uint8_t, 32>> engine_hashes,
                             std::span<const uint32_t> tokens) const {
  if (impl_->core->forked()) return client::forked_error();
  return guarded<KeyChain>([&]() -> Result<KeyChain> {
    Secret secret;
    auto begun = begin_chain(*impl_, &secret);
    if (!begun.ok()) return begun.error();
    KeyChain chain;
    chain.impl_ = std::move(begun).value();
    KeyChain::Impl& made = *chain.impl_;
    const size_t due = engine_hashes.size() * made.tokens_per_chunk;
    if (!tokens.empty() && tokens.size() < due) {
      return Error::format(Code::kInvalidArgument, "%zu tokens for %zu hashes; due are %zu or none",
                           tokens.size(), engine_hashes.size(), due);
    }
    if (!tokens.empty())
      made.tokens.assign(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(due));
    made.engine_hashes.assign(engine_hashes.begin(), engine_hashes.end());
    made.keys.reserve(engine_hashes.size());
    for (const auto& hash : engine_hashes) {
      uint8_t bytes[32];
      std::memcpy(bytes, hash.data(), sizeof bytes);
      made.keys.push_back(wire::fold_engine_hash(secret.bytes, made.root, bytes));
    }
    return chain;
  });
}

}  // namespace kvtier
