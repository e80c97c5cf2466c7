// The references of layouts and codecs. Any thread.
#include "kernels/reference.hpp"

#include <cstring>

#include "kernels/codec_format.hpp"
#include "kernels/codec_math.hpp"

namespace kvtier::kernels::reference {
namespace {

using format::kBandTokens;
using format::Plane;

uint32_t load16(const std::byte* at) {
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return bits;
}
void store16(std::byte* at, uint32_t bits) {
  const auto narrow = static_cast<uint16_t>(bits);
  std::memcpy(at, &narrow, sizeof narrow);
}
uint32_t load8(const std::byte* at) {
  return std::to_integer<uint32_t>(*at);
}

// One plane of a raw chunk, as numbers.
struct RawPlane {
  const ChunkShape& shape;
  std::byte* raw;

  std::byte* at(uint32_t token, uint32_t head, uint32_t dim) const {
    return raw + token * shape.token_bytes() + head * shape.row_bytes() + dim * kElementBytes;
  }
  float get(uint32_t token, uint32_t head, uint32_t dim) const {
    const uint32_t bits = load16(at(token, head, dim));
    return shape.element == Element::kBf16 ? math::from_bf16(bits) : math::from_f16(bits);
  }
  void put(uint32_t token, uint32_t head, uint32_t dim, float value) const {
    store16(at(token, head, dim),
            shape.element == Element::kBf16 ? math::to_bf16(value) : math::to_f16(value));
  }
};

// The extremes of the elements with tokens in [token, token_end), dims in [dim, dim_end).
struct Extremes {
  float absmax = 0;
  float least = 0;
  float most = 0;
  bool finite = true;
};
struct Box {
  uint32_t token, token_end, dim, dim_end;
};
Extremes extremes_of(const RawPlane& plane, uint32_t head, const Box& box) {
  Extremes result;
  bool first = true;
  for (uint32_t token = box.token; token < box.token_end; ++token) {
    for (uint32_t dim = box.dim; dim < box.dim_end; ++dim) {
      const uint32_t bits = load16(plane.at(token, head, dim));
      if ((bits & 0x7fff) >= math::not_finite_from(plane.shape.element)) result.finite = false;
      const float value = plane.get(token, head, dim);
      const float magnitude = value < 0 ? -value : value;
      if (magnitude > result.absmax) result.absmax = magnitude;
      // By ordered bits, so that -0 is below 0.
      const auto order = [&](float v) {
        const int32_t b = static_cast<int32_t>(math::bits_of(v));
        return b ^ ((b >> 31) & 0x7fffffff);
      };
      if (first || order(value) < order(result.least)) result.least = value;
      if (first || order(value) > order(result.most)) result.most = value;
      first = false;
    }
  }
  return result;
}

struct Walk {
  const Plane& format;
  const RawPlane& raw;
  std::byte* payload;  // of the plane

  std::byte* head_at(uint32_t band, uint32_t head) const {
    return payload + format.band_offset(band) + head * format.head_bytes(format.band_tokens(band));
  }
  // The scale table entry of an element: an index into the table of its head header.
  uint32_t entry(uint32_t token_in_band, uint32_t dim) const {
    return format.keys ? dim : token_in_band * format.groups() + dim / format.group_dims();
  }
};

Status encode_int8(const Walk& walk, uint32_t band, uint32_t head) {
  const Plane& f = walk.format;
  const uint32_t count = f.band_tokens(band);
  const uint32_t first = band * kBandTokens;
  std::byte* out = walk.head_at(band, head);
  for (uint32_t t = 0; t < count; ++t) {
    for (uint32_t d = 0; d < f.dim; ++d) {
      const uint32_t group = d / f.group_dims() * f.group_dims();
      const Box box = f.keys ? Box{0, f.tokens, d, d + 1}
                             : Box{first + t, first + t + 1, group,
                                   group + f.group_dims() < f.dim ? group + f.group_dims() : f.dim};
      const Extremes extremes = extremes_of(walk.raw, head, box);
      if (!extremes.finite) return Status::kNotFinite;
      const uint32_t scale = math::int8_scale(extremes.absmax);
      store16(f.keys ? walk.payload + head * f.channel_header_bytes() + d * 2
                     : out + walk.entry(t, d) * 2,
              scale);
      const float inverse = math::divide(1.0f, math::from_bf16(scale));
      const int32_t code = math::int8_code(walk.raw.get(first + t, head, d), inverse);
      out[f.head_header_bytes(count) + t * f.dim + d] = static_cast<std::byte>(code);
    }
  }
  return Status::kOk;
}

Status encode_int4(const Walk& walk, uint32_t band, uint32_t head) {
  const Plane& f = walk.format;
  const uint32_t count = f.band_tokens(band);
  const uint32_t first = band * kBandTokens;
  std::byte* out = walk.head_at(band, head);
  for (uint32_t t = 0; t < count; ++t) {
    for (uint32_t d = 0; d < f.dim; ++d) {
      const uint32_t group = d / f.group_dims() * f.group_dims();
      const Box box = f.keys ? Box{first, first + count, d, d + 1}
                             : Box{first + t, first + t + 1, group,
                                   group + f.group_dims() < f.dim ? group + f.group_dims() : f.dim};
      const Extremes extremes = extremes_of(walk.raw, head, box);
      if (!extremes.finite) return Status::kNotFinite;
      const float range = math::add(extremes.most, -extremes.least);
      if (math::bits_of(range) >= 0x7f800000) return Status::kNotFinite;
      const uint32_t scale = math::int4_scale(extremes.least, extremes.most);
      const uint32_t entry = walk.entry(t, d);
      store16(out + entry * 2, scale);
      store16(out + f.table_bytes(count) + entry * 2, walk.raw.shape.element == Element::kBf16
                                                          ? math::to_bf16(extremes.least)
                                                          : math::to_f16(extremes.least));
      const float inverse = math::divide(1.0f, math::from_bf16(scale));
      const int32_t code =
          math::int4_code(walk.raw.get(first + t, head, d), extremes.least, inverse);
      std::byte& pair = out[f.head_header_bytes(count) + t * f.row_code_bytes() + d / 2];
      pair |= static_cast<std::byte>(code << (d % 2 * 4));
    }
  }
  return Status::kOk;
}

Status encode_fp8(const Walk& walk, uint32_t band, uint32_t head) {
  const Plane& f = walk.format;
  const uint32_t count = f.band_tokens(band);
  const uint32_t first = band * kBandTokens;
  std::byte* out = walk.head_at(band, head);
  for (uint32_t t = 0; t < count; ++t) {
    int exponent = math::kExponentMin;
    if (f.codec == Codec::kFp8Tensor) {
      float absmax = 0;
      for (uint32_t h = 0; h < f.heads; ++h) {
        const Extremes extremes = extremes_of(walk.raw, h, {0, f.tokens, 0, f.dim});
        if (!extremes.finite) return Status::kNotFinite;
        if (extremes.absmax > absmax) absmax = extremes.absmax;
      }
      exponent = math::fp8_exponent(absmax);
      walk.payload[0] = static_cast<std::byte>(exponent);
    } else {
      const Extremes extremes = extremes_of(walk.raw, head, {first + t, first + t + 1, 0, f.dim});
      if (!extremes.finite) return Status::kNotFinite;
      exponent = math::fp8_exponent(extremes.absmax);
      out[t] = static_cast<std::byte>(exponent);
    }
    for (uint32_t d = 0; d < f.dim; ++d) {
      const float scaled =
          math::multiply(walk.raw.get(first + t, head, d), math::power_of_two(-exponent));
      out[f.head_header_bytes(count) + t * f.dim + d] =
          static_cast<std::byte>(math::fp8_code(scaled));
    }
  }
  return Status::kOk;
}

Status decode_head(const Walk& walk, uint32_t band, uint32_t head) {
  const Plane& f = walk.format;
  const uint32_t count = f.band_tokens(band);
  const std::byte* in = walk.head_at(band, head);
  const std::byte* codes = in + f.head_header_bytes(count);
  for (uint32_t t = 0; t < count; ++t) {
    for (uint32_t d = 0; d < f.dim; ++d) {
      const uint32_t token = band * kBandTokens + t;
      const uint32_t code =
          load8(codes + t * f.row_code_bytes() + (f.codec == Codec::kInt4 ? d / 2 : d));
      if (f.codec == Codec::kInt8) {
        const uint32_t scale =
            load16(f.keys ? walk.payload + head * f.channel_header_bytes() + d * 2
                          : in + walk.entry(t, d) * 2);
        if (!math::scale_is_sound(scale)) return Status::kMalformed;
        walk.raw.put(token, head, d,
                     static_cast<float>(static_cast<int8_t>(code)) * math::from_bf16(scale));
      } else if (f.codec == Codec::kInt4) {
        const uint32_t scale = load16(in + walk.entry(t, d) * 2);
        const uint32_t least = load16(in + f.table_bytes(count) + walk.entry(t, d) * 2);
        if (!math::scale_is_sound(scale) ||
            (least & 0x7fff) >= math::not_finite_from(walk.raw.shape.element)) {
          return Status::kMalformed;
        }
        const float number = static_cast<float>((code >> (d % 2 * 4)) & 15);
        const float from = walk.raw.shape.element == Element::kBf16 ? math::from_bf16(least)
                                                                    : math::from_f16(least);
        walk.raw.put(token, head, d, math::add(number * math::from_bf16(scale), from));
      } else {
        const auto exponent = static_cast<int8_t>(
            std::to_integer<uint8_t>(f.codec == Codec::kFp8Tensor ? walk.payload[0] : in[t]));
        if (exponent < math::kExponentMin || exponent > math::kExponentMax) {
          return Status::kMalformed;
        }
        walk.raw.put(token, head, d, math::fp8_value(code) * math::power_of_two(exponent));
      }
    }
  }
  return Status::kOk;
}

// Each plane of the chunk with its part of raw and payload.
template <typename Each>
Status for_planes(Codec codec, const ChunkShape& shape, std::byte* raw, std::byte* payload,
                  const Each& each) {
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    for (uint32_t p = 0; p < shape.planes; ++p) {
      const Plane plane = format::plane_of(codec, shape, p);
      const RawPlane raw_plane = {shape, raw + (layer * shape.planes + p) * shape.plane_bytes()};
      const Walk walk = {plane, raw_plane, payload + format::plane_offset(codec, shape, layer, p)};
      for (uint32_t band = 0; band < plane.bands(); ++band) {
        for (uint32_t head = 0; head < plane.heads; ++head) {
          if (const Status status = each(walk, band, head); status != Status::kOk) return status;
        }
      }
    }
  }
  return Status::kOk;
}

}  // namespace

std::byte* row_address(const ChunkShape& shape, const PagedLayout& layout, uint32_t layer,
                       uint32_t plane, uint32_t token, uint32_t head) {
  return layout.bases[layer * shape.planes + plane] +
         layout.blocks[token / layout.block_tokens] * layout.block_stride +
         token % layout.block_tokens * layout.token_stride + head * layout.head_stride;
}

namespace {
template <typename Each>
void for_rows(const ChunkShape& shape, const PagedLayout& layout, const Each& each) {
  uint64_t offset = 0;
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    for (uint32_t plane = 0; plane < shape.planes; ++plane) {
      for (uint32_t token = 0; token < shape.tokens; ++token) {
        for (uint32_t head = 0; head < shape.heads; ++head) {
          each(row_address(shape, layout, layer, plane, token, head), offset);
          offset += shape.row_bytes();
        }
      }
    }
  }
}
}  // namespace

void gather(const ChunkShape& shape, const PagedLayout& source, std::byte* raw) {
  for_rows(shape, source, [&](const std::byte* row, uint64_t offset) {
    for (uint64_t i = 0; i < shape.row_bytes(); ++i) raw[offset + i] = row[i];
  });
}

void scatter(const ChunkShape& shape, const std::byte* raw, const PagedLayout& target) {
  for_rows(shape, target, [&](std::byte* row, uint64_t offset) {
    for (uint64_t i = 0; i < shape.row_bytes(); ++i) row[i] = raw[offset + i];
  });
}

Status encode(Codec codec, const ChunkShape& shape, const std::byte* raw, std::byte* payload) {
  std::memset(payload, 0, encoded_bytes(codec, shape));
  if (codec == Codec::kNone) {
    std::memcpy(payload, raw, shape.raw_bytes());
    return Status::kOk;
  }
  // Only read, but one type serves both ways.
  return for_planes(codec, shape, const_cast<std::byte*>(raw), payload,
                    [&](const Walk& walk, uint32_t band, uint32_t head) {
                      if (codec == Codec::kInt8) return encode_int8(walk, band, head);
                      if (codec == Codec::kInt4) return encode_int4(walk, band, head);
                      return encode_fp8(walk, band, head);
                    });
}

Status decode(Codec codec, const ChunkShape& shape, const std::byte* payload, std::byte* raw) {
  if (codec == Codec::kNone) {
    std::memcpy(raw, payload, shape.raw_bytes());
    return Status::kOk;
  }
  return for_planes(codec, shape, raw, const_cast<std::byte*>(payload), decode_head);
}

}  // namespace kvtier::kernels::reference
