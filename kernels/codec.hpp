// Typed chunks between an engine's paged memory and a payload, encoded on the way. One pass over
// the engine's memory (two over the keys of int8 and over fp8 by tensor), codes made in the
// first-level cache and streamed to the payload; the checksum of kernels/checksum.hpp fused where
// asked for. Formats, error bounds, what becomes of unusual numbers: docs/kernels.md, "Codecs".
//
// Nothing here allocates, locks, throws or keeps a pointer after it returns. Any alignment. Any
// thread, with up to 256 KiB of its stack. The caller's rounding mode and flush-to-zero settings do
// not matter. All instruction sets, and a device, give the same bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/copy.hpp"
#include "kernels/shape.hpp"

namespace kvtier::kernels {

// Numbers stand in chunk headers (include/kvtier/wire/types.hpp) and never change their meaning.
enum class Codec : uint32_t {
  kNone = 0,          // element[layer][plane][token][head][dim]
  kFp8TokenHead = 1,  // e4m3 with a power of two per token and head
  kFp8Tensor = 2,     // e4m3 with a power of two per layer and plane
  kInt8 = 3,          // keys: a scale per channel over the chunk; values: per token and 128 dims
  kInt4 = 4,          // keys: range per channel and 32 tokens; values: per token and 32 dims
  kLossless = 5,      // kernels/lossless.hpp; not by the functions here
};
// "none", "fp8", "fp8-tensor", "int8", "int4", "lossless"; null for a number that is none of them.
const char* codec_name(Codec codec);
// False when the name is none of them.
[[nodiscard]] bool codec_of(const char* name, Codec* codec);

// Exactly the bytes of such a chunk. 0: a bad shape, or kLossless.
uint64_t encoded_bytes(Codec codec, const ChunkShape& shape);

// A payload in memory: encode() writes it, decode() reads it.
struct PayloadTarget {
  std::byte* data;
  uint64_t bytes;  // must be encoded_bytes()
};
struct PayloadSource {
  const std::byte* data;
  uint64_t bytes;  // must be encoded_bytes()
};

// Engine memory to payload. With `root`, *root is the checksum root of the payload written.
// kNotFinite: the payload is not to be used; store the chunk under kNone.
[[nodiscard]] Status encode(Codec codec, const ChunkShape& shape, const PagedLayout& source,
                            PayloadTarget payload, uint64_t* root = nullptr,
                            const CopyOptions& options = {});
// Payload to engine memory. With `root`, *root is the root of the bytes that were decoded, each
// read once: when it is not the expected one, the target must not be used. (kMalformed comes first
// when both are wrong.)
[[nodiscard]] Status decode(Codec codec, const ChunkShape& shape, PayloadSource payload,
                            const PagedLayout& target, uint64_t* root = nullptr,
                            const CopyOptions& options = {});

// The same with fragments whose bytes, in order, are the raw chunk; no fragment may end inside the
// bytes of one token of a plane (heads * dim elements).
[[nodiscard]] Status encode(Codec codec, const ChunkShape& shape,
                            std::span<const ConstFragment> sources, PayloadTarget payload,
                            uint64_t* root = nullptr, const CopyOptions& options = {});
[[nodiscard]] Status decode(Codec codec, const ChunkShape& shape, PayloadSource payload,
                            std::span<const Fragment> targets, uint64_t* root = nullptr,
                            const CopyOptions& options = {});

}  // namespace kvtier::kernels
