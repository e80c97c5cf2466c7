// The checksum tree over the streamed XXH3-64. Any thread; a ChecksumTree is its caller's own.
#include "kernels/checksum.hpp"

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/dispatch.hpp"
#include "kernels/xxh3_stream.hpp"

namespace kvtier::kernels {
namespace {

using detail::Operations;
using detail::operations;
using detail::Xxh3State;

static_assert(sizeof(ChecksumTree) <= 1024);

// The message that the root is a hash of: the piece hashes, then the payload's length.
uint64_t top_bytes(uint64_t payload_bytes) {
  return (piece_count(payload_bytes) + 1) * sizeof(uint64_t);
}

void absorb_number(Xxh3State& state, uint64_t number) {
  std::byte bytes[sizeof number];
  std::memcpy(bytes, &number, sizeof number);  // x86-64 is little-endian
  operations().absorb(state, bytes, sizeof bytes, nullptr);
}

}  // namespace

uint64_t piece_hash(const std::byte* data, size_t bytes) {
  Xxh3State state;
  detail::xxh3_start(state, bytes);
  operations().absorb(state, data, bytes, nullptr);
  return detail::xxh3_finish(state);
}

bool root_of(std::span<const uint64_t> piece_hashes, uint64_t payload_bytes, uint64_t* root) {
  if (piece_hashes.size() != piece_count(payload_bytes)) return false;
  Xxh3State state;
  detail::xxh3_start(state, top_bytes(payload_bytes));
  const std::span<const std::byte> bytes = std::as_bytes(piece_hashes);
  operations().absorb(state, bytes.data(), bytes.size(), nullptr);
  absorb_number(state, payload_bytes);
  *root = detail::xxh3_finish(state);
  return true;
}

uint64_t hash_only(const std::byte* payload, uint64_t payload_bytes) {
  ChecksumTree tree(payload_bytes);
  uint64_t root = 0;
  // Neither can fail: the length is the one the tree was made for.
  (void)(tree.update(payload, payload_bytes) && tree.root(&root));
  return root;
}

ChecksumTree::ChecksumTree(uint64_t payload_bytes) : payload_bytes_(payload_bytes) {
  detail::xxh3_start(top_, top_bytes(payload_bytes));
  start_piece();
}

void ChecksumTree::start_piece() {
  detail::xxh3_start(piece_, std::min<uint64_t>(kPieceBytes, missing_bytes()));
}

void ChecksumTree::finish_piece() {
  absorb_number(top_, detail::xxh3_finish(piece_));
  start_piece();
}

template <typename Absorb>
bool ChecksumTree::in_pieces(size_t bytes, const Absorb& absorb) {
  if (bytes > missing_bytes()) return false;
  size_t offset = 0;
  while (offset < bytes) {
    const size_t part = std::min<uint64_t>(bytes - offset, piece_.length - piece_.position);
    absorb(offset, part);
    offset += part;
    done_bytes_ += part;
    if (piece_.position == piece_.length) finish_piece();
  }
  return true;
}

bool ChecksumTree::update(const std::byte* data, size_t bytes) {
  const Operations& use = operations();
  return in_pieces(bytes, [&](size_t offset, size_t part) {
    const bool last = offset + part == bytes;
    use.absorb(piece_, data + offset, part, last ? nullptr : data + offset + part);
  });
}

bool ChecksumTree::copy_update(std::byte* target, const std::byte* source, size_t bytes,
                               StoreKind store, const std::byte* next) {
  const Operations& use = operations();
  const auto absorb = store == StoreKind::kTemporal ? use.absorb_store : use.absorb_stream;
  return in_pieces(bytes, [&](size_t offset, size_t part) {
    const bool last = offset + part == bytes;
    absorb(piece_, target + offset, source + offset, part, last ? next : source + offset + part);
  });
}

bool ChecksumTree::root(uint64_t* root) const {
  if (missing_bytes() != 0) return false;
  Xxh3State top = top_;
  absorb_number(top, payload_bytes_);
  *root = detail::xxh3_finish(top);
  return true;
}

void stores_done() {
  _mm_sfence();
}

}  // namespace kvtier::kernels
