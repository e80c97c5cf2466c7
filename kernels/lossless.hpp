// The lossless codec, for payloads of 2-byte floats of any layout, opaque ones too: the exponents
// are packed by zstd's Huffman coder, signs and mantissas stay as they are. The format is in
// docs/kernels.md, "Lossless".
//
// A context owns the library's tables and buffers, and is for one thread at a time. Nothing throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "kernels/copy.hpp"
#include "kernels/shape.hpp"

namespace kvtier::kernels {

inline constexpr uint64_t kLosslessPieceBytes = uint64_t{128} * 1024;  // raw bytes of a piece

// No payload of so many raw bytes is larger.
constexpr uint64_t lossless_bytes_max(uint64_t raw_bytes) {
  return raw_bytes +
         4 * (raw_bytes / kLosslessPieceBytes + (raw_bytes % kLosslessPieceBytes != 0 ? 1 : 0));
}

class LosslessContext {
 public:
  // Null when memory is short.
  static std::unique_ptr<LosslessContext> create();
  ~LosslessContext();
  LosslessContext(const LosslessContext&) = delete;
  LosslessContext& operator=(const LosslessContext&) = delete;

  // The fragments' bytes, in order, as a payload in memory of the context's own, valid until the
  // next call (so that its size is known before it has to be anywhere). Empty when memory is short;
  // at most lossless_bytes_max() otherwise, and never empty for a chunk that is not.
  std::span<const std::byte> encode(std::span<const ConstFragment> sources);

  // A payload back to the fragments. With `root`, *root is the checksum root of the payload as it
  // was decoded, each byte read once. kMalformed: not a payload of so many raw bytes (targets may
  // have been written in part). kLayout: the fragments do not add up, nothing was written.
  [[nodiscard]] Status decode(std::span<const std::byte> payload, std::span<const Fragment> targets,
                              uint64_t raw_bytes, uint64_t* root = nullptr,
                              const CopyOptions& options = {});

 private:
  struct Buffers;
  LosslessContext();
  Status decode_piece(const std::byte* piece, uint32_t stored, uint64_t raw_bytes);
  std::unique_ptr<Buffers> buffers_;
};

}  // namespace kvtier::kernels
