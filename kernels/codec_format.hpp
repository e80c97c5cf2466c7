// Where everything lies in an encoded payload: pure arithmetic that CPU, device and references
// share. docs/kernels.md, "Codecs", is the specification with a worked example. Any thread.
//
//   payload    = for each layer, plane: plane header, then bands of 32 tokens (the last: what is
//   left) band       = for each head: head header, then codes[token][dim]
//
// Every header and every head's codes are padded with zeros to 64 bytes. The key plane of int8 has
// its scales (a channel over the whole chunk) in the plane header; fp8 by tensor has one exponent
// there; everything else has its scales in the head headers.
#pragma once

#include "kernels/codec.hpp"

#ifdef __CUDACC__
#define KVTIER_FORMAT __host__ __device__ constexpr
#else
#define KVTIER_FORMAT constexpr
#endif

namespace kvtier::kernels::format {

inline constexpr uint32_t kBandTokens = 32;
inline constexpr uint32_t kInt8GroupDims = 128;
inline constexpr uint32_t kInt4GroupDims = 32;

KVTIER_FORMAT uint64_t padded(uint64_t bytes) {
  return (bytes + 63) / 64 * 64;
}

// A plane as the codecs see it. Only the first of two planes is keys.
struct Plane {
  Codec codec;
  bool keys;
  uint32_t heads;
  uint32_t dim;
  uint32_t tokens;

  KVTIER_FORMAT uint32_t bands() const { return (tokens + kBandTokens - 1) / kBandTokens; }
  KVTIER_FORMAT uint32_t band_tokens(uint32_t band) const {
    const uint32_t left = tokens - band * kBandTokens;
    return left < kBandTokens ? left : kBandTokens;
  }
  // Scales of a row: values of int8 and int4, one a group of dims; fp8, one.
  KVTIER_FORMAT uint32_t groups() const {
    if (codec == Codec::kInt8) return (dim + kInt8GroupDims - 1) / kInt8GroupDims;
    if (codec == Codec::kInt4) return (dim + kInt4GroupDims - 1) / kInt4GroupDims;
    return 1;
  }
  KVTIER_FORMAT uint32_t group_dims() const {
    if (codec == Codec::kInt8) return kInt8GroupDims;
    if (codec == Codec::kInt4) return kInt4GroupDims;
    return dim;
  }
  KVTIER_FORMAT uint64_t channel_header_bytes() const { return padded(uint64_t{dim} * 2); }

  KVTIER_FORMAT uint64_t header_bytes() const {
    if (codec == Codec::kInt8 && keys) return heads * channel_header_bytes();
    return codec == Codec::kFp8Tensor ? 64 : 0;
  }
  // int4 has two tables of this size, scales and then least values; all others one.
  KVTIER_FORMAT uint64_t table_bytes(uint32_t count) const {
    if (codec == Codec::kFp8TokenHead) return padded(count);
    if (codec == Codec::kInt8) return keys ? 0 : padded(uint64_t{count} * groups() * 2);
    if (codec == Codec::kInt4) {
      return keys ? channel_header_bytes() : padded(uint64_t{count} * groups() * 2);
    }
    return 0;
  }
  KVTIER_FORMAT uint64_t head_header_bytes(uint32_t count) const {
    return (codec == Codec::kInt4 ? 2 : 1) * table_bytes(count);
  }
  KVTIER_FORMAT uint64_t row_code_bytes() const {
    return codec == Codec::kInt4 ? (uint64_t{dim} + 1) / 2 : dim;
  }
  KVTIER_FORMAT uint64_t code_bytes(uint32_t count) const {
    return padded(count * row_code_bytes());
  }
  KVTIER_FORMAT uint64_t head_bytes(uint32_t count) const {
    return head_header_bytes(count) + code_bytes(count);
  }
  // From the start of the plane.
  KVTIER_FORMAT uint64_t band_offset(uint32_t band) const {
    return header_bytes() + uint64_t{band} * heads * head_bytes(kBandTokens);
  }
  KVTIER_FORMAT uint64_t bytes() const {
    const uint32_t last = bands() - 1;
    return band_offset(last) + heads * head_bytes(band_tokens(last));
  }
};

KVTIER_FORMAT Plane plane_of(Codec codec, const ChunkShape& shape, uint32_t plane) {
  return {codec, shape.planes == 2 && plane == 0, shape.heads, shape.dim, shape.tokens};
}
// Of plane `plane` of layer `layer`, from the start of the payload.
KVTIER_FORMAT uint64_t plane_offset(Codec codec, const ChunkShape& shape, uint32_t layer,
                                    uint32_t plane) {
  const uint64_t first = plane_of(codec, shape, 0).bytes();
  const uint64_t second = shape.planes == 2 ? plane_of(codec, shape, 1).bytes() : 0;
  return layer * (first + second) + (plane == 0 ? 0 : first);
}

}  // namespace kvtier::kernels::format
