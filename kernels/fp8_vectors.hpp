// The 8-bit float in vectors: from floats, and for bf16 without any. Internal to kernels/, for
// codec_vectors.hpp, and in an unnamed namespace as that is.
#pragma once

#include "kernels/codec_math.hpp"
#include "kernels/vector_lines.hpp"

namespace kvtier::kernels::detail {
namespace {

KVTIER_IN_REGISTERS U32 fp8_codes(F32 v) {
  const U32 sign = ((U32)v >> 24) & 0x80;
  const U32 rest = (U32)v & 0x7fffffff;
  const U32 normal = ((rest + 0x7ffff + ((rest >> 20) & 1)) >> 20) - (120u << 3);
  const U32 small = (U32)((F32)rest + all(16384.0f)) - math::bits_of(16384.0f);
  return sign | (rest < (121u << 23) ? small : normal);
}

enum class Kind { kInt8, kInt4, kFp8 };

// fp8 of bf16 in 16-bit lanes, no floats: a power of two is a step of the exponent, and a mantissa
// of seven bits is rounded to three.
template <Element kElement, Kind kKind>
constexpr bool kFp8InWords =
    KVTIER_VECTOR_BYTES == 64 && kElement == Element::kBf16&& kKind == Kind::kFp8;

#if KVTIER_VECTOR_BYTES == 64
KVTIER_IN_REGISTERS __m512i words(int value) {
  return _mm512_set1_epi16(static_cast<short>(value));
}

// |y| below 2^-6, given as bf16: whole numbers of 2^-9.
[[gnu::noinline]] __m512i fp8_small_codes(__m512i y) {
  const __m512i mantissa = _mm512_or_si512(_mm512_and_si512(y, words(0x7f)), words(0x80));
  const __m512i shift = _mm512_sub_epi16(words(125), _mm512_srli_epi16(y, 7));
  const __m512i half = _mm512_sllv_epi16(words(1), _mm512_sub_epi16(shift, words(1)));
  const __m512i odd = _mm512_and_si512(_mm512_srlv_epi16(mantissa, shift), words(1));
  const __m512i sum =
      _mm512_add_epi16(_mm512_add_epi16(mantissa, odd), _mm512_sub_epi16(half, words(1)));
  // 2^-10 and below are zero: their shifts would be of more bits than there are.
  return _mm512_maskz_srlv_epi16(_mm512_cmpgt_epu16_mask(y, words(117 << 7)), sum, shift);
}

KVTIER_IN_REGISTERS U16 fp8_codes_of_words(U16 elements, F32 inverse) {
  const __m512i x = (__m512i)elements;
  const U32 step_bits = (U32)inverse >> 16;
  const __m512i step = (__m512i)(step_bits | (step_bits << 16));
  const __m512i y = _mm512_subs_epu16(_mm512_add_epi16(_mm512_and_si512(x, words(0x7fff)), step),
                                      words(127 << 7));
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi16(y, 4), words(1));
  __m512i codes = _mm512_sub_epi16(
      _mm512_srli_epi16(_mm512_add_epi16(_mm512_add_epi16(y, words(7)), odd), 4), words(120 << 3));
  const __mmask32 small = _mm512_cmplt_epu16_mask(y, words(121 << 7));
  codes = _mm512_maskz_mov_epi16(_knot_mask32(small), codes);
  if (_mm512_mask_cmpgt_epu16_mask(small, y, words(117 << 7)) != 0) [[unlikely]] {
    codes = _mm512_mask_mov_epi16(codes, small, fp8_small_codes(y));
  }
  // codes | (x >> 8 & 0x80)
  return (U16)_mm512_ternarylogic_epi32(codes, _mm512_srli_epi16(x, 8), words(0x80), 0xf8);
}

#if KVTIER_OWN_BYTES
// Some are below 2^-6.
[[gnu::noinline]] __m512i fp8_codes_of_pair_with_small(U16 low, U16 high, float inverse) {
  alignas(64) std::byte codes[2 * kLineElements];
  store_bytes2(codes, fp8_codes_of_words(low, all(inverse)));
  store_bytes2(codes + kLineElements, fp8_codes_of_words(high, all(inverse)));
  return _mm512_load_si512(codes);
}

// Of two lines at once: exponents in bytes, and mantissas rounded by a table.
KVTIER_IN_REGISTERS __m512i fp8_codes_of_pair(U16 low, U16 high, float inverse) {
  // The three highest bits of a mantissa of seven, to nearest, ties to even; 8 is a carry.
  struct Table {
    alignas(64) uint8_t code[128];
    constexpr Table() : code() {
      for (int m = 0; m < 128; ++m) {
        code[m] = static_cast<uint8_t>((m + 7 + ((m >> 4) & 1)) >> 4);
      }
    }
  };
  static constexpr Table kRounded;
  struct Places {
    alignas(64) uint8_t at[64];
    constexpr explicit Places(int first) : at() {
      for (int i = 0; i < 64; ++i) at[i] = static_cast<uint8_t>(2 * i + first);
    }
  };
  static constexpr Places kLowBytes(0), kHighBytes(1);
  const __m512i a = (__m512i)low, b = (__m512i)high;
  const __m512i rest = _mm512_permutex2var_epi8(a, _mm512_load_si512(kLowBytes.at), b);
  const __m512i top = _mm512_permutex2var_epi8(a, _mm512_load_si512(kHighBytes.at), b);
  const __m512i rounded = _mm512_permutex2var_epi8(_mm512_load_si512(kRounded.code), rest,
                                                   _mm512_load_si512(kRounded.code + 64));
  // Exponents: seven bits of `top`, and the highest of `rest`.
  const __mmask64 odd = _mm512_movepi8_mask(rest);
  const __m512i twice = _mm512_add_epi8(top, top);
  const __m512i exponent = _mm512_mask_sub_epi8(twice, odd, twice, _mm512_set1_epi8(-1));
  // 2^-k's exponent is 127 - k; codes begin at 120 - 127 + k.
  const int first = 247 - static_cast<int>(math::bits_of(inverse) >> 23);
  const __m512i y = _mm512_subs_epu8(exponent, _mm512_set1_epi8(static_cast<char>(first)));
  const __m512i times2 = _mm512_add_epi8(y, y);
  const __m512i times4 = _mm512_add_epi8(times2, times2);
  const __m512i codes = _mm512_add_epi8(_mm512_add_epi8(times4, times4), rounded);
  const __mmask64 small = _mm512_testn_epi8_mask(y, y);
  if (small != 0) [[unlikely]]
    return fp8_codes_of_pair_with_small(low, high, inverse);
  return _mm512_ternarylogic_epi32(codes, top, _mm512_set1_epi8(-128), 0xf8);
}
#endif

// For scales up to 2^119, where no exponent overflows.
KVTIER_IN_REGISTERS U16 fp8_values_in_words(const std::byte* from, F32 scale) {
  // m * 2^-9 as bf16, less the 120 << 7 that all others lack.
  alignas(64) static constexpr uint16_t kSmall[32] = {0,      0xff00, 0xff80, 0xffc0,
                                                      0x0000, 0x0020, 0x0040, 0x0060};
  const __m512i codes = (__m512i)load_bytes2(from);
  const U32 step_bits = ((U32)scale >> 16) - (7 << 7);
  const __m512i step = (__m512i)(step_bits | (step_bits << 16));
  const __m512i rest = _mm512_and_si512(codes, words(0x7f));
  const __m512i shifted = _mm512_mask_permutexvar_epi16(_mm512_slli_epi16(rest, 4),
                                                        _mm512_cmplt_epu16_mask(rest, words(8)),
                                                        rest, _mm512_load_si512(kSmall));
  const __m512i size = _mm512_maskz_add_epi16(_mm512_test_epi16_mask(rest, rest), shifted, step);
  return (U16)_mm512_ternarylogic_epi32(size, _mm512_slli_epi16(codes, 8), words(0x8000), 0xf8);
}
#endif

}  // namespace
}  // namespace kvtier::kernels::detail
