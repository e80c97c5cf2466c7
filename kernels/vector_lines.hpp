// Lines of 32 elements in vectors of KVTIER_VECTOR_BYTES, and the few operations on them that
// compilers do not find by themselves. Internal to kernels/: for codec_vectors.hpp, and like it
// everything is in an unnamed namespace, for the reason given in kernels/vector_kernels.hpp.
//
// A line's floats are kept apart as those of even and of odd dims: the halves of each 32-bit lane,
// which costs an AND and a shift, and back to 16 or 8 bits without a shuffle.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/codec_math.hpp"
#include "kernels/codec_rows.hpp"

#define KVTIER_IN_REGISTERS [[gnu::always_inline]] static inline
#define KVTIER_INLINE __attribute__((always_inline))  // the same for a lambda

// The processor has permutations of bytes.
#if KVTIER_VECTOR_BYTES == 64 && defined(__AVX512VBMI__)
#define KVTIER_OWN_BYTES 1
#else
#define KVTIER_OWN_BYTES 0
#endif

namespace kvtier::kernels::detail {
namespace {

constexpr size_t kBytes = KVTIER_VECTOR_BYTES;
constexpr size_t kLineBytes = kLineElements * kElementBytes;
constexpr size_t kParts = kLineBytes / kBytes;  // vectors of a line
constexpr size_t kPartElements = kBytes / 2;
constexpr size_t kFloats = kBytes / 4;

typedef uint16_t U16 __attribute__((vector_size(kBytes)));
typedef int16_t I16 __attribute__((vector_size(kBytes)));
typedef uint32_t U32 __attribute__((vector_size(kBytes)));
typedef int32_t I32 __attribute__((vector_size(kBytes)));
typedef float F32 __attribute__((vector_size(kBytes)));
typedef uint16_t Half16 __attribute__((vector_size(kBytes / 2)));  // one for each U32 lane

// kBytes decides which of these exist: max_u16, max_i16, min_i16, min_f32, max_f32, stream,
// from_halves, to_halves, and to_words (the low byte of each U16 lane).
#if KVTIER_VECTOR_BYTES == 64
KVTIER_IN_REGISTERS U16 max_u16(U16 a, U16 b) {
  return (U16)_mm512_max_epu16((__m512i)a, (__m512i)b);
}
KVTIER_IN_REGISTERS I16 max_i16(I16 a, I16 b) {
  return (I16)_mm512_max_epi16((__m512i)a, (__m512i)b);
}
KVTIER_IN_REGISTERS I16 min_i16(I16 a, I16 b) {
  return (I16)_mm512_min_epi16((__m512i)a, (__m512i)b);
}
KVTIER_IN_REGISTERS F32 max_f32(F32 a, F32 b) {
  return (F32)_mm512_max_ps((__m512)a, (__m512)b);
}
KVTIER_IN_REGISTERS F32 min_f32(F32 a, F32 b) {
  return (F32)_mm512_min_ps((__m512)a, (__m512)b);
}
KVTIER_IN_REGISTERS void stream(std::byte* to, U16 v) {
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)v);
}
KVTIER_IN_REGISTERS F32 from_halves(U32 lanes) {
  return (F32)_mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)lanes));
}
KVTIER_IN_REGISTERS U32 to_halves(F32 v) {
  return (U32)_mm512_cvtepu16_epi32(
      _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
KVTIER_IN_REGISTERS void store_bytes2(std::byte* to, U16 v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                      _mm512_maskz_cvtepi16_epi8(~__mmask32{0}, (__m512i)v));
}
KVTIER_IN_REGISTERS void store_bytes4(std::byte* to, U32 v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8((__m512i)v));
}
KVTIER_IN_REGISTERS U16 load_bytes2(const std::byte* from) {
  return (U16)_mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
KVTIER_IN_REGISTERS U32 load_bytes4(const std::byte* from) {
  return (U32)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
KVTIER_IN_REGISTERS __m128i fold_max_u16(U16 v) {
  const __m256i a = _mm256_max_epu16(_mm512_castsi512_si256((__m512i)v),
                                     _mm512_extracti64x4_epi64((__m512i)v, 1));
  return _mm_max_epu16(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
}
#elif KVTIER_VECTOR_BYTES == 32
KVTIER_IN_REGISTERS U16 max_u16(U16 a, U16 b) {
  return (U16)_mm256_max_epu16((__m256i)a, (__m256i)b);
}
KVTIER_IN_REGISTERS I16 max_i16(I16 a, I16 b) {
  return (I16)_mm256_max_epi16((__m256i)a, (__m256i)b);
}
KVTIER_IN_REGISTERS I16 min_i16(I16 a, I16 b) {
  return (I16)_mm256_min_epi16((__m256i)a, (__m256i)b);
}
KVTIER_IN_REGISTERS F32 max_f32(F32 a, F32 b) {
  return (F32)_mm256_max_ps((__m256)a, (__m256)b);
}
KVTIER_IN_REGISTERS F32 min_f32(F32 a, F32 b) {
  return (F32)_mm256_min_ps((__m256)a, (__m256)b);
}
KVTIER_IN_REGISTERS void stream(std::byte* to, U16 v) {
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)v);
}
KVTIER_IN_REGISTERS __m128i narrowed(__m256i lanes) {  // 8 x 32 bits, below 2^16, to 8 x 16
  return _mm_packus_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
}
KVTIER_IN_REGISTERS F32 from_halves(U32 lanes) {
  return (F32)_mm256_cvtph_ps(narrowed((__m256i)lanes));
}
KVTIER_IN_REGISTERS U32 to_halves(F32 v) {
  return (U32)_mm256_cvtepu16_epi32(_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
}
KVTIER_IN_REGISTERS void store_bytes2(std::byte* to, U16 v) {
  const __m256i low = _mm256_and_si256((__m256i)v, _mm256_set1_epi16(0xff));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                   _mm_packus_epi16(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
}
KVTIER_IN_REGISTERS void store_bytes4(std::byte* to, U32 v) {
  const __m128i words = narrowed(_mm256_and_si256((__m256i)v, _mm256_set1_epi32(0xff)));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(words, words));
}
KVTIER_IN_REGISTERS U16 load_bytes2(const std::byte* from) {
  return (U16)_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
KVTIER_IN_REGISTERS U32 load_bytes4(const std::byte* from) {
  return (U32)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}
KVTIER_IN_REGISTERS __m128i fold_max_u16(U16 v) {
  return _mm_max_epu16(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
}
#else
KVTIER_IN_REGISTERS U16 max_u16(U16 a, U16 b) {
  return (U16)_mm_max_epu16((__m128i)a, (__m128i)b);
}
KVTIER_IN_REGISTERS I16 max_i16(I16 a, I16 b) {
  return (I16)_mm_max_epi16((__m128i)a, (__m128i)b);
}
KVTIER_IN_REGISTERS I16 min_i16(I16 a, I16 b) {
  return (I16)_mm_min_epi16((__m128i)a, (__m128i)b);
}
KVTIER_IN_REGISTERS F32 max_f32(F32 a, F32 b) {
  return (F32)_mm_max_ps((__m128)a, (__m128)b);
}
KVTIER_IN_REGISTERS F32 min_f32(F32 a, F32 b) {
  return (F32)_mm_min_ps((__m128)a, (__m128)b);
}
KVTIER_IN_REGISTERS void stream(std::byte* to, U16 v) {
  _mm_stream_si128(reinterpret_cast<__m128i*>(to), (__m128i)v);
}
KVTIER_IN_REGISTERS F32 from_halves(U32 lanes) {  // no instruction for it at this level
  F32 result;
  for (size_t i = 0; i < kFloats; ++i) result[i] = math::from_f16(lanes[i]);
  return result;
}
KVTIER_IN_REGISTERS U32 to_halves(F32 v) {
  U32 result;
  for (size_t i = 0; i < kFloats; ++i) result[i] = math::to_f16(v[i]);
  return result;
}
KVTIER_IN_REGISTERS void store_bytes2(std::byte* to, U16 v) {
  const __m128i low = _mm_and_si128((__m128i)v, _mm_set1_epi16(0xff));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(low, low));
}
KVTIER_IN_REGISTERS void store_bytes4(std::byte* to, U32 v) {
  const __m128i words =
      _mm_packus_epi32(_mm_and_si128((__m128i)v, _mm_set1_epi32(0xff)), _mm_setzero_si128());
  const int bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
  std::memcpy(to, &bytes, sizeof bytes);
}
KVTIER_IN_REGISTERS U16 load_bytes2(const std::byte* from) {
  return (U16)_mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}
KVTIER_IN_REGISTERS U32 load_bytes4(const std::byte* from) {
  int bytes;
  std::memcpy(&bytes, from, sizeof bytes);
  return (U32)_mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes));
}
KVTIER_IN_REGISTERS __m128i fold_max_u16(U16 v) {
  return (__m128i)v;
}
#endif

// The lowest byte of each lane of either, those of `even` first of two.
KVTIER_IN_REGISTERS void store_low_bytes(std::byte* to, U32 even, U32 odd) {
#if KVTIER_OWN_BYTES
  alignas(32) static constexpr uint8_t kPlaces[32] = {
      0,  64, 4,  68,  8,  72,  12, 76,  16, 80,  20, 84,  24, 88,  28, 92,
      32, 96, 36, 100, 40, 104, 44, 108, 48, 112, 52, 116, 56, 120, 60, 124};
  const __m512i places =
      _mm512_castsi256_si512(_mm256_load_si256(reinterpret_cast<const __m256i*>(kPlaces)));
  _mm256_storeu_si256(
      reinterpret_cast<__m256i*>(to),
      _mm512_castsi512_si256(_mm512_permutex2var_epi8((__m512i)even, places, (__m512i)odd)));
#else
  store_bytes2(to, (U16)((even & 0xffff) | (odd << 16)));
#endif
}

KVTIER_IN_REGISTERS uint16_t highest_of_eight(__m128i v) {
  const __m128i least = _mm_minpos_epu16(_mm_xor_si128(v, _mm_set1_epi16(-1)));
  return static_cast<uint16_t>(~_mm_cvtsi128_si32(least));
}
KVTIER_IN_REGISTERS uint16_t highest(U16 v) {
  return highest_of_eight(fold_max_u16(v));
}
KVTIER_IN_REGISTERS bool any(U32 v) {
#if KVTIER_VECTOR_BYTES == 64
  return _mm512_test_epi32_mask((__m512i)v, (__m512i)v) != 0;
#elif KVTIER_VECTOR_BYTES == 32
  return _mm256_testz_si256((__m256i)v, (__m256i)v) == 0;
#else
  return _mm_testz_si128((__m128i)v, (__m128i)v) == 0;
#endif
}
// Of two vectors, for less than twice the work.
struct Highest {
  uint16_t first, second;
};
KVTIER_IN_REGISTERS Highest highest(U16 first, U16 second) {
#if KVTIER_VECTOR_BYTES == 64
  const __m256i a = _mm256_max_epu16(_mm512_castsi512_si256((__m512i)first),
                                     _mm512_extracti64x4_epi64((__m512i)first, 1));
  const __m256i b = _mm256_max_epu16(_mm512_castsi512_si256((__m512i)second),
                                     _mm512_extracti64x4_epi64((__m512i)second, 1));
  const __m256i both = _mm256_max_epu16(_mm256_permute2x128_si256(a, b, 0x20),
                                        _mm256_permute2x128_si256(a, b, 0x31));
  return {highest_of_eight(_mm256_castsi256_si128(both)),
          highest_of_eight(_mm256_extracti128_si256(both, 1))};
#else
  return {highest(first), highest(second)};
#endif
}

template <typename T>
KVTIER_IN_REGISTERS T all(uint32_t bits) {
  return (T)(U32{} + bits);
}
KVTIER_IN_REGISTERS F32 all(float value) {
  return all<F32>(math::bits_of(value));
}

template <typename T>
KVTIER_IN_REGISTERS T load(const void* from) {
  T v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
template <typename T>
KVTIER_IN_REGISTERS void store(void* to, T v) {
  std::memcpy(to, &v, sizeof v);
}

// Part of a line: even dims' floats and odd dims'.
struct Pair {
  F32 even, odd;
};

template <Element kElement>
KVTIER_IN_REGISTERS Pair split(U16 elements) {
  const U32 lanes = (U32)elements;
  if constexpr (kElement == Element::kBf16) {
    return {(F32)(lanes << 16), (F32)(lanes & 0xffff0000)};
  } else {
    return {from_halves(lanes & 0xffff), from_halves(lanes >> 16)};
  }
}

KVTIER_IN_REGISTERS U32 rounded(F32 v) {
  const U32 bits = (U32)v;
  return bits + 0x7fff + ((bits >> 16) & 1);
}

template <Element kElement>
KVTIER_IN_REGISTERS U16 join(Pair v) {
  const F32 most = all(kElement == Element::kBf16 ? math::float_of(0x7f7f0000) : 65504.0f);
  v.even = max_f32(min_f32(v.even, most), -most);
  v.odd = max_f32(min_f32(v.odd, most), -most);
  if constexpr (kElement == Element::kBf16) {
    return (U16)((rounded(v.even) >> 16) | (rounded(v.odd) & 0xffff0000));
  } else {
    return (U16)(to_halves(v.even) | (to_halves(v.odd) << 16));
  }
}

// From a table of floats in the order of dims.
KVTIER_IN_REGISTERS Pair pair_at(const float* table) {
#if KVTIER_VECTOR_BYTES == 64
  const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  const __m512 a = _mm512_loadu_ps(table);
  const __m512 b = _mm512_loadu_ps(table + kFloats);
  return {(F32)_mm512_permutex2var_ps(a, even, b), (F32)_mm512_permutex2var_ps(a, odd, b)};
#else
  Pair pair;
  for (size_t i = 0; i < kFloats; ++i) {
    pair.even[i] = table[2 * i];
    pair.odd[i] = table[2 * i + 1];
  }
  return pair;
#endif
}

// The elements of a line of which `count` exist; those after them read as `filler`.
struct Line {
  U16 part[kParts];
};
KVTIER_IN_REGISTERS Line load_line(const std::byte* from) {
  Line line;
  for (size_t i = 0; i < kParts; ++i) line.part[i] = load<U16>(from + i * kBytes);
  return line;
}
[[gnu::noinline]] Line load_short_line(const std::byte* from, uint32_t count, bool repeat) {
  uint16_t elements[kLineElements] = {};
  std::memcpy(elements, from, count * kElementBytes);
  for (uint32_t i = count; repeat && i < kLineElements; ++i) elements[i] = elements[0];
  return load_line(reinterpret_cast<const std::byte*>(elements));
}
// A line from dim d of a row. Those that go beyond `dim` (not kWhole) are filled up with zeros, or
// with their first element.
template <bool kWhole>
KVTIER_IN_REGISTERS Line line_at(const std::byte* row, uint32_t d, uint32_t dim, bool repeat) {
  const std::byte* from = row + d * kElementBytes;
  if constexpr (kWhole) return load_line(from);
  return load_short_line(from, dim - d, repeat);
}

struct Whole {
  static constexpr bool value = true;
};
struct Short {
  static constexpr bool value = false;
};
// each(d, Whole or Short) for each line of [first, end).
template <typename Each>
KVTIER_IN_REGISTERS void for_lines(uint32_t first, uint32_t end, const Each& each) {
  uint32_t d = first;
  for (; end - d >= kLineElements; d += kLineElements) each(d, Whole());
  if (d < end) each(d, Short());
}

}  // namespace
}  // namespace kvtier::kernels::detail
