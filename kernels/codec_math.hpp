// The arithmetic of one element, on a CPU and on a device: conversions, scales, the 8-bit float.
// The one specification of every rounding (docs/kernels.md, "Codecs"). Pure; needs round-to-nearest
// and no fused multiply-add that the code does not ask for (-ffp-contract=off, __fmul_rn).
//
// Everything is `static`: files for higher instruction sets include this, and what they compile
// must stay theirs (tests/kernels/isa_private.sh).
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/shape.hpp"

#ifdef __CUDACC__
#define KVTIER_MATH [[maybe_unused]] __host__ __device__ static inline
#else
#define KVTIER_MATH [[maybe_unused]] static inline
#endif

namespace kvtier::kernels::math {

// Scales are bf16, at least 2^-120, so that neither a scale, its inverse nor a product of scale and
// code is ever denormal.
constexpr uint32_t kScaleBitsMin = 7u << 7;
constexpr uint32_t kScaleBitsMax = 0x7f7f;
// Exponents of the 8-bit float's scales, 2^k.
constexpr int kExponentMin = -110;
constexpr int kExponentMax = 120;
constexpr float kRoundingMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer

KVTIER_MATH float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
KVTIER_MATH uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

KVTIER_MATH float multiply(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}
KVTIER_MATH float add(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}
KVTIER_MATH float divide(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fdiv_rn(a, b);
#else
  return a / b;
#endif
}

KVTIER_MATH float from_bf16(uint32_t bits) {
  return float_of(bits << 16);
}

// Beyond the largest finite element: that element. (A rounded-up scale may lead a little beyond.)
KVTIER_MATH float clamped(float value, float bound) {
  return value > bound ? bound : value < -bound ? -bound : value;
}

KVTIER_MATH uint32_t to_bf16(float value) {
  const uint32_t bits = bits_of(clamped(value, float_of(0x7f7f0000)));
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

KVTIER_MATH float from_f16(uint32_t bits) {
  const uint32_t sign = (bits & 0x8000) << 16;
  const uint32_t rest = bits & 0x7fff;
  if (rest >= 0x7c00) return float_of(sign | 0x7f800000 | (rest << 13));
  if (rest < 0x400) {  // denormal: a whole number of 2^-24
    const float value = static_cast<float>(rest) * 5.9604644775390625e-8f;
    return float_of(sign | bits_of(value));
  }
  return float_of(sign | ((rest << 13) + (112u << 23)));
}

KVTIER_MATH uint32_t to_f16(float value) {
  const uint32_t bits = bits_of(clamped(value, 65504.0f));
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t rest = bits & 0x7fffffff;
  if (rest < (113u << 23)) {  // below 2^-14: adding 0.5 rounds to whole numbers of 2^-24
    return sign | (bits_of(add(float_of(rest), 0.5f)) - bits_of(0.5f));
  }
  return sign | ((rest - (112u << 23) + 0xfff + ((rest >> 13) & 1)) >> 13);
}

template <Element kElement>
KVTIER_MATH float load_element(uint32_t bits) {
  return kElement == Element::kBf16 ? from_bf16(bits) : from_f16(bits);
}
template <Element kElement>
KVTIER_MATH uint32_t store_element(float value) {
  return kElement == Element::kBf16 ? to_bf16(value) : to_f16(value);
}
// |x| as bits, from which on x is an infinity or NaN.
constexpr uint32_t not_finite_from(Element element) {
  return element == Element::kBf16 ? 0x7f80 : 0x7c00;
}

// Elements as signed numbers of the same order (and back: it is its own inverse).
KVTIER_MATH int32_t ordered(uint32_t bits) {
  const int32_t value = static_cast<int16_t>(static_cast<uint16_t>(bits));
  return value ^ ((value >> 15) & 0x7fff);
}

// The smallest bf16 that is at least `value`, and at least 2^-120.
KVTIER_MATH uint32_t scale_bits(float value) {
  const uint32_t bits = (bits_of(value) + 0xffff) >> 16;
  return bits < kScaleBitsMin ? kScaleBitsMin : bits;
}
KVTIER_MATH bool scale_is_sound(uint32_t bits) {
  return bits >= kScaleBitsMin && bits <= kScaleBitsMax;
}

// int8: x ~ q * scale, q in [-127, 127]. `inverse` is 1 / scale.
KVTIER_MATH uint32_t int8_scale(float absmax) {
  return scale_bits(divide(absmax, 127.0f));
}
KVTIER_MATH int32_t round_to_int(float value) {
  return static_cast<int32_t>(bits_of(add(value, kRoundingMagic)) - bits_of(kRoundingMagic));
}
KVTIER_MATH int32_t int8_code(float value, float inverse) {
  return round_to_int(multiply(value, inverse));
}

// int4: x ~ least + q * scale, q in [0, 15].
KVTIER_MATH uint32_t int4_scale(float least, float most) {
  return scale_bits(divide(add(most, -least), 15.0f));
}
KVTIER_MATH int32_t int4_code(float value, float least, float inverse) {
  return round_to_int(multiply(add(value, -least), inverse));
}

// fp8: x ~ e4m3 * 2^k, the smallest k with |x| <= 448 * 2^k.
KVTIER_MATH int fp8_exponent(float absmax) {
  const uint32_t bits = bits_of(absmax);
  const int exponent = static_cast<int>(bits >> 23) - 127 - 8;
  const int k = (bits & 0x7fffff) > 0x600000 ? exponent + 1 : exponent;  // 448 = 1.75 * 2^8
  return k < kExponentMin ? kExponentMin : k;
}
KVTIER_MATH float power_of_two(int exponent) {  // normal ones
  return float_of(static_cast<uint32_t>(exponent + 127) << 23);
}
// To nearest, ties to even; |value| <= 448. Never 0x7f or 0xff (NaN).
KVTIER_MATH uint32_t fp8_code(float value) {
  const uint32_t sign = (bits_of(value) >> 24) & 0x80;
  const uint32_t rest = bits_of(value) & 0x7fffffff;
  if (rest < (121u << 23)) {  // below 2^-6: whole numbers of 2^-9, to which adding 2^14 rounds
    return sign | (bits_of(add(float_of(rest), 16384.0f)) - bits_of(16384.0f));
  }
  return sign | (((rest + 0x7ffff + ((rest >> 20) & 1)) >> 20) - (120u << 3));
}
// Every code; the two that are never written are taken as +-480.
KVTIER_MATH float fp8_value(uint32_t code) {
  const uint32_t sign = (code & 0x80) << 24;
  const uint32_t rest = code & 0x7f;
  const bool denormal = rest < 8;  // (1 + m/8) * 2^-6 - 2^-6
  const uint32_t bits = (rest << 20) + ((denormal ? 121u : 120u) << 23);
  const float value = add(float_of(bits), denormal ? -0.015625f : 0.0f);
  return float_of(sign | bits_of(value));
}

}  // namespace kvtier::kernels::math
