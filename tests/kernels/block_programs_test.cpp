// The device's block programs, run here: every thread of every phase of every block in turn, and
// the bytes compared with the references. What this cannot show: the launch, races between threads
// of a phase, speed. Those need a GPU (make test-gpu).
#include "kernels/cuda/block_programs.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "kernels/cuda/hash_program.hpp"
#include "tests/kernels/made_up_kv.hpp"

namespace kvtier::kernels::cuda::testing {
namespace {

using kernels::testing::EngineMemory;
using kernels::testing::GuardedBuffer;
using kernels::testing::kLossyCodecs;
using kernels::testing::made_up_chunk;
using kernels::testing::seeded_random;

// As kernels/cuda/launch.cu does. Threads go backwards in odd blocks: none may need another's
// phase.
template <typename Program>
void run(const Program& program, uint32_t blocks, uint32_t shared_bytes) {
  std::vector<uint64_t> shared(shared_bytes / 8 + 1);
  for (uint32_t block = 0; block < blocks; ++block) {
    std::fill(shared.begin(), shared.end(), 0x5555555555555555);
    for (int phase = 0; phase < Program::kPhases; ++phase) {
      for (uint32_t i = 0; i < kThreads; ++i) {
        const uint32_t thread = block % 2 == 0 ? i : kThreads - 1 - i;
        program.phase(phase, {block, thread}, reinterpret_cast<std::byte*>(shared.data()));
      }
    }
  }
}

DeviceLayout device_layout(const EngineMemory& memory) {
  return {memory.layout.bases,        memory.layout.blocks,       memory.layout.block_tokens,
          memory.layout.block_stride, memory.layout.token_stride, memory.layout.head_stride};
}

constexpr ChunkShape kShapes[] = {
    {.layers = 2, .planes = 2, .heads = 2, .dim = 128, .tokens = 64},
    {.layers = 1, .planes = 2, .heads = 3, .dim = 80, .tokens = 70},
    {.layers = 1, .planes = 2, .heads = 2, .dim = 33, .tokens = 31},
    {.layers = 1, .planes = 2, .heads = 1, .dim = 300, .tokens = 35},
    {.layers = 2, .planes = 1, .heads = 1, .dim = 576, .tokens = 40},
    {.layers = 1, .planes = 2, .heads = 2, .dim = 64, .tokens = 48, .element = Element::kF16},
};

uint32_t encode(Codec codec, const ChunkShape& shape, const EngineMemory& memory,
                std::byte* payload, bool aligned) {
  uint32_t status = 0;
  const DeviceLayout layout = device_layout(memory);
  if (codec == Codec::kInt8 && shape.planes == 2) {
    run(ChannelProgram{shape, layout, payload, &status}, ChannelProgram::blocks(shape),
        ChannelProgram::shared_bytes(shape.dim));
  }
  if (codec == Codec::kFp8Tensor) {
    run(TensorProgram{shape, layout, payload, &status}, shape.layers * shape.planes, kThreads * 2);
  }
  run(EncodeProgram{codec, shape, layout, payload, &status, aligned}, head_blocks(shape),
      HeadMemory::bytes(shape.dim));
  return status;
}

TEST(KernelBlockPrograms, EncodeAndDecodeGiveTheReferencesBytes) {
  std::mt19937_64 random = seeded_random();
  for (const ChunkShape& shape : kShapes) {
    for (const Codec codec : kLossyCodecs) {
      for (int kind = 0; kind < EngineMemory::kKinds; kind += 2) {
        SCOPED_TRACE(std::string(codec_name(codec)) + " dim " + std::to_string(shape.dim));
        EngineMemory memory(shape, static_cast<EngineMemory::Kind>(kind), 0, random);
        const std::vector<std::byte> raw = made_up_chunk(shape, random);
        reference::scatter(shape, raw.data(), memory.layout);
        const uint64_t bytes = encoded_bytes(codec, shape);
        std::vector<std::byte> expected(bytes);
        ASSERT_EQ(reference::encode(codec, shape, raw.data(), expected.data()), Status::kOk);
        GuardedBuffer payload(bytes);
        ASSERT_EQ(encode(codec, shape, memory, payload.data(), shape.dim % 8 == 0), 0U);
        ASSERT_EQ(std::memcmp(payload.data(), expected.data(), bytes), 0);
        ASSERT_TRUE(payload.surroundings_untouched());

        std::vector<std::byte> decoded(raw.size());
        ASSERT_EQ(reference::decode(codec, shape, expected.data(), decoded.data()), Status::kOk);
        memory.poison();
        reference::scatter(shape, decoded.data(), memory.layout);
        const std::vector<std::byte> wanted = memory.bytes();
        for (const bool paired : {false, true}) {
          if (paired && shape.dim % 2 != 0) continue;
          memory.poison();
          uint32_t status = 0;
          run(DecodeProgram{codec, shape, device_layout(memory), payload.data(), &status, paired},
              head_blocks(shape), HeadMemory::bytes(0));
          ASSERT_EQ(status, 0U);
          ASSERT_TRUE(memory.bytes() == wanted);
        }
      }
    }
  }
}

TEST(KernelBlockPrograms, NumbersThatAreNotFiniteAreReported) {
  const ChunkShape& shape = kShapes[1];
  std::mt19937_64 random(4);
  EngineMemory memory(shape, EngineMemory::kSplit, 0, random);
  const std::vector<std::byte> raw = made_up_chunk(shape, random);
  for (const uint32_t plane : {0U, 1U}) {
    for (const Codec codec : kLossyCodecs) {
      reference::scatter(shape, raw.data(), memory.layout);
      kernels::testing::put16(reference::row_address(shape, memory.layout, 0, plane, 69, 2) + 6,
                              0x7fc0);
      GuardedBuffer payload(encoded_bytes(codec, shape));
      EXPECT_EQ(encode(codec, shape, memory, payload.data(), false),
                1U << static_cast<uint32_t>(Status::kNotFinite))
          << codec_name(codec);
    }
  }
}

TEST(KernelBlockPrograms, ScalesThatNoEncoderWritesAreReported) {
  const ChunkShape& shape = kShapes[0];
  std::mt19937_64 random(5);
  EngineMemory memory(shape, EngineMemory::kSplit, 0, random);
  for (const Codec codec : kLossyCodecs) {
    std::vector<std::byte> payload(encoded_bytes(codec, shape), std::byte{0x81});
    uint32_t status = 0;
    run(DecodeProgram{codec, shape, device_layout(memory), payload.data(), &status, true},
        head_blocks(shape), HeadMemory::bytes(0));
    EXPECT_EQ(status, 1U << static_cast<uint32_t>(Status::kMalformed)) << codec_name(codec);
    EXPECT_TRUE(memory.surroundings_untouched());
  }
}

template <typename Unit>
void check_raw(const ChunkShape& shape, EngineMemory::Kind kind, std::mt19937_64& random) {
  EngineMemory memory(shape, kind, 0, random);
  const std::vector<std::byte> raw = made_up_chunk(shape, random);
  reference::scatter(shape, raw.data(), memory.layout);
  const std::vector<std::byte> before = memory.bytes();
  GuardedBuffer gathered(raw.size());
  run(RawProgram<Unit, true>{shape, device_layout(memory), gathered.data(), 7}, 7, 0);
  ASSERT_EQ(std::memcmp(gathered.data(), raw.data(), raw.size()), 0);
  memory.poison();
  run(RawProgram<Unit, false>{shape, device_layout(memory), gathered.data(), 7}, 7, 0);
  ASSERT_TRUE(memory.bytes() == before);
}

TEST(KernelBlockPrograms, RawChunksAreGatheredAndScattered) {
  std::mt19937_64 random = seeded_random();
  for (int kind = 0; kind < EngineMemory::kKinds; ++kind) {
    check_raw<Sixteen>(kShapes[0], static_cast<EngineMemory::Kind>(kind), random);
    check_raw<uint16_t>(kShapes[2], static_cast<EngineMemory::Kind>(kind), random);
  }
}

TEST(KernelBlockPrograms, PieceHashesAreTheChecksums) {
  for (const uint64_t bytes : {uint64_t{241}, uint64_t{1024}, uint64_t{1025}, uint64_t{1088},
                               uint64_t{65536}, uint64_t{65536 + 300}, uint64_t{200000}}) {
    GuardedBuffer payload((bytes + 63) / 64 * 64);  // at a multiple of 64
    payload.fill(bytes);
    std::vector<uint64_t> hashes(piece_count(bytes));
    HashProgram program = {payload.data(), bytes, hashes.data(), {}};
    static_assert(sizeof XXH3_kSecret == sizeof program.secret);
    std::memcpy(program.secret.bytes, XXH3_kSecret, sizeof program.secret);
    run(program, static_cast<uint32_t>(hashes.size()), HashProgram::shared_bytes());
    for (size_t i = 0; i < hashes.size(); ++i) {
      const uint64_t length = std::min<uint64_t>(kPieceBytes, bytes - i * kPieceBytes);
      EXPECT_EQ(hashes[i], piece_hash(payload.data() + i * kPieceBytes, length)) << bytes;
    }
  }
}

}  // namespace
}  // namespace kvtier::kernels::cuda::testing
