// The lossless codec: every byte comes back, made-up KV shrinks as far as its entropy says, and
// payloads of any bytes are refused or decoded, never trusted.
#include "kernels/lossless.hpp"

#include "tests/kernels/made_up_kv.hpp"

namespace kvtier::kernels::testing {
namespace {

class KernelLossless : public OnEveryIsa {
 protected:
  void SetUp() override {
    OnEveryIsa::SetUp();
    context_ = LosslessContext::create();
    ASSERT_NE(context_, nullptr);
  }
  std::vector<std::byte> encoded(const std::vector<std::byte>& raw) {
    const ConstFragment source = {raw.data(), raw.size()};
    const auto payload = context_->encode(std::span(&source, 1));
    EXPECT_LE(payload.size(), lossless_bytes_max(raw.size()));
    return {payload.begin(), payload.end()};
  }
  Status decode(const std::vector<std::byte>& payload, std::vector<std::byte>& raw,
                uint64_t* root = nullptr) {
    const Fragment target = {raw.data(), raw.size()};
    return context_->decode(payload, std::span(&target, 1), raw.size(), root);
  }

  std::unique_ptr<LosslessContext> context_;
};

constexpr ChunkShape kShape = {.layers = 2, .planes = 2, .heads = 4, .dim = 128, .tokens = 256};

TEST_P(KernelLossless, MadeUpKvComesBackAndIsSmaller) {
  std::mt19937_64 random = seeded_random();
  for (const Element element : {Element::kBf16, Element::kF16}) {
    ChunkShape shape = kShape;
    shape.element = element;
    const std::vector<std::byte> raw = made_up_chunk(shape, random);
    const std::vector<std::byte> payload = encoded(raw);
    std::vector<std::byte> back(raw.size(), kPoison);
    uint64_t root = 0;
    ASSERT_EQ(decode(payload, back, &root), Status::kOk);
    EXPECT_TRUE(back == raw);
    EXPECT_EQ(root, reference_root(payload.data(), payload.size()));
    const double ratio = static_cast<double>(raw.size()) / static_cast<double>(payload.size());
    EXPECT_GE(ratio, element == Element::kBf16 ? 1.35 : 1.05);
  }
}

TEST_P(KernelLossless, EveryInstructionSetGivesTheSamePayload) {
  std::mt19937_64 random(5);
  const std::vector<std::byte> raw = made_up_chunk(kShape, random);
  const std::vector<std::byte> payload = encoded(raw);
  ASSERT_TRUE(force_isa(Isa::kBaseline));
  EXPECT_TRUE(encoded(raw) == payload);
}

TEST_P(KernelLossless, AnyBytesOfAnyLengthInAnyFragmentsComeBack) {
  std::mt19937_64 random = seeded_random();
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, uint64_t{2}, uint64_t{3}, uint64_t{63},
                               uint64_t{1000}, kLosslessPieceBytes - 1, kLosslessPieceBytes,
                               kLosslessPieceBytes + 1, 3 * kLosslessPieceBytes + 77}) {
    for (const bool noise : {false, true}) {
      std::vector<std::byte> raw(bytes), back(bytes, kPoison);
      for (std::byte& byte : raw) byte = noise ? static_cast<std::byte>(random()) : std::byte{7};
      std::vector<ConstFragment> sources;
      std::vector<Fragment> targets;
      for (uint64_t at = 0; at < bytes;) {
        const uint64_t part = std::min<uint64_t>(below(random, 50000), bytes - at);
        sources.push_back({raw.data() + at, part});
        targets.push_back({back.data() + at, part});
        at += part;
      }
      const auto payload = context_->encode(sources);
      ASSERT_LE(payload.size(), lossless_bytes_max(bytes));
      const std::vector<std::byte> kept(payload.begin(), payload.end());
      ASSERT_EQ(context_->decode(kept, targets, bytes), Status::kOk) << bytes;
      ASSERT_TRUE(back == raw) << bytes;
    }
  }
}

TEST_P(KernelLossless, WrongSizesAreRefused) {
  std::mt19937_64 random(3);
  const std::vector<std::byte> raw = made_up_chunk(kShape, random);
  std::vector<std::byte> payload = encoded(raw);
  std::vector<std::byte> back(raw.size());
  const Fragment few = {back.data(), back.size() - 1};
  EXPECT_EQ(context_->decode(payload, std::span(&few, 1), raw.size()), Status::kLayout);
  std::vector<std::byte> shorter = payload;
  shorter.pop_back();
  EXPECT_EQ(decode(shorter, back), Status::kMalformed);
  payload.push_back(std::byte{0});
  EXPECT_EQ(decode(payload, back), Status::kMalformed);
  EXPECT_EQ(decode({}, back), Status::kMalformed);
  std::vector<std::byte> other(raw.size() / 2);
  EXPECT_EQ(decode(payload, other), Status::kMalformed);
}

TEST_P(KernelLossless, DamagedPayloadsNeverWriteOutsideAndMostlyAreRefused) {
  std::mt19937_64 random = seeded_random();
  ChunkShape shape = kShape;
  shape.layers = 1;
  const std::vector<std::byte> raw = made_up_chunk(shape, random);
  const std::vector<std::byte> whole = encoded(raw);
  for (int round = 0; round < 60; ++round) {
    std::vector<std::byte> payload = whole;
    const size_t range = round % 2 == 0 ? 64 : payload.size();  // the table, or anything
    for (int i = 0; i < 1 + round / 4; ++i) {
      payload[below(random, range)] ^= static_cast<std::byte>(1 + below(random, 255));
    }
    GuardedBuffer back(raw.size());
    const Fragment target = {back.data(), back.size()};
    uint64_t root = 0;
    if (context_->decode(payload, std::span(&target, 1), raw.size(), &root) == Status::kOk) {
      EXPECT_NE(root, reference_root(whole.data(), whole.size()));
    }
    ASSERT_TRUE(back.surroundings_untouched());
  }
}

TEST(KernelLosslessFormat, WorkedExample) {
  // Three bytes cannot shrink: one table entry with the top bit, then the bytes.
  const auto context = LosslessContext::create();
  const std::byte raw[3] = {std::byte{1}, std::byte{2}, std::byte{3}};
  const ConstFragment source = {raw, 3};
  const auto payload = context->encode(std::span(&source, 1));
  const uint8_t expected[7] = {3, 0, 0, 0x80, 1, 2, 3};
  ASSERT_EQ(payload.size(), 7U);
  EXPECT_EQ(std::memcmp(payload.data(), expected, 7), 0);
}

KVTIER_ON_EVERY_ISA(KernelLossless);

}  // namespace
}  // namespace kvtier::kernels::testing
