// Stores and loads in codecs: what the engine gave comes back, exactly or inside the codec's error,
// also with several codecs in one prefix; what a space cannot take is refused with the reason.
#include "client/encoding.hpp"

#include <cmath>
#include <cstring>

#include "kernels/checksum.hpp"
#include "kernels/codec_math.hpp"
#include "tests/client/fixture.hpp"

namespace kvtier::testing {
namespace {

constexpr uint32_t kLayers = 2, kHeads = 2, kDim = 32;
constexpr uint64_t kTokenBytes = kHeads * kDim * 2;
constexpr uint64_t kTypedBytes = kLayers * 2 * kTokensPerChunk * kTokenBytes;

class EncodingTest : public ClientTest {
 protected:
  void start_space(wire::PayloadKind kind) {
    start();
    SpaceSpec made = spec();
    made.kind = kind;
    made.layout = "typed-1";
    made.layers = kLayers;
    made.kv_heads = kHeads;
    made.head_dim = kDim;
    made.chunk_bytes = kTypedBytes;
    auto opened = session_->open_space(made);
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    space_ = *opened;
  }
  // bf16 numbers, another set for each chunk.
  static std::vector<std::byte> numbers(size_t chunk) {
    std::vector<std::byte> made(kTypedBytes);
    for (size_t i = 0; i < kTypedBytes / 2; ++i) {
      const float value = std::sin(static_cast<float>(i * 7 + chunk * 131)) * 2.0f;
      const auto bits = static_cast<uint16_t>(kernels::math::to_bf16(value));
      std::memcpy(made.data() + 2 * i, &bits, 2);
    }
    return made;
  }
  static double at(const std::vector<std::byte>& chunk, size_t i) {
    uint16_t bits;
    std::memcpy(&bits, chunk.data() + 2 * i, 2);
    return static_cast<double>(kernels::math::from_bf16(bits));
  }
  static double worst_error(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
    double worst = 0;
    for (size_t i = 0; i < a.size() / 2; ++i) {
      worst = std::max(worst, std::abs(at(a, i) - at(b, i)));
    }
    return worst;
  }
  // Cut after `first` bytes.
  StoreOutcome store_one(const KeyChain& chain, size_t chunk, const std::vector<std::byte>& bytes,
                         Encoding encoding, size_t first = 3 * kTokenBytes) {
    const ConstFragment parts[2] = {{bytes.data(), first},
                                    {bytes.data() + first, bytes.size() - first}};
    const StoreSource source = {chunk, parts};
    auto outcomes =
        space_->store(chain, {&source, 1}, in(std::chrono::seconds(5)), {.encoding = encoding});
    EXPECT_TRUE(outcomes.ok()) << (outcomes.ok() ? "" : outcomes.error().message());
    return outcomes.ok() ? (*outcomes)[0] : StoreOutcome::kFailed;
  }
  std::vector<std::byte> load_one(const Match& match, size_t chunk,
                                  size_t first = 5 * kTokenBytes) {
    std::vector<std::byte> bytes(kTypedBytes);
    const Fragment parts[2] = {{bytes.data(), first}, {bytes.data() + first, bytes.size() - first}};
    const LoadTarget target = {chunk, parts};
    const auto loaded = space_->load(match, {&target, 1});
    EXPECT_TRUE(loaded.ok()) << (loaded.ok() ? "" : loaded.error().message());
    EXPECT_EQ(loaded->chunks, 1u);
    return bytes;
  }
  const wire::ChunkHeader& header(const KeyChain& chain, size_t chunk) {
    return *reinterpret_cast<const wire::ChunkHeader*>(daemon_->slot_of(chain.keys()[chunk]));
  }
};

constexpr Encoding kAll[] = {Encoding::kNone, Encoding::kFp8TokenHead, Encoding::kFp8Tensor,
                             Encoding::kInt8, Encoding::kInt4,         Encoding::kLossless};

TEST_F(EncodingTest, MixedCodecsInOnePrefixLoadCorrectly) {
  start_space(wire::PayloadKind::kTyped);
  const KeyChain chain = derive(prompt(6));
  for (size_t i = 6; i-- > 0;) {
    ASSERT_EQ(store_one(chain, i, numbers(i), kAll[i]), StoreOutcome::kStored);
    EXPECT_EQ(header(chain, i).codec, static_cast<uint32_t>(kAll[i]));
  }
  const auto match = space_->match(chain);
  ASSERT_TRUE(match.ok());
  ASSERT_EQ(match->chunks(), 6u);
  constexpr double kError[6] = {0, 0.07, 0.14, 0.02, 0.15, 0};
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_LE(worst_error(load_one(*match, i), numbers(i)), kError[i]) << i;
    // In place only what is as the engine gave it.
    EXPECT_EQ(match->payload(i).empty(), i != 0);
    if (i > 0) {
      EXPECT_LT(header(chain, i).payload_bytes, kTypedBytes);
    }
  }
}

TEST_F(EncodingTest, FragmentsMayEndAnywhere) {
  start_space(wire::PayloadKind::kTyped);
  const KeyChain chain = derive(prompt(2));
  ASSERT_EQ(store_one(chain, 1, numbers(1), Encoding::kInt8, 77), StoreOutcome::kStored);
  ASSERT_EQ(store_one(chain, 0, numbers(0), Encoding::kLossless, 77), StoreOutcome::kStored);
  const auto match = space_->match(chain);
  ASSERT_EQ(match->chunks(), 2u);
  EXPECT_LE(worst_error(load_one(*match, 1, 1001), numbers(1)), 0.02);
  EXPECT_EQ(load_one(*match, 0, 1001), numbers(0));
}

TEST_F(EncodingTest, ChunksThatACodecRefusesAreStoredAsTheyAre) {
  start_space(wire::PayloadKind::kTyped);
  const KeyChain chain = derive(prompt(2));
  std::vector<std::byte> bytes = numbers(0);
  const uint16_t nan = 0x7fc0;
  std::memcpy(bytes.data() + 200, &nan, 2);
  ASSERT_EQ(store_one(chain, 0, bytes, Encoding::kInt4), StoreOutcome::kStored);
  EXPECT_EQ(header(chain, 0).codec, wire::kCodecNone);
  EXPECT_EQ(daemon_->grants(), 0u);
  const auto match = space_->match(chain);
  EXPECT_EQ(load_one(*match, 0), bytes);
}

TEST_F(EncodingTest, NoiseThatDoesNotShrinkIsStoredAsItIs) {
  start_space(wire::PayloadKind::kOpaque);
  const KeyChain chain = derive(prompt(1));
  std::vector<std::byte> noise(kTypedBytes);
  uint64_t state = 88172645463325252ULL;
  for (std::byte& byte : noise) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    byte = static_cast<std::byte>(state);
  }
  ASSERT_EQ(store_one(chain, 0, noise, Encoding::kLossless), StoreOutcome::kStored);
  EXPECT_EQ(header(chain, 0).codec, wire::kCodecNone);
  EXPECT_EQ(load_one(*space_->match(chain), 0), noise);
}

TEST_F(EncodingTest, OpaqueSpacesTakeOnlyTheLosslessCodecAndSaySo) {
  start_space(wire::PayloadKind::kOpaque);
  const KeyChain chain = derive(prompt(1));
  const auto bytes = numbers(0);
  const ConstFragment whole = {bytes.data(), bytes.size()};
  const StoreSource source = {0, {&whole, 1}};
  const auto refused = space_->store(chain, {&source, 1}, in(std::chrono::seconds(5)),
                                     {.encoding = Encoding::kInt8});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
  EXPECT_NE(std::string(refused.error().message()).find("only the lossless"), std::string::npos);
  ASSERT_EQ(store_one(chain, 0, bytes, Encoding::kLossless), StoreOutcome::kStored);
  EXPECT_EQ(load_one(*space_->match(chain), 0), bytes);
}

TEST_F(EncodingTest, ShapesThatAreNotTheChunksAreRefused) {
  SpaceSpec made = spec();
  made.kind = wire::PayloadKind::kTyped;
  made.layers = kLayers;
  made.kv_heads = kHeads;
  made.head_dim = kDim;
  made.chunk_bytes = kTypedBytes;
  EXPECT_TRUE(client::check_encoding(made, Encoding::kInt8).ok());
  made.chunk_bytes = kTypedBytes / 2;  // one plane: a latent
  EXPECT_TRUE(client::check_encoding(made, Encoding::kInt8).ok());
  made.chunk_bytes = kTypedBytes + 2;
  EXPECT_FALSE(client::check_encoding(made, Encoding::kInt8).ok());
  made.chunk_bytes = kTypedBytes;
  made.dtype = "fp8";
  EXPECT_FALSE(client::check_encoding(made, Encoding::kInt8).ok());
  EXPECT_FALSE(client::check_encoding(made, Encoding::kLossless).ok());
  EXPECT_FALSE(client::check_encoding(made, static_cast<Encoding>(6)).ok());
}

TEST_F(EncodingTest, ADamagedEncodedChunkIsReportedAndNotLoaded) {
  start_space(wire::PayloadKind::kTyped);
  const KeyChain chain = derive(prompt(1));
  ASSERT_EQ(store_one(chain, 0, numbers(0), Encoding::kInt8), StoreOutcome::kStored);
  const auto match = space_->match(chain);
  ASSERT_EQ(match->chunks(), 1u);
  std::byte* slot = daemon_->slot_of(chain.keys()[0]);
  slot[reinterpret_cast<wire::ChunkHeader*>(slot)->header_bytes + 700] ^= std::byte{1};
  std::vector<std::byte> bytes(kTypedBytes);
  const Fragment whole = {bytes.data(), bytes.size()};
  const LoadTarget target = {0, {&whole, 1}};
  EXPECT_EQ(space_->load(*match, {&target, 1})->chunks, 0u);
  EXPECT_EQ(session_->stats().corrupt, 1u);
}

}  // namespace
}  // namespace kvtier::testing
