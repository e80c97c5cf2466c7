// The payload checksum: a tree of XXH3-64 hashes, so that pieces may be made and checked in any
// order and by several threads. docs/kernels.md has the definition and a worked example in bytes.
//
//   piece i  = payload bytes [i * 65536, min((i + 1) * 65536, n)), i < ceil(n / 65536)
//   h(i)     = XXH3-64(piece i), seed 0, default secret
//   root     = XXH3-64(h(0) h(1) ... n), each a little-endian uint64, n = payload length in bytes
//
// A payload of 0 bytes has no pieces: its root is XXH3-64 of eight zero bytes.
// Nothing here allocates, locks, throws or keeps a pointer after it returns. Any thread; a
// ChecksumTree belongs to one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace kvtier::kernels {

inline constexpr size_t kPieceBytes = size_t{64} * 1024;

// Pieces of a payload. 0 for 0 bytes.
constexpr uint64_t piece_count(uint64_t payload_bytes) {
  return payload_bytes / kPieceBytes + (payload_bytes % kPieceBytes != 0);
}

// h(i) of the piece at `data`. `bytes` is kPieceBytes, or less for a payload's last piece.
uint64_t piece_hash(const std::byte* data, size_t bytes);

// The root from the hashes of all pieces, in order. False, and *root untouched, when
// piece_hashes.size() is not piece_count(payload_bytes).
[[nodiscard]] bool root_of(std::span<const uint64_t> piece_hashes, uint64_t payload_bytes,
                           uint64_t* root);

// The root of a contiguous payload: reads it, stores nothing.
uint64_t hash_only(const std::byte* payload, uint64_t payload_bytes);

// How the bytes of a copy are written.
enum class StoreKind : uint8_t {
  kBySize = 0,     // streaming when the whole copy is larger than CopyOptions::temporal_bytes_max
  kTemporal = 1,   // through the caches: for a target that is small and read at once
  kStreaming = 2,  // around the caches: no read of the target, caches stay as they were
};

namespace detail {

// One XXH3-64 over a message whose length is known at its start. Trivially copyable; the meaning of
// the fields is kernels/xxh3_stream.hpp's.
struct Xxh3State {
  uint64_t lanes[8];
  std::byte carry[256];  // bytes that do not fill a stripe yet
  uint64_t length;
  uint64_t position;
};

}  // namespace detail

// The root of a payload that arrives in order, in parts of any size; fixed size (under 1 KiB), for
// payloads of any length.
class ChecksumTree {
 public:
  // For a payload of exactly `payload_bytes`.
  explicit ChecksumTree(uint64_t payload_bytes);

  // The next `bytes` of the payload. False, and nothing done, when that is more than is missing.
  [[nodiscard]] bool update(const std::byte* data, size_t bytes);

  // update() that also copies to `target`: what is hashed is what is stored, because each byte of
  // the source is read once into a register or a private buffer and both hashed and stored from
  // there. `next` is where the source goes on after this part (prefetched, never read; may be
  // null). kBySize means kStreaming here. Streaming stores need a call of stores_done() before
  // another thread is told.
  [[nodiscard]] bool copy_update(std::byte* target, const std::byte* source, size_t bytes,
                                 StoreKind store, const std::byte* next = nullptr);

  uint64_t missing_bytes() const { return payload_bytes_ - done_bytes_; }

  // The root. False while bytes are missing.
  [[nodiscard]] bool root(uint64_t* root) const;

 private:
  // absorb(offset, bytes) for each part of `bytes` that lies in one piece.
  template <typename Absorb>
  bool in_pieces(size_t bytes, const Absorb& absorb);
  void start_piece();
  void finish_piece();

  detail::Xxh3State piece_;
  detail::Xxh3State top_;
  uint64_t payload_bytes_;
  uint64_t done_bytes_ = 0;
};

// Orders earlier streaming stores of this thread before its later stores (sfence). The whole
// copies of kernels/copy.hpp do this themselves.
void stores_done();

}  // namespace kvtier::kernels
