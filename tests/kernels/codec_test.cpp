// Encode and decode: every instruction set gives the reference's bytes, the errors stay inside
// their bounds, unusual numbers and bad input have the answers that docs/kernels.md promises.
#include "kernels/codec.hpp"

#include <xmmintrin.h>

#include "kernels/codec_format.hpp"
#include "tests/kernels/made_up_kv.hpp"

namespace kvtier::kernels::testing {
namespace {

class KernelCodec : public OnEveryIsa {};

// Odd numbers of everything; more than one band; groups and lines that are not full.
constexpr ChunkShape kShapes[] = {
    {.layers = 2, .planes = 2, .heads = 2, .dim = 128, .tokens = 64},
    {.layers = 1, .planes = 2, .heads = 3, .dim = 80, .tokens = 70},
    {.layers = 2, .planes = 2, .heads = 1, .dim = 256, .tokens = 33},
    {.layers = 1, .planes = 2, .heads = 5, .dim = 33, .tokens = 31},
    {.layers = 2, .planes = 2, .heads = 2, .dim = 1, .tokens = 1},
    {.layers = 1, .planes = 2, .heads = 1, .dim = 7, .tokens = 37},
    {.layers = 2, .planes = 1, .heads = 1, .dim = 576, .tokens = 40},
    {.layers = 1, .planes = 2, .heads = 4, .dim = 128, .tokens = 48, .element = Element::kF16},
    {.layers = 1, .planes = 2, .heads = 3, .dim = 47, .tokens = 35, .element = Element::kF16},
};

std::vector<std::byte> reference_payload(Codec codec, const ChunkShape& shape,
                                         const std::vector<std::byte>& raw) {
  std::vector<std::byte> payload(encoded_bytes(codec, shape), kPoison);
  EXPECT_EQ(reference::encode(codec, shape, raw.data(), payload.data()), Status::kOk);
  return payload;
}

bool equal(GuardedBuffer& buffer, const std::vector<std::byte>& bytes) {
  return buffer.size() == bytes.size() &&
         std::memcmp(buffer.data(), bytes.data(), bytes.size()) == 0;
}

struct Expected {
  std::vector<std::byte> raw;
  std::vector<std::byte> payload;
  std::vector<std::byte> decoded;
};

Expected expected_of(Codec codec, const ChunkShape& shape, std::mt19937_64& random) {
  Expected expected;
  expected.raw = made_up_chunk(shape, random);
  expected.payload = reference_payload(codec, shape, expected.raw);
  expected.decoded.resize(shape.raw_bytes());
  EXPECT_EQ(reference::decode(codec, shape, expected.payload.data(), expected.decoded.data()),
            Status::kOk);
  return expected;
}

void check_paged(Codec codec, const ChunkShape& shape, const Expected& expected,
                 EngineMemory::Kind kind, size_t skew, std::mt19937_64& random) {
  SCOPED_TRACE(std::string(codec_name(codec)) + " dim " + std::to_string(shape.dim) + " kind " +
               std::to_string(kind) + " skew " + std::to_string(skew));
  const uint64_t bytes = expected.payload.size();
  const uint64_t expected_root = reference_root(expected.payload.data(), bytes);
  EngineMemory memory(shape, kind, skew, random);
  reference::scatter(shape, expected.raw.data(), memory.layout);

  const CopyOptions options = {.temporal_bytes_max = skew == 0 ? 0 : uint64_t{1} << 40};
  GuardedBuffer payload(bytes, skew);
  ASSERT_EQ(encode(codec, shape, memory.layout, {payload.data(), bytes}, nullptr, options),
            Status::kOk);
  ASSERT_TRUE(equal(payload, expected.payload));
  payload.poison();
  uint64_t root = 0;
  ASSERT_EQ(encode(codec, shape, memory.layout, {payload.data(), bytes}, &root, options),
            Status::kOk);
  ASSERT_TRUE(equal(payload, expected.payload));
  ASSERT_EQ(root, expected_root);
  ASSERT_TRUE(payload.surroundings_untouched());

  // Back: the bytes of the reference, and none outside the chunk's rows.
  memory.poison();
  reference::scatter(shape, expected.decoded.data(), memory.layout);
  const std::vector<std::byte> wanted = memory.bytes();
  for (uint64_t* with_root : {static_cast<uint64_t*>(nullptr), &root}) {
    memory.poison();
    root = 0;
    ASSERT_EQ(decode(codec, shape, {payload.data(), bytes}, memory.layout, with_root, options),
              Status::kOk);
    ASSERT_TRUE(memory.bytes() == wanted);
    ASSERT_TRUE(memory.surroundings_untouched());
    if (with_root != nullptr) {
      ASSERT_EQ(root, expected_root);
    }
  }
}

TEST_P(KernelCodec, PagedMemoryGivesTheReferencesBytesAndBack) {
  std::mt19937_64 random = seeded_random();
  for (const ChunkShape& shape : kShapes) {
    for (const Codec codec : kTypedCodecs) {
      const Expected expected = expected_of(codec, shape, random);
      for (int kind = 0; kind < EngineMemory::kKinds; ++kind) {
        const size_t skew = kind % 3 == 0 ? 0 : kind % 3 == 1 ? 2 : 33;
        check_paged(codec, shape, expected, static_cast<EngineMemory::Kind>(kind), skew, random);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(KernelCodec, FragmentsGiveTheReferencesBytesAndBack) {
  std::mt19937_64 random = seeded_random();
  for (const ChunkShape& shape : kShapes) {
    for (const Codec codec : kTypedCodecs) {
      SCOPED_TRACE(std::string(codec_name(codec)) + " dim " + std::to_string(shape.dim));
      std::vector<std::byte> raw = made_up_chunk(shape, random);
      const std::vector<std::byte> expected = reference_payload(codec, shape, raw);
      // Cut anywhere between tokens, empty fragments too, across planes and layers.
      std::vector<ConstFragment> sources;
      std::vector<Fragment> targets;
      std::vector<std::byte> back(raw.size(), kPoison);
      for (uint64_t at = 0; at < raw.size();) {
        const uint64_t tokens = below(random, 40);
        const uint64_t bytes = std::min(tokens * shape.token_bytes(), raw.size() - at);
        sources.push_back({raw.data() + at, bytes});
        targets.push_back({back.data() + at, bytes});
        at += bytes;
      }
      GuardedBuffer payload(expected.size(), 32);
      uint64_t root = 0;
      ASSERT_EQ(encode(codec, shape, sources, {payload.data(), payload.size()}, &root),
                Status::kOk);
      ASSERT_TRUE(equal(payload, expected));
      ASSERT_EQ(root, reference_root(expected.data(), expected.size()));
      std::vector<std::byte> decoded(raw.size());
      ASSERT_EQ(reference::decode(codec, shape, expected.data(), decoded.data()), Status::kOk);
      ASSERT_EQ(decode(codec, shape, {payload.data(), payload.size()}, targets), Status::kOk);
      ASSERT_TRUE(back == decoded);
    }
  }
}

// |x - decoded| for every element, beside the bound that the documentation gives.
TEST_P(KernelCodec, ErrorsStayInsideTheirBounds) {
  std::mt19937_64 random = seeded_random();
  for (const ChunkShape& shape : kShapes) {
    const std::vector<std::byte> raw = made_up_chunk(shape, random);
    for (const Codec codec : kLossyCodecs) {
      const std::vector<std::byte> payload = reference_payload(codec, shape, raw);
      std::vector<std::byte> back(raw.size());
      ASSERT_EQ(reference::decode(codec, shape, payload.data(), back.data()), Status::kOk);
      const auto at = [&](const std::vector<std::byte>& from, uint64_t i) {
        return static_cast<double>(element_float(shape.element, get16(from.data() + 2 * i)));
      };
      const uint64_t row = shape.heads * shape.dim;
      const uint64_t plane = shape.tokens * row;
      for (uint64_t i = 0; i < raw.size() / 2; ++i) {
        const bool keys = shape.planes == 2 && i / plane % 2 == 0;
        // Of everything in the plane's channel or row: at least as wide as the codec's group.
        double most = 0;
        if (codec != Codec::kFp8TokenHead && codec != Codec::kFp8Tensor) {
          const uint64_t first = keys ? i / plane * plane + i % row : i / shape.dim * shape.dim;
          const uint64_t step = keys ? row : 1;
          const uint64_t count = keys ? shape.tokens : shape.dim;
          for (uint64_t k = 0; k < count; ++k) {
            most = std::max(most, std::abs(at(raw, first + k * step)));
          }
        }
        const double x = at(raw, i);
        const double element_error =
            std::abs(x) * (shape.element == Element::kBf16 ? 0x1p-8 : 0x1p-11) + 0x1p-24;
        double bound = 0;
        switch (codec) {
          case Codec::kInt8:
            bound = most / 127 / 2 * 1.01 + element_error;
            break;
          case Codec::kInt4:
            bound = 2 * most / 15 / 2 * 1.01 + element_error;
            break;
          default:
            bound = std::max(std::abs(x) / 16, 1.0) + element_error;
            break;
        }
        ASSERT_LE(std::abs(at(back, i) - x), bound) << codec_name(codec) << " element " << i;
      }
    }
  }
}

// One element of an otherwise ordinary chunk.
template <typename Check>
void with_one(const ChunkShape& shape, uint64_t element, uint16_t bits, const Check& check) {
  std::mt19937_64 random(42);
  std::vector<std::byte> raw = made_up_chunk(shape, random);
  put16(raw.data() + 2 * element, bits);
  const ConstFragment source = {raw.data(), raw.size()};
  for (const Codec codec : kLossyCodecs) {
    std::vector<std::byte> payload(encoded_bytes(codec, shape));
    const Status status =
        encode(codec, shape, std::span(&source, 1), {payload.data(), payload.size()});
    std::vector<std::byte> by_reference(payload.size());
    EXPECT_EQ(status, reference::encode(codec, shape, raw.data(), by_reference.data()));
    if (status == Status::kOk) {
      EXPECT_TRUE(payload == by_reference) << codec_name(codec);
    }
    check(codec, status);
  }
}

TEST_P(KernelCodec, NotANumberAndInfinityAreRefusedWhereverTheyAre) {
  for (const ChunkShape& shape : {kShapes[1], kShapes[8]}) {
    const bool bf16 = shape.element == Element::kBf16;
    const uint64_t elements = shape.raw_bytes() / 2;
    for (const uint64_t at : {uint64_t{0}, elements / 2 - 1, elements / 2, elements - 1}) {
      for (const int bits : {0x7f80, 0xff80, 0x7fc0, 0xffff, 0x7f81}) {
        const int own = bf16 ? bits : (bits & 0x8000) | 0x7c00 | (bits & 0x3f);
        with_one(shape, at, static_cast<uint16_t>(own), [&](Codec codec, Status status) {
          EXPECT_EQ(status, Status::kNotFinite) << codec_name(codec) << " " << at;
        });
      }
    }
  }
}

TEST_P(KernelCodec, TheLargestNumbersAreEncodedOrRefusedButNeverWrong) {
  const ChunkShape& shape = kShapes[1];
  for (const uint16_t bits : {uint16_t{0x7f7f}, uint16_t{0xff7f}}) {
    with_one(shape, 5, bits, [&](Codec, Status status) { EXPECT_EQ(status, Status::kOk); });
  }
  // A range that no float holds: int4 refuses, the others do not care.
  std::vector<std::byte> raw(shape.raw_bytes());
  put16(raw.data(), 0x7f7f);
  put16(raw.data() + shape.token_bytes(), 0xff7f);
  const ConstFragment source = {raw.data(), raw.size()};
  for (const Codec codec : kLossyCodecs) {
    std::vector<std::byte> payload(encoded_bytes(codec, shape));
    EXPECT_EQ(encode(codec, shape, std::span(&source, 1), {payload.data(), payload.size()}),
              codec == Codec::kInt4 ? Status::kNotFinite : Status::kOk);
    if (codec == Codec::kInt4) continue;
    std::vector<std::byte> back(raw.size());
    const Fragment target = {back.data(), back.size()};
    ASSERT_EQ(decode(codec, shape, {payload.data(), payload.size()}, std::span(&target, 1)),
              Status::kOk);
    EXPECT_NEAR(static_cast<double>(math::from_bf16(get16(back.data()))) / 3.39e38, 1, 0.07);
    EXPECT_NEAR(
        static_cast<double>(math::from_bf16(get16(back.data() + shape.token_bytes()))) / 3.39e38,
        -1, 0.07);
  }
}

TEST_P(KernelCodec, ZerosComeBackAsZerosAndDenormalsAlmost) {
  for (const ChunkShape& shape : {kShapes[0], kShapes[7]}) {
    for (const uint16_t bits : {uint16_t{0}, uint16_t{1}, uint16_t{0x8001}, uint16_t{0x7f}}) {
      std::vector<std::byte> raw(shape.raw_bytes());
      for (uint64_t i = 0; i < raw.size(); i += 2) put16(raw.data() + i, bits);
      const ConstFragment source = {raw.data(), raw.size()};
      for (const Codec codec : kLossyCodecs) {
        std::vector<std::byte> payload(encoded_bytes(codec, shape));
        ASSERT_EQ(encode(codec, shape, std::span(&source, 1), {payload.data(), payload.size()}),
                  Status::kOk);
        EXPECT_TRUE(payload == reference_payload(codec, shape, raw)) << codec_name(codec);
        std::vector<std::byte> back(raw.size());
        const Fragment target = {back.data(), back.size()};
        ASSERT_EQ(decode(codec, shape, {payload.data(), payload.size()}, std::span(&target, 1)),
                  Status::kOk);
        const double x = static_cast<double>(element_float(shape.element, bits));
        const double y = static_cast<double>(element_float(shape.element, get16(back.data() + 6)));
        EXPECT_LE(std::abs(x - y), std::abs(x) / 16 + 0x1p-118) << codec_name(codec);
      }
    }
  }
}

TEST_P(KernelCodec, TheCallersRoundingDoesNotMatterAndIsLeftAlone) {
  const ChunkShape& shape = kShapes[0];
  std::mt19937_64 random(7);
  const std::vector<std::byte> raw = made_up_chunk(shape, random);
  const ConstFragment source = {raw.data(), raw.size()};
  const unsigned before = _mm_getcsr();
  for (const Codec codec : kLossyCodecs) {
    const std::vector<std::byte> expected = reference_payload(codec, shape, raw);
    std::vector<std::byte> payload(expected.size());
    _mm_setcsr((before & ~0x3fu) | 0x8040 | _MM_ROUND_UP);  // flush denormals, round up
    const unsigned set = _mm_getcsr();
    const Status status =
        encode(codec, shape, std::span(&source, 1), {payload.data(), payload.size()});
    const unsigned after = _mm_getcsr();
    _mm_setcsr(before);
    EXPECT_EQ(after, set);
    EXPECT_EQ(status, Status::kOk);
    EXPECT_TRUE(payload == expected);
  }
}

TEST_P(KernelCodec, WrongSizesAndUnknownCodecsAreRefusedBeforeAnythingIsWritten) {
  const ChunkShape& shape = kShapes[0];
  std::mt19937_64 random(8);
  EngineMemory memory(shape, EngineMemory::kSplit, 0, random);
  for (const Codec codec : kTypedCodecs) {
    const uint64_t bytes = encoded_bytes(codec, shape);
    GuardedBuffer payload(bytes + 64);
    for (const uint64_t wrong : {uint64_t{0}, bytes - 1, bytes + 1}) {
      EXPECT_EQ(encode(codec, shape, memory.layout, {payload.data(), wrong}), Status::kSize);
      EXPECT_EQ(decode(codec, shape, {payload.data(), wrong}, memory.layout), Status::kSize);
    }
    PagedLayout outside = memory.layout;
    outside.blocks_total = 1;
    EXPECT_EQ(encode(codec, shape, outside, {payload.data(), bytes}), Status::kLayout);
    EXPECT_EQ(decode(codec, shape, {payload.data(), bytes}, outside), Status::kLayout);
    for (size_t i = 0; i < payload.size(); ++i) ASSERT_EQ(payload[i], kPoison);
    for (const std::byte byte : memory.bytes()) ASSERT_EQ(byte, kPoison);
    // A fragment that ends inside a token; one byte too few.
    std::vector<std::byte> raw(shape.raw_bytes());
    const ConstFragment cut[2] = {{raw.data(), shape.row_bytes()},
                                  {raw.data(), raw.size() - shape.row_bytes()}};
    EXPECT_EQ(encode(codec, shape, cut, {payload.data(), bytes}), Status::kLayout);
    const Fragment few = {raw.data(), raw.size() - shape.token_bytes()};
    EXPECT_EQ(decode(codec, shape, {payload.data(), bytes}, std::span(&few, 1)), Status::kLayout);
  }
  for (const Codec codec : {Codec::kLossless, static_cast<Codec>(77)}) {
    EXPECT_EQ(encoded_bytes(codec, shape), 0U);
    EXPECT_EQ(encode(codec, shape, memory.layout, {nullptr, 0}), Status::kShape);
    EXPECT_EQ(decode(codec, shape, {nullptr, 0}, memory.layout), Status::kShape);
  }
}

// Whatever stands in a payload, decode stays inside its memory and says what the reference says.
TEST_P(KernelCodec, PayloadsOfAnyBytesAreDecodedLikeTheReferenceOrRefused) {
  std::mt19937_64 random = seeded_random();
  for (const ChunkShape& shape : {kShapes[1], kShapes[3], kShapes[6], kShapes[8]}) {
    for (const Codec codec : kLossyCodecs) {
      for (int round = 0; round < 8; ++round) {
        std::vector<std::byte> payload =
            reference_payload(codec, shape, made_up_chunk(shape, random));
        for (int i = 0; i < 1 << (2 * round); ++i) {
          payload[below(random, payload.size())] = static_cast<std::byte>(random());
        }
        std::vector<std::byte> expected(shape.raw_bytes());
        const Status status = reference::decode(codec, shape, payload.data(), expected.data());
        GuardedBuffer back(shape.raw_bytes());
        const Fragment target = {back.data(), back.size()};
        ASSERT_EQ(decode(codec, shape, {payload.data(), payload.size()}, std::span(&target, 1)),
                  status);
        if (status == Status::kOk) {
          ASSERT_TRUE(equal(back, expected));
        }
        ASSERT_TRUE(back.surroundings_untouched());
      }
    }
  }
}

TEST(KernelCodecFormat, SizesAreThoseOfTheDocumentation) {
  // Llama-3-8B, 256 tokens: 32 layers, 8 heads of 128.
  constexpr ChunkShape kLlama = {.layers = 32, .planes = 2, .heads = 8, .dim = 128, .tokens = 256};
  EXPECT_EQ(encoded_bytes(Codec::kNone, kLlama), 33554432U);
  EXPECT_EQ(encoded_bytes(Codec::kFp8TokenHead, kLlama), 17039360U);
  EXPECT_EQ(encoded_bytes(Codec::kFp8Tensor, kLlama), 16781312U);
  EXPECT_EQ(encoded_bytes(Codec::kInt8, kLlama), 16973824U);
  EXPECT_EQ(encoded_bytes(Codec::kInt4, kLlama), 10485760U);
  constexpr ChunkShape kTiny = {.layers = 1, .planes = 2, .heads = 1, .dim = 2, .tokens = 2};
  EXPECT_EQ(encoded_bytes(Codec::kInt8, kTiny), 64U + 64 + 64 + 64);
}

TEST(KernelCodecFormat, WorkedExample) {
  // One layer, one head of two dims, two tokens: keys (1, -2) (0.5, 4), values (3, 0) (-1, 0.25).
  constexpr ChunkShape kTiny = {.layers = 1, .planes = 2, .heads = 1, .dim = 2, .tokens = 2};
  const float numbers[8] = {1, -2, 0.5f, 4, 3, 0, -1, 0.25f};
  std::vector<std::byte> raw(16);
  for (size_t i = 0; i < 8; ++i) {
    put16(raw.data() + 2 * i, element_bits(Element::kBf16, numbers[i]));
  }
  const std::vector<std::byte> payload = reference_payload(Codec::kInt8, kTiny, raw);
  const auto byte = [&](size_t i) { return std::to_integer<int>(payload[i]); };
  // Key scales: 1/127 and 4/127, rounded up to bf16.
  EXPECT_EQ(get16(payload.data()), 0x3c02);
  EXPECT_EQ(get16(payload.data() + 2), 0x3d02);
  EXPECT_EQ((std::vector<int>{byte(64), byte(65), byte(66), byte(67)}),
            (std::vector<int>{126, 256 - 63, 63, 126}));
  // Value scales: 3/127 and 1/127.
  EXPECT_EQ(get16(payload.data() + 128), 0x3cc2);
  EXPECT_EQ(get16(payload.data() + 130), 0x3c02);
  EXPECT_EQ((std::vector<int>{byte(192), byte(193), byte(194), byte(195)}),
            (std::vector<int>{127, 0, 256 - 126, 32}));
}

TEST(KernelCodecFormat, NamesAndNumbersGoTogether) {
  for (uint32_t i = 0; i <= 5; ++i) {
    Codec codec = Codec::kNone;
    ASSERT_TRUE(codec_of(codec_name(static_cast<Codec>(i)), &codec));
    EXPECT_EQ(static_cast<uint32_t>(codec), i);
  }
  Codec codec = Codec::kInt8;
  EXPECT_FALSE(codec_of("int9", &codec));
  EXPECT_EQ(codec_name(static_cast<Codec>(6)), nullptr);
}

KVTIER_ON_EVERY_ISA(KernelCodec);

}  // namespace
}  // namespace kvtier::kernels::testing
