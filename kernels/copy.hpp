// Copies of chunk payloads: contiguous, gathered from an engine's fragments, scattered to them;
// each with or without the checksum of kernels/checksum.hpp made in the same pass.
//
// Plain pointers. Nothing here allocates, locks, throws or keeps a pointer after it returns; no
// byte outside the targets is written and none outside the sources is read. Any alignment and any
// length, also 0 (a pointer may then be null). Source and target must not overlap. Any thread. A
// fault while reading or writing (SIGBUS of a shared mapping) is the caller's to guard.
//
// Checksummed copies hash what they store: every source byte is read once, into a register or a
// private buffer, and goes from there to the hash and to the target. So a root that matches says
// that the bytes written to the target were right, even if another process changed the source
// meanwhile. It says nothing about the target later, nor about a source read again. When a root
// does not match the target has been written all the same: the caller must not use it.
//
// All streaming stores are ordered before the caller's next store when a call returns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/checksum.hpp"
#include "kvtier/fragment.hpp"

namespace kvtier::kernels {

// Copies up to this size go through the caches unless asked otherwise: such a target fits the L2
// of every processor in use and is about to be read (docs/kernels.md has the measurement).
inline constexpr uint64_t kTemporalBytesMax = uint64_t{128} * 1024;

struct CopyOptions {
  StoreKind store = StoreKind::kBySize;
  // kBySize streams copies larger than this; the whole payload counts, not one fragment.
  uint64_t temporal_bytes_max = kTemporalBytesMax;
};

// The C library's memcpy.
void copy_plain(std::byte* target, const std::byte* source, size_t bytes);

// With non-temporal stores, whatever the size.
void copy_stream(std::byte* target, const std::byte* source, size_t bytes);

// As `options` say: copy_plain or copy_stream.
void copy(std::byte* target, const std::byte* source, size_t bytes,
          const CopyOptions& options = {});

// Copies a payload and returns its checksum root.
uint64_t copy_and_hash(std::byte* target, const std::byte* source, size_t bytes,
                       const CopyOptions& options = {});

// Copies a part of a payload that starts at a piece and gives the hash of each of its pieces, for
// several threads sharing one payload: piece_hashes[i] for piece_count(bytes) pieces; root_of()
// makes the root of all. A part that is not the last must be a multiple of kPieceBytes. False, and
// nothing done, when piece_hashes.size() is not piece_count(bytes).
[[nodiscard]] bool copy_and_hash_pieces(std::byte* target, const std::byte* source, size_t bytes,
                                        std::span<uint64_t> piece_hashes,
                                        const CopyOptions& options = {});

// An engine's memory, in parts (include/kvtier/fragment.hpp).
using kvtier::ConstFragment;
using kvtier::Fragment;

// Fragments of one size at one distance: fragment i starts at base + i * stride_bytes. A stride
// smaller than a fragment is refused (they would overlap) unless count is 0 or 1.
struct StridedShape {
  uint64_t count;
  uint64_t fragment_bytes;
  uint64_t stride_bytes;
};

// Fragments to payload (store) and payload to fragments (load). The list is read twice and must not
// change meanwhile. False, and nothing written, when the sizes do not add up to payload_bytes (or a
// sum overflows, or a strided shape is refused).
[[nodiscard]] bool gather(std::byte* payload, uint64_t payload_bytes,
                          std::span<const ConstFragment> sources, const CopyOptions& options = {});
[[nodiscard]] bool scatter(std::span<const Fragment> targets, const std::byte* payload,
                           uint64_t payload_bytes, const CopyOptions& options = {});
[[nodiscard]] bool gather(std::byte* payload, uint64_t payload_bytes, const std::byte* source,
                          const StridedShape& shape, const CopyOptions& options = {});
[[nodiscard]] bool scatter(std::byte* target, const StridedShape& shape, const std::byte* payload,
                           uint64_t payload_bytes, const CopyOptions& options = {});

// The same, and *root is the checksum root of the bytes that were written. *root is untouched when
// false is returned.
[[nodiscard]] bool gather_and_hash(std::byte* payload, uint64_t payload_bytes,
                                   std::span<const ConstFragment> sources, uint64_t* root,
                                   const CopyOptions& options = {});
[[nodiscard]] bool scatter_and_hash(std::span<const Fragment> targets, const std::byte* payload,
                                    uint64_t payload_bytes, uint64_t* root,
                                    const CopyOptions& options = {});
[[nodiscard]] bool gather_and_hash(std::byte* payload, uint64_t payload_bytes,
                                   const std::byte* source, const StridedShape& shape,
                                   uint64_t* root, const CopyOptions& options = {});
[[nodiscard]] bool scatter_and_hash(std::byte* target, const StridedShape& shape,
                                    const std::byte* payload, uint64_t payload_bytes,
                                    uint64_t* root, const CopyOptions& options = {});

}  // namespace kvtier::kernels
