// Byte planes and zstd. The only file that knows the library.
#include "kernels/lossless.hpp"

#define ZSTD_STATIC_LINKING_ONLY  // for ZSTD_c_literalCompressionMode; the symbols are the shared
                                  // ones
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "kernels/checksum.hpp"
#include "kernels/codec_rows.hpp"

namespace kvtier::kernels {
namespace {

constexpr uint32_t kStoredRaw = 1u << 31;
// The fastest level: next to no search for repetitions, which exponents do not have, and the
// Huffman coder for everything (by default these levels leave literals as they are).
constexpr int kLevel = -100000;

uint64_t pieces_of(uint64_t raw_bytes) {
  return (raw_bytes + kLosslessPieceBytes - 1) / kLosslessPieceBytes;
}
uint64_t piece_bytes(uint64_t raw_bytes, uint64_t piece) {
  return std::min(kLosslessPieceBytes, raw_bytes - piece * kLosslessPieceBytes);
}

}  // namespace

struct LosslessContext::Buffers {
  ZSTD_CCtx* encoder = ZSTD_createCCtx();
  ZSTD_DCtx* decoder = ZSTD_createDCtx();
  alignas(64) std::byte raw[kLosslessPieceBytes];
  alignas(64) std::byte plane[kLosslessPieceBytes / 2];
  alignas(64) std::byte stored[kLosslessPieceBytes];
  std::vector<std::byte> payload;

  Buffers() = default;
  ~Buffers() {
    ZSTD_freeCCtx(encoder);
    ZSTD_freeDCtx(decoder);
  }
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;

  // `raw` to `out`, which has room for as many bytes; the size, or 0 when that would not be
  // smaller.
  uint64_t encode_piece(uint64_t raw_bytes, std::byte* out) {
    const uint64_t elements = raw_bytes / 2;
    if (elements == 0) return 0;
    std::byte* rest = stored;
    detail::codec_operations(Element::kBf16).split_planes(raw, elements, plane, rest);
    const uint64_t tail = raw_bytes % 2;
    const size_t frame = ZSTD_compress2(encoder, out, elements - 1, plane, elements);
    if (ZSTD_isError(frame) != 0) return 0;  // no room: not smaller
    std::memcpy(out + frame, rest, elements);
    std::memcpy(out + frame + elements, raw + 2 * elements, tail);
    return frame + elements + tail;
  }
};

LosslessContext::LosslessContext() = default;
LosslessContext::~LosslessContext() = default;

std::unique_ptr<LosslessContext> LosslessContext::create() {
  std::unique_ptr<LosslessContext> context(new (std::nothrow) LosslessContext());
  if (context) context->buffers_.reset(new (std::nothrow) Buffers());
  if (!context || !context->buffers_) return nullptr;
  Buffers& b = *context->buffers_;
  if (b.encoder == nullptr || b.decoder == nullptr) return nullptr;
  const bool set =
      ZSTD_isError(ZSTD_CCtx_setParameter(b.encoder, ZSTD_c_compressionLevel, kLevel)) == 0 &&
      ZSTD_isError(
          ZSTD_CCtx_setParameter(b.encoder, ZSTD_c_literalCompressionMode, ZSTD_ps_enable)) == 0;
  return set ? std::move(context) : nullptr;
}

std::span<const std::byte> LosslessContext::encode(std::span<const ConstFragment> sources) {
  Buffers& b = *buffers_;
  uint64_t raw_bytes = 0;
  for (const ConstFragment& source : sources) raw_bytes += source.bytes;
  const uint64_t pieces = pieces_of(raw_bytes);
  try {
    b.payload.resize(lossless_bytes_max(raw_bytes));
  } catch (const std::bad_alloc&) {
    return {};
  }
  std::byte* out = b.payload.data() + 4 * pieces;
  size_t fragment = 0;
  size_t inside = 0;
  for (uint64_t piece = 0; piece < pieces; ++piece) {
    const uint64_t bytes = piece_bytes(raw_bytes, piece);
    for (uint64_t filled = 0; filled < bytes;) {
      const ConstFragment& from = sources[fragment];
      const uint64_t part = std::min<uint64_t>(bytes - filled, from.bytes - inside);
      if (part > 0) std::memcpy(b.raw + filled, from.data + inside, part);
      filled += part;
      inside += part;
      if (inside == from.bytes) {
        inside = 0;
        ++fragment;
      }
    }
    uint32_t word = static_cast<uint32_t>(b.encode_piece(bytes, out));
    if (word == 0) {
      std::memcpy(out, b.raw, bytes);
      word = static_cast<uint32_t>(bytes) | kStoredRaw;
    }
    std::memcpy(b.payload.data() + 4 * piece, &word, sizeof word);
    out += word & ~kStoredRaw;
  }
  return {b.payload.data(), static_cast<size_t>(out - b.payload.data())};
}

// From private memory, to `raw`.
Status LosslessContext::decode_piece(const std::byte* piece, uint32_t word, uint64_t raw_bytes) {
  Buffers& b = *buffers_;
  const uint64_t stored = word & ~kStoredRaw;
  if ((word & kStoredRaw) != 0) {
    std::memcpy(b.raw, piece, raw_bytes);
    return Status::kOk;
  }
  const uint64_t elements = raw_bytes / 2;
  const uint64_t frame = stored - elements - raw_bytes % 2;
  const size_t found = ZSTD_decompressDCtx(b.decoder, b.plane, elements, piece, frame);
  if (ZSTD_isError(found) != 0 || found != elements) return Status::kMalformed;
  detail::codec_operations(Element::kBf16).merge_planes(b.plane, piece + frame, elements, b.raw);
  std::memcpy(b.raw + 2 * elements, piece + frame + elements, raw_bytes % 2);
  return Status::kOk;
}

Status LosslessContext::decode(std::span<const std::byte> payload,
                               std::span<const Fragment> targets, uint64_t raw_bytes,
                               uint64_t* root, const CopyOptions& options) {
  uint64_t sum = 0;
  for (const Fragment& target : targets) {
    if (__builtin_add_overflow(sum, target.bytes, &sum)) return Status::kLayout;
  }
  if (sum != raw_bytes) return Status::kLayout;
  const uint64_t pieces = pieces_of(raw_bytes);
  if (payload.size() < 4 * pieces || payload.size() > lossless_bytes_max(raw_bytes)) {
    return Status::kMalformed;
  }
  Buffers& b = *buffers_;
  try {
    b.payload.resize(4 * pieces);
  } catch (const std::bad_alloc&) {
    return Status::kSize;
  }
  ChecksumTree tree(payload.size());
  const std::byte* at = payload.data();
  // Everything is copied before it is looked at: what was hashed is what is decoded.
  const auto take = [&](std::byte* to, uint64_t bytes) {
    if (root != nullptr && bytes > 0) {
      (void)tree.copy_update(to, at, bytes, StoreKind::kTemporal, at + bytes);
    } else if (bytes > 0) {  // an empty payload has no memory
      std::memcpy(to, at, bytes);
    }
    at += bytes;
  };
  take(b.payload.data(), 4 * pieces);
  size_t fragment = 0;
  size_t inside = 0;
  for (uint64_t piece = 0; piece < pieces; ++piece) {
    uint32_t word;
    std::memcpy(&word, b.payload.data() + 4 * piece, sizeof word);
    const uint64_t bytes = piece_bytes(raw_bytes, piece);
    const uint64_t stored = word & ~kStoredRaw;
    const uint64_t left = payload.size() - static_cast<uint64_t>(at - payload.data());
    const bool plausible = (word & kStoredRaw) != 0
                               ? stored == bytes
                               : stored < bytes && stored > bytes / 2 + bytes % 2;
    if (stored > left || !plausible) return Status::kMalformed;
    take(b.stored, stored);
    if (const Status status = decode_piece(b.stored, word, bytes); status != Status::kOk) {
      return status;
    }
    for (uint64_t done = 0; done < bytes;) {
      const Fragment& to = targets[fragment];
      const uint64_t part = std::min<uint64_t>(bytes - done, to.bytes - inside);
      if (part > 0) copy(to.data + inside, b.raw + done, part, options);
      done += part;
      inside += part;
      if (inside == to.bytes) {
        inside = 0;
        ++fragment;
      }
    }
  }
  if (at != payload.data() + payload.size()) return Status::kMalformed;
  if (root != nullptr) (void)tree.root(root);
  return Status::kOk;
}

}  // namespace kvtier::kernels
