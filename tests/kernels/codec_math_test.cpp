// The arithmetic of one element, every value of it, against definitions in double precision.
#include "kernels/codec_math.hpp"

#include "tests/kernels/made_up_kv.hpp"

namespace kvtier::kernels::testing {
namespace {

// e4m3 by its definition: sign, 4 bits of exponent (bias 7), 3 of mantissa, no infinities.
double e4m3(uint32_t code) {
  const uint32_t exponent = (code >> 3) & 15;
  const double mantissa = code & 7;
  const double size = exponent == 0
                          ? mantissa / 8 * std::exp2(-6)
                          : (1 + mantissa / 8) * std::exp2(static_cast<int>(exponent) - 7);
  return (code & 0x80) != 0 ? -size : size;
}

TEST(KernelCodecMath, EveryEightBitFloatHasItsDefinedValue) {
  for (uint32_t code = 0; code < 256; ++code) {
    EXPECT_EQ(static_cast<double>(math::fp8_value(code)), e4m3(code)) << code;
  }
}

TEST(KernelCodecMath, EightBitFloatsAreTheNearestAndTiesAreEven) {
  // Every bf16 in range stands for the intervals between codes, ties and denormals too.
  for (uint32_t bits = 0; bits <= 0x43e0; ++bits) {  // 448
    const float value = math::from_bf16(bits);
    const uint32_t code = math::fp8_code(value);
    ASSERT_LE(code, 0x7eU);
    const double error = std::abs(e4m3(code) - static_cast<double>(value));
    for (const uint32_t other : {code - 1, code + 1}) {
      if (other > 0x7e) continue;
      const double others = std::abs(e4m3(other) - static_cast<double>(value));
      ASSERT_LE(error, others) << bits;
      if (error == others) {
        ASSERT_EQ(code % 2, 0U) << bits;
      }
    }
    ASSERT_EQ(math::fp8_code(-value), code | 0x80);
  }
}

TEST(KernelCodecMath, HalvesConvertAsTheProcessorDoes) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    if ((bits & 0x7fff) >= 0x7c00) continue;
    const int exponent = static_cast<int>((bits >> 10) & 31);
    const double mantissa = bits & 0x3ff;
    const double size =
        exponent == 0 ? mantissa * std::exp2(-24) : (1024 + mantissa) * std::exp2(exponent - 25);
    const double value = (bits & 0x8000) != 0 ? -size : size;
    ASSERT_EQ(static_cast<double>(math::from_f16(bits)), value);
    ASSERT_EQ(math::to_f16(static_cast<float>(value)), bits);
  }
  EXPECT_EQ(math::to_f16(1e9f), 0x7bffU);
  EXPECT_EQ(math::to_f16(-65520.0f), 0xfbffU);
  EXPECT_EQ(math::to_f16(std::ldexp(1.0f, -25)), 0U);  // a tie, to even
  EXPECT_EQ(math::to_f16(std::ldexp(1.5f, -24)), 2U);  // a tie, to even
  EXPECT_EQ(math::to_f16(1.0f + std::ldexp(1.0f, -11)), 0x3c00U);
  EXPECT_EQ(math::to_f16(1.0f + std::ldexp(3.0f, -11)), 0x3c02U);
}

TEST(KernelCodecMath, Bf16RoundsToNearestEvenAndStopsAtTheLargest) {
  EXPECT_EQ(math::to_bf16(math::float_of(0x3f808000)), 0x3f80U);
  EXPECT_EQ(math::to_bf16(math::float_of(0x3f818000)), 0x3f82U);
  EXPECT_EQ(math::to_bf16(math::float_of(0x3f808001)), 0x3f81U);
  EXPECT_EQ(math::to_bf16(math::float_of(0x7f7fffff)), 0x7f7fU);
  EXPECT_EQ(math::to_bf16(-math::float_of(0x7f800000)), 0xff7fU);
}

TEST(KernelCodecMath, ScalesAreRoundedUpAndNeverDenormal) {
  std::mt19937_64 random = seeded_random();
  for (int i = 0; i < 100000; ++i) {  // up to 2^124: the widest range, divided by 15
    const float value = math::float_of(static_cast<uint32_t>(random() % 0x7d800000));
    const uint32_t bits = math::scale_bits(value);
    ASSERT_TRUE(math::scale_is_sound(bits));
    const float scale = math::from_bf16(bits);
    ASSERT_GE(scale, value);
    if (bits > math::kScaleBitsMin) {
      ASSERT_LT(math::from_bf16(bits - 1), value);
    }
    ASSERT_TRUE(std::isnormal(1.0f / scale));
  }
  EXPECT_EQ(math::scale_bits(0), math::kScaleBitsMin);
  EXPECT_FALSE(math::scale_is_sound(0));
  EXPECT_FALSE(math::scale_is_sound(0x7f80));
  EXPECT_FALSE(math::scale_is_sound(0xbf80));
}

TEST(KernelCodecMath, CodesStayInsideTheirBits) {
  std::mt19937_64 random = seeded_random();
  for (int i = 0; i < 200000; ++i) {
    const float most = math::from_bf16(static_cast<uint32_t>(random() % 0x7f80));
    const float inverse = 1.0f / math::from_bf16(math::int8_scale(most));
    ASSERT_LE(math::int8_code(most, inverse), 127);
    ASSERT_GE(math::int8_code(-most, inverse), -127);
    const float least = math::from_bf16(static_cast<uint32_t>(random() % 0x10000));
    if (!(least <= most) || std::isinf(most - least)) continue;
    const float by = 1.0f / math::from_bf16(math::int4_scale(least, most));
    ASSERT_EQ(math::int4_code(least, least, by), 0);
    ASSERT_LE(math::int4_code(most, least, by), 15);
    const int k = math::fp8_exponent(most);
    ASSERT_LE(most, 448.0f * math::power_of_two(k));
    if (k > math::kExponentMin) {
      ASSERT_GT(most, 224.0f * math::power_of_two(k));
    }
    ASSERT_GE(math::kExponentMax, k);
  }
}

TEST(KernelCodecMath, OrderedNumbersAreInTheOrderOfTheElements) {
  float before = -INFINITY;
  for (int32_t order = -0x7f81; order <= 0x7f80; ++order) {
    const auto bits = static_cast<uint16_t>(math::ordered(static_cast<uint16_t>(order)));
    const float value = math::from_bf16(bits);
    ASSERT_GE(value, before);
    ASSERT_EQ(math::ordered(bits), order);
    before = value;
  }
}

}  // namespace
}  // namespace kvtier::kernels::testing
