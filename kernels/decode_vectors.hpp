// From codes to rows. For kernels/codec_vectors.hpp, and compiled with it for vectors of
// KVTIER_VECTOR_BYTES.
#pragma once

#include "kernels/codec_parts.hpp"

// The processor converts floats to bf16 by itself.
#ifdef __AVX512BF16__
#define KVTIER_OWN_BF16 1
#else
#define KVTIER_OWN_BF16 0
#endif

namespace kvtier::kernels::detail {
namespace {

// ---- tables ----

// From a payload's tables, which are padded to lines: scales, and int4's least values.
// False: not sound. What is beyond `count` is not looked at.
constexpr uint32_t kScaleSpan = math::kScaleBitsMax - math::kScaleBitsMin;
template <typename Unsound, typename Value>
KVTIER_IN_REGISTERS bool table_from(const std::byte* from, uint32_t count, float* out,
                                    const Unsound& unsound, const Value& value) {
  U32 lanes;
  for (uint32_t i = 0; i < kFloats; ++i) lanes[i] = i;
  U32 bad = {};
  for (uint32_t i = 0; i < count; i += kFloats) {
    const U32 bits = __builtin_convertvector(load<Half16>(from + i * 2), U32);
    bad |= unsound(bits) & (U32)(lanes + i < count);
    store(out + i, value(bits));
  }
  return !any(bad);
}
bool scales_from(const std::byte* from, uint32_t count, float* out) {
  return table_from(
      from, count, out,
      [](U32 bits) KVTIER_INLINE { return (U32)(bits - math::kScaleBitsMin > kScaleSpan); },
      [](U32 bits) KVTIER_INLINE { return (F32)(bits << 16); });
}
template <Element kElement>
bool least_from(const std::byte* from, uint32_t count, float* out) {
  return table_from(
      from, count, out,
      [](U32 bits)
          KVTIER_INLINE { return (U32)((bits & 0x7fff) >= math::not_finite_from(kElement)); },
      [](U32 bits) KVTIER_INLINE { return widened<kElement>(bits); });
}

// ---- rows ----

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
  with_dim(rows, [&](const RowsOut& out) KVTIER_INLINE {
    const uint32_t row_bytes = code_bytes_of<kKind>(out.dim);
    for_lines(0, out.dim, [&](uint32_t d, auto whole) KVTIER_INLINE {
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
  });
}

template <Element kElement, Kind kKind, Way kWay, uint32_t kGroupDims>
void decode_groups_by(const std::byte* codes, const float* least, const float* scale,
                      const RowsOut& rows) {
  with_dim(rows, [&](const RowsOut& out) KVTIER_INLINE {
    const uint32_t groups = (out.dim + kGroupDims - 1) / kGroupDims;
    const uint32_t row_bytes = code_bytes_of<kKind>(out.dim);
    for (uint32_t r = 0; r < out.count; ++r) {
      for_lines(0, out.dim, [&](uint32_t d, auto whole) KVTIER_INLINE {
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
  });
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

}  // namespace
}  // namespace kvtier::kernels::detail
