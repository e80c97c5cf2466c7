// The bodies of the codec operations, for vectors of KVTIER_VECTOR_BYTES, compiled once per
// instruction set by codecs_*.cpp. Internal to kernels/.
#pragma once

#include "kernels/codec_format.hpp"
#include "kernels/fp8_vectors.hpp"
#include "kernels/vector_lines.hpp"

// The processor converts floats to bf16 by itself.
#ifdef __AVX512BF16__
#define KVTIER_OWN_BF16 1
#else
#define KVTIER_OWN_BF16 0
#endif

namespace kvtier::kernels::detail {
namespace {

// RowsIn in registers: what is written may otherwise be taken for a change of it.
struct Input {
  const std::byte* const* rows;
  const std::byte* const* next;
  uint64_t offset, next_offset;
  uint32_t count, dim;
};
KVTIER_IN_REGISTERS Input input_of(const RowsIn& in) {
  return {in.rows, in.next, in.offset, in.next_offset, in.count, in.dim};
}
// The row's address; the line of the next rows is on its way.
KVTIER_IN_REGISTERS const std::byte* fetched(const Input& in, uint32_t row, uint32_t d) {
  const auto at = reinterpret_cast<uintptr_t>(in.next[row]) + in.next_offset + d * kElementBytes;
  _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T0);
  return in.rows[row] + in.offset;
}

// ---- statistics ----

// Row after row, as they mostly lie in memory; `out` stays in the cache.
void absmax_channels(const RowsIn& rows, uint16_t* out) {
  const Input in = input_of(rows);
  for (uint32_t r = 0; r < in.count; ++r) {
    for_lines(0, in.dim, [&](uint32_t d, auto whole) {
      const Line line = line_at<decltype(whole)::value>(fetched(in, r, d), d, in.dim, false);
      for (size_t i = 0; i < kParts; ++i) {
        uint16_t* most = out + d + i * kPartElements;
        store(most, max_u16(load<U16>(most), line.part[i] & 0x7fff));
      }
    });
  }
}

KVTIER_IN_REGISTERS I16 in_order(U16 elements) {
  const I16 v = (I16)elements;
  return v ^ ((v >> 15) & 0x7fff);
}

void range_channels(const RowsIn& rows, int16_t* least, int16_t* most) {
  const Input in = input_of(rows);
  for_lines(0, in.dim, [&](uint32_t d, auto whole) {
    I16 low[kParts], high[kParts];
    for (size_t i = 0; i < kParts; ++i) {
      low[i] = load<I16>(least + d + i * kPartElements);
      high[i] = load<I16>(most + d + i * kPartElements);
    }
    for (uint32_t r = 0; r < in.count; ++r) {
      const Line line = line_at<decltype(whole)::value>(fetched(in, r, d), d, in.dim, true);
      for (size_t i = 0; i < kParts; ++i) {
        const I16 v = in_order(line.part[i]);
        low[i] = min_i16(low[i], v);
        high[i] = max_i16(high[i], v);
      }
    }
    for (size_t i = 0; i < kParts; ++i) {
      store(least + d + i * kPartElements, low[i]);
      store(most + d + i * kPartElements, high[i]);
    }
  });
}

void absmax_groups(const RowsIn& rows, uint32_t group_dims, uint16_t* out) {
  const Input in = input_of(rows);
  for (uint32_t r = 0; r < in.count; ++r) {
    for (uint32_t group = 0; group < in.dim; group += group_dims) {
      const uint32_t end = in.dim - group < group_dims ? in.dim : group + group_dims;
      U16 most = {};
      for_lines(group, end, [&](uint32_t d, auto whole) {
        const Line line = line_at<decltype(whole)::value>(fetched(in, r, d), d, end, false);
        for (size_t i = 0; i < kParts; ++i) most = max_u16(most, line.part[i] & 0x7fff);
      });
      *out++ = highest(most);
    }
  }
}

void range_groups(const RowsIn& rows, uint32_t group_dims, int16_t* least, int16_t* most) {
  const Input in = input_of(rows);
  for (uint32_t r = 0; r < in.count; ++r) {
    for (uint32_t group = 0; group < in.dim; group += group_dims) {
      const uint32_t end = in.dim - group < group_dims ? in.dim : group + group_dims;
      // As unsigned numbers of the same order, so that one instruction folds either.
      U16 high = {};
      U16 low_inverted = {};
      for_lines(group, end, [&](uint32_t d, auto whole) {
        const Line line = line_at<decltype(whole)::value>(fetched(in, r, d), d, end, true);
        for (size_t i = 0; i < kParts; ++i) {
          const U16 v = (U16)in_order(line.part[i]) ^ 0x8000;
          high = max_u16(high, v);
          low_inverted = max_u16(low_inverted, ~v);
        }
      });
      const Highest both = highest(high, low_inverted);
      *most++ = static_cast<int16_t>(both.first ^ 0x8000);
      *least++ = static_cast<int16_t>(static_cast<uint16_t>(~both.second) ^ 0x8000);
    }
  }
}

// ---- scales ----

KVTIER_IN_REGISTERS bool any_at_least(U32 v, uint32_t bound) {
  U32 hit = (U32)(v >= bound);
  uint32_t result = 0;
  for (size_t i = 0; i < kFloats; ++i) result |= hit[i];
  return result != 0;
}

template <Element kElement>
KVTIER_IN_REGISTERS F32 widened(U32 bits) {  // one element in the low half of each lane
  if constexpr (kElement == Element::kBf16) return (F32)(bits << 16);
  return from_halves(bits);
}

KVTIER_IN_REGISTERS U32 scale_bits(F32 v) {
  const U32 bits = ((U32)v + 0xffff) >> 16;
  const U32 least = all<U32>(math::kScaleBitsMin);
  return bits < least ? least : bits;
}

// Tables are padded to lines, so whole vectors are always there; what is beyond `count` is garbage
// that no one uses, but must not make the whole look infinite.
template <Element kElement>
bool int8_scales(const uint16_t* absmax, uint32_t count, uint16_t* scales, float* inverse) {
  U32 worst = {};
  for (uint32_t i = 0; i < count; i += kFloats) {
    const U32 bits = __builtin_convertvector(load<Half16>(absmax + i), U32);
    worst = bits > worst ? bits : worst;
    const U32 scale = scale_bits(widened<kElement>(bits) / all(127.0f));
    store(scales + i, __builtin_convertvector(scale, Half16));
    store(inverse + i, all(1.0f) / (F32)(scale << 16));
  }
  return !any_at_least(worst, math::not_finite_from(kElement));
}

template <Element kElement>
bool int4_scales(const int16_t* least, const int16_t* most, uint32_t count, uint16_t* scales,
                 uint16_t* least_bits, float* least_value, float* inverse) {
  typedef int16_t Signed16 __attribute__((vector_size(kBytes / 2)));
  const auto bits_at = [](const int16_t* from) {
    const Signed16 v = load<Signed16>(from);
    return __builtin_convertvector((Half16)(v ^ ((v >> 15) & 0x7fff)), U32);
  };
  U32 worst = {};
  U32 worst_range = {};
  for (uint32_t i = 0; i < count; i += kFloats) {
    const U32 low_bits = bits_at(least + i);
    const U32 high_bits = bits_at(most + i);
    const U32 low_size = low_bits & 0x7fff;
    const U32 high_size = high_bits & 0x7fff;
    worst = low_size > worst ? low_size : worst;
    worst = high_size > worst ? high_size : worst;
    const F32 low = widened<kElement>(low_bits);
    const F32 range = widened<kElement>(high_bits) - low;
    const U32 range_size = (U32)range & 0x7fffffff;
    worst_range = range_size > worst_range ? range_size : worst_range;
    const U32 scale = scale_bits(range / all(15.0f));
    store(scales + i, __builtin_convertvector(scale, Half16));
    store(least_bits + i, __builtin_convertvector(low_bits, Half16));
    store(least_value + i, low);
    store(inverse + i, all(1.0f) / (F32)(scale << 16));
  }
  return !any_at_least(worst, math::not_finite_from(kElement)) &&
         !any_at_least(worst_range, 0x7f800000);
}

// ---- codes ----

// The codes of a part of a line, to `to`: a byte an element, or a byte two elements.
template <Element kElement, Kind kKind>
KVTIER_IN_REGISTERS void encode_part(std::byte* to, U16 elements, Pair least, Pair inverse) {
#if KVTIER_VECTOR_BYTES == 64
  if constexpr (kFp8InWords<kElement, kKind>) {
    return store_bytes2(to, fp8_codes_of_words(elements, inverse.even));
  }
#endif
  const Pair v = split<kElement>(elements);
  if constexpr (kKind == Kind::kFp8) {
    const U32 even = fp8_codes(v.even * inverse.even);
    const U32 odd = fp8_codes(v.odd * inverse.odd);
    store_bytes2(to, (U16)(even | (odd << 16)));
  } else if constexpr (kKind == Kind::kInt8) {
    // The low bytes of the sums are the codes: the magic number's are zero.
    const U32 even = (U32)(v.even * inverse.even + all(math::kRoundingMagic));
    const U32 odd = (U32)(v.odd * inverse.odd + all(math::kRoundingMagic));
    store_bytes2(to, (U16)((even & 0xffff) | (odd << 16)));
  } else {
    const U32 even = (U32)((v.even - least.even) * inverse.even + all(math::kRoundingMagic));
    const U32 odd = (U32)((v.odd - least.odd) * inverse.odd + all(math::kRoundingMagic));
    store_bytes4(to, (even & 15) | ((odd & 15) << 4));
  }
}

template <Kind kKind>
constexpr uint32_t code_bytes_of(uint32_t dims) {
  return kKind == Kind::kInt4 ? (dims + 1) / 2 : dims;
}

template <Element kElement, Kind kKind, bool kWhole>
KVTIER_IN_REGISTERS void encode_line(const std::byte* row, uint32_t d, uint32_t dim,
                                     const Pair* least, const Pair* inverse, std::byte* out) {
  const Line line = line_at<kWhole>(row, d, dim, true);
  if constexpr (kWhole) {
    for (size_t i = 0; i < kParts; ++i) {
      encode_part<kElement, kKind>(out + code_bytes_of<kKind>(kPartElements) * i, line.part[i],
                                   least[i], inverse[i]);
    }
    return;
  }
  std::byte codes[kLineElements];
  for (size_t i = 0; i < kParts; ++i) {
    encode_part<kElement, kKind>(codes + code_bytes_of<kKind>(kPartElements) * i, line.part[i],
                                 least[i], inverse[i]);
  }
  const uint32_t bytes = code_bytes_of<kKind>(dim - d);
  if (kKind == Kind::kInt4 && dim % 2 != 0) codes[bytes - 1] &= std::byte{15};
  std::memcpy(out, codes, bytes);
}

// A line's scales in registers, down all rows.
template <Element kElement, Kind kKind>
void encode_channels(const RowsIn& rows, const float* least, const float* inverse, std::byte* out) {
  const Input in = input_of(rows);
  const uint32_t row_bytes = code_bytes_of<kKind>(in.dim);
  for_lines(0, in.dim, [&](uint32_t d, auto whole) {
    Pair low[kParts], scale[kParts];
    for (size_t i = 0; i < kParts; ++i) {
      scale[i] = pair_at(inverse + d + i * kPartElements);
      low[i] = kKind == Kind::kInt4 ? pair_at(least + d + i * kPartElements) : Pair{};
    }
    for (uint32_t r = 0; r < in.count; ++r) {
      encode_line<kElement, kKind, decltype(whole)::value>(
          fetched(in, r, d), d, in.dim, low, scale, out + r * row_bytes + code_bytes_of<kKind>(d));
    }
  });
}

// One scale for all of a group in a row.
template <Element kElement, Kind kKind, uint32_t kGroupDims>
void encode_groups(const RowsIn& rows, const float* least, const float* inverse, std::byte* out) {
  const Input in = input_of(rows);
  const uint32_t groups = (in.dim + kGroupDims - 1) / kGroupDims;
  const uint32_t row_bytes = code_bytes_of<kKind>(in.dim);
  for (uint32_t r = 0; r < in.count; ++r) {
    for_lines(0, in.dim, [&](uint32_t d, auto whole) {
      const uint32_t entry = r * groups + d / kGroupDims;
      Pair low[kParts], scale[kParts];
      for (size_t i = 0; i < kParts; ++i) {
        scale[i].even = scale[i].odd = all(inverse[entry]);
        low[i].even = low[i].odd = all(kKind == Kind::kInt4 ? least[entry] : 0.0f);
      }
      encode_line<kElement, kKind, decltype(whole)::value>(
          fetched(in, r, d), d, in.dim, low, scale, out + r * row_bytes + code_bytes_of<kKind>(d));
    });
  }
}

// ---- and back ----

template <Kind kKind>
KVTIER_IN_REGISTERS F32 values_of(U32 codes) {
  if constexpr (kKind == Kind::kInt8) {
    return __builtin_convertvector((I32)(codes << 24) >> 24, F32);
  } else if constexpr (kKind == Kind::kInt4) {
    return __builtin_convertvector((I32)codes, F32);
  } else {
    const U32 sign = (codes & 0x80) << 24;
    const U32 rest = codes & 0x7f;
    const auto denormal = rest < 8;
    const U32 exponent = denormal ? all<U32>(121u << 23) : all<U32>(120u << 23);
    const F32 less = (F32)(denormal ? all<U32>(math::bits_of(0.015625f)) : U32{});
    return (F32)(sign | (U32)((F32)((rest << 20) + exponent) - less));
  }
}

// How a decoder goes about it: kAny for every scale there is; kTame for scales and least values
// that keep all numbers clear of overflow and denormals (is_tame), which is nearly always, and
// which lets the processor's own conversion to bf16 do it, with floats in the order of dims.
enum class Way { kAny, kTame };
template <Element kElement>
constexpr bool kOwnConversion = KVTIER_OWN_BF16&& kElement == Element::kBf16;

#if KVTIER_OWN_BF16
template <Kind kKind>
KVTIER_IN_REGISTERS U16 decode_tame(const std::byte* from, Pair least, Pair scale) {
  if constexpr (kKind == Kind::kFp8) return fp8_values_in_words(from, scale.even);
  const auto* bytes = reinterpret_cast<const __m128i*>(from);
  __m512i low, high;
  if constexpr (kKind == Kind::kInt4) {
    const __m128i pairs = _mm_loadu_si128(bytes);
    const __m128i even = _mm_and_si128(pairs, _mm_set1_epi8(15));
    const __m128i odd = _mm_and_si128(_mm_srli_epi16(pairs, 4), _mm_set1_epi8(15));
    low = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(even, odd));
    high = _mm512_cvtepu8_epi32(_mm_unpackhi_epi8(even, odd));
  } else {
    low = _mm512_cvtepi8_epi32(_mm_loadu_si128(bytes));
    high = _mm512_cvtepi8_epi32(_mm_loadu_si128(bytes + 1));
  }
  F32 a = (F32)_mm512_cvtepi32_ps(low) * scale.even;
  F32 b = (F32)_mm512_cvtepi32_ps(high) * scale.odd;
  if constexpr (kKind == Kind::kInt4) {
    a = a + least.even;
    b = b + least.odd;
  }
  const __m512bh both = _mm512_cvtne2ps_pbh((__m512)b, (__m512)a);
  return (U16)(__m512i)both;
}
#endif

// One value for each dim of a part of a line, in the order that decode_part wants.
template <Element kElement, Way kWay>
KVTIER_IN_REGISTERS Pair table_at(const float* table) {
  if constexpr (kWay == Way::kTame) return {load<F32>(table), load<F32>(table + kFloats)};
  return pair_at(table);
}

template <Element kElement, Kind kKind, Way kWay>
KVTIER_IN_REGISTERS U16 decode_part(const std::byte* from, Pair least, Pair scale) {
#if KVTIER_OWN_BF16
  if constexpr (kWay == Way::kTame) return decode_tame<kKind>(from, least, scale);
#endif
  U32 even, odd;
  if constexpr (kKind == Kind::kInt4) {
    const U32 both = load_bytes4(from);
    even = both & 15;
    odd = both >> 4;
  } else {
    const U32 both = (U32)load_bytes2(from);
    even = both & 0xff;
    odd = both >> 16;
  }
  Pair v = {values_of<kKind>(even) * scale.even, values_of<kKind>(odd) * scale.odd};
  if constexpr (kKind == Kind::kInt4) {
    v.even = v.even + least.even;
    v.odd = v.odd + least.odd;
  }
  return join<kElement>(v);
}

template <Element kElement, Kind kKind, Way kWay, bool kWhole>
KVTIER_IN_REGISTERS void decode_line(const std::byte* codes, uint32_t d, const RowsOut& out,
                                     std::byte* row, const Pair* least, const Pair* scale) {
  std::byte* to = row + d * kElementBytes;
  if constexpr (kWhole) {
    const bool streaming = out.stream && reinterpret_cast<uintptr_t>(to) % kLineBytes == 0;
    for (size_t i = 0; i < kParts; ++i) {
      const U16 v = decode_part<kElement, kKind, kWay>(
          codes + code_bytes_of<kKind>(kPartElements) * i, least[i], scale[i]);
      if (streaming) {
        stream(to + i * kBytes, v);
      } else {
        store(to + i * kBytes, v);
      }
    }
    return;
  }
  std::byte whole[kLineElements] = {};
  std::memcpy(whole, codes, code_bytes_of<kKind>(out.dim - d));
  U16 elements[kParts];
  for (size_t i = 0; i < kParts; ++i) {
    elements[i] = decode_part<kElement, kKind, kWay>(
        whole + code_bytes_of<kKind>(kPartElements) * i, least[i], scale[i]);
  }
  std::memcpy(to, elements, (out.dim - d) * kElementBytes);
}

template <Element kElement, Kind kKind, Way kWay>
void decode_channels_by(const std::byte* codes, const float* least, const float* scale,
                        const RowsOut& rows) {
  const RowsOut out = rows;
  const uint32_t row_bytes = code_bytes_of<kKind>(out.dim);
  for_lines(0, out.dim, [&](uint32_t d, auto whole) {
    Pair low[kParts], factor[kParts];
    for (size_t i = 0; i < kParts; ++i) {
      factor[i] = table_at<kElement, kWay>(scale + d + i * kPartElements);
      low[i] =
          kKind == Kind::kInt4 ? table_at<kElement, kWay>(least + d + i * kPartElements) : Pair{};
    }
    for (uint32_t r = 0; r < out.count; ++r) {
      decode_line<kElement, kKind, kWay, decltype(whole)::value>(
          codes + r * row_bytes + code_bytes_of<kKind>(d), d, out, out.rows[r] + out.offset, low,
          factor);
    }
  });
}

template <Element kElement, Kind kKind, Way kWay, uint32_t kGroupDims>
void decode_groups_by(const std::byte* codes, const float* least, const float* scale,
                      const RowsOut& rows) {
  const RowsOut out = rows;
  const uint32_t groups = (out.dim + kGroupDims - 1) / kGroupDims;
  const uint32_t row_bytes = code_bytes_of<kKind>(out.dim);
  for (uint32_t r = 0; r < out.count; ++r) {
    for_lines(0, out.dim, [&](uint32_t d, auto whole) {
      const uint32_t entry = r * groups + d / kGroupDims;
      Pair low[kParts], factor[kParts];
      for (size_t i = 0; i < kParts; ++i) {
        factor[i].even = factor[i].odd = all(scale[entry]);
        low[i].even = low[i].odd = all(kKind == Kind::kInt4 ? least[entry] : 0.0f);
      }
      decode_line<kElement, kKind, kWay, decltype(whole)::value>(
          codes + r * row_bytes + code_bytes_of<kKind>(d), d, out, out.rows[r] + out.offset, low,
          factor);
    });
  }
}

KVTIER_IN_REGISTERS bool is_tame(const float* scale, const float* least, uint32_t entries) {
  U32 wild = {};
  for (uint32_t i = 0; i < entries; i += kFloats) {
    // 128 * 2^118 and 480 * 2^118 are finite; 15 * 2^118 + 2^126 too. From 2^-100 on no sum of the
    // two is denormal, unless it is zero.
    wild |= (U32)((U32)load<F32>(scale + i) > math::bits_of(0x1p118f));
    if (least == nullptr) continue;
    const U32 size = (U32)load<F32>(least + i) & 0x7fffffff;
    wild |= (U32)(size > math::bits_of(0x1p126f)) |
            ((U32)(size < math::bits_of(0x1p-100f)) & (U32)(size != 0));
  }
  return !any_at_least(wild, 1);
}

template <Element kElement, Kind kKind>
void decode_channels(const std::byte* codes, const float* least, const float* scale,
                     const RowsOut& out) {
  if constexpr (kOwnConversion<kElement>) {
    if (is_tame(scale, least, out.dim)) {
      return decode_channels_by<kElement, kKind, Way::kTame>(codes, least, scale, out);
    }
  }
  decode_channels_by<kElement, kKind, Way::kAny>(codes, least, scale, out);
}

template <Element kElement, Kind kKind, uint32_t kGroupDims>
void decode_groups(const std::byte* codes, const float* least, const float* scale,
                   const RowsOut& out) {
  if constexpr (kOwnConversion<kElement>) {
    const uint32_t groups = (out.dim + kGroupDims - 1) / kGroupDims;
    if (is_tame(scale, least, out.count * groups)) {
      return decode_groups_by<kElement, kKind, Way::kTame, kGroupDims>(codes, least, scale, out);
    }
  }
  decode_groups_by<kElement, kKind, Way::kAny, kGroupDims>(codes, least, scale, out);
}

// ---- byte planes ----

void split_planes(const std::byte* raw, uint64_t elements, std::byte* exponents, std::byte* rest) {
  uint64_t i = 0;
  for (; elements - i >= kPartElements; i += kPartElements) {
    const U16 v = load<U16>(raw + 2 * i);
    const U16 rotated = (v << 1) | (v >> 15);
    store_bytes2(exponents + i, rotated >> 8);
    store_bytes2(rest + i, rotated);
  }
  for (; i < elements; ++i) {
    uint16_t v;
    std::memcpy(&v, raw + 2 * i, sizeof v);
    const uint32_t rotated = (uint32_t{v} << 1) | (uint32_t{v} >> 15);
    exponents[i] = static_cast<std::byte>(rotated >> 8);
    rest[i] = static_cast<std::byte>(rotated);
  }
}

void merge_planes(const std::byte* exponents, const std::byte* rest, uint64_t elements,
                  std::byte* raw) {
  uint64_t i = 0;
  for (; elements - i >= kPartElements; i += kPartElements) {
    const U16 rotated = (load_bytes2(exponents + i) << 8) | load_bytes2(rest + i);
    store(raw + 2 * i, (U16)((rotated >> 1) | (rotated << 15)));
  }
  for (; i < elements; ++i) {
    const uint32_t rotated =
        (std::to_integer<uint32_t>(exponents[i]) << 8) | std::to_integer<uint32_t>(rest[i]);
    const auto v = static_cast<uint16_t>((rotated >> 1) | (rotated << 15));
    std::memcpy(raw + 2 * i, &v, sizeof v);
  }
}

// ---- the limit ----

void read_write(std::byte* target, uint64_t target_lines, const std::byte* source,
                uint64_t source_lines) {
  constexpr uint64_t kAheadBytes = 3072;
  U16 mixed[kParts] = {};
  uint64_t read = 0;
  uint64_t due = 0;  // of source_lines * target_lines
  for (uint64_t i = 0; i < target_lines; ++i) {
    for (due += source_lines; due >= target_lines; due -= target_lines, ++read) {
      const std::byte* from = source + read * kLineBytes;
      _mm_prefetch(reinterpret_cast<const char*>(from) + kAheadBytes, _MM_HINT_T0);
      for (size_t part = 0; part < kParts; ++part) {
        mixed[part] ^= load<U16>(from + part * kBytes);
      }
    }
    for (size_t part = 0; part < kParts; ++part) {
      stream(target + i * kLineBytes + part * kBytes, mixed[part]);
    }
  }
}

// ---- the table ----

template <Element kElement>
constexpr CodecOperations make_codecs(Isa isa) {
  using format::kInt4GroupDims;
  using format::kInt8GroupDims;
  constexpr Element E = kElement;
  CodecOperations use = {};
  use.isa = isa;
  use.absmax_channels = absmax_channels;
  use.range_channels = range_channels;
  use.absmax_groups = absmax_groups;
  use.range_groups = range_groups;
  use.int8_scales = int8_scales<E>;
  use.int4_scales = int4_scales<E>;
  use.int8_channels = [](const RowsIn& in, const float* inverse, std::byte* out) {
    encode_channels<E, Kind::kInt8>(in, nullptr, inverse, out);
  };
  use.int8_groups = [](const RowsIn& in, const float* inverse, std::byte* out) {
    encode_groups<E, Kind::kInt8, kInt8GroupDims>(in, nullptr, inverse, out);
  };
  use.int4_channels = encode_channels<E, Kind::kInt4>;
  use.int4_groups = encode_groups<E, Kind::kInt4, kInt4GroupDims>;
  use.fp8_rows = [](const RowsIn& in, const float* inverse, std::byte* out) {
    encode_groups<E, Kind::kFp8, kDimMax>(in, nullptr, inverse, out);
  };
  use.from_int8_channels = [](const std::byte* codes, const float* scale, const RowsOut& out) {
    decode_channels<E, Kind::kInt8>(codes, nullptr, scale, out);
  };
  use.from_int8_groups = [](const std::byte* codes, const float* scale, const RowsOut& out) {
    decode_groups<E, Kind::kInt8, kInt8GroupDims>(codes, nullptr, scale, out);
  };
  use.from_int4_channels = decode_channels<E, Kind::kInt4>;
  use.from_int4_groups = decode_groups<E, Kind::kInt4, kInt4GroupDims>;
  use.from_fp8_rows = [](const std::byte* codes, const float* scale, const RowsOut& out) {
    decode_groups<E, Kind::kFp8, kDimMax>(codes, nullptr, scale, out);
  };
  use.split_planes = split_planes;
  use.merge_planes = merge_planes;
  use.read_write = read_write;
  return use;
}

}  // namespace
}  // namespace kvtier::kernels::detail
