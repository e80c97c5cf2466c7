// Layouts: the formula against index arithmetic written out for each engine, and what is refused.
#include "kernels/shape.hpp"

#include "tests/kernels/made_up_kv.hpp"

namespace kvtier::kernels::testing {
namespace {

constexpr ChunkShape kShape = {.layers = 3, .planes = 2, .heads = 2, .dim = 8, .tokens = 40};

// A tensor whose elements are numbered, so that an address is its index.
uint64_t index_of(const EngineMemory& memory, uint32_t tensor, uint32_t layer, uint32_t plane,
                  uint32_t token, uint32_t head) {
  const std::byte* at =
      reference::row_address(memory.shape, memory.layout, layer, plane, token, head);
  return static_cast<uint64_t>(at - memory.tensors[tensor]) / kElementBytes;
}

template <typename Each>
void for_all(const ChunkShape& shape, const Each& each) {
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    for (uint32_t plane = 0; plane < shape.planes; ++plane) {
      for (uint32_t token = 0; token < shape.tokens; ++token) {
        for (uint32_t head = 0; head < shape.heads; ++head) each(layer, plane, token, head);
      }
    }
  }
}

TEST(KernelLayout, VllmSplitIsTwoBlocksTokensHeadsDim) {
  std::mt19937_64 random(1);
  const EngineMemory memory(kShape, EngineMemory::kSplit, 0, random);
  const uint64_t total = memory.layout.blocks_total;
  for_all(kShape, [&](uint32_t layer, uint32_t plane, uint32_t token, uint32_t head) {
    const uint64_t block = memory.blocks[token / 16];
    ASSERT_EQ(index_of(memory, layer, layer, plane, token, head),
              (((plane * total + block) * 16 + token % 16) * 2 + head) * 8);
  });
}

TEST(KernelLayout, VllmTogetherIsBlocksTwoTokensHeadsDim) {
  std::mt19937_64 random(2);
  const EngineMemory memory(kShape, EngineMemory::kTogether, 0, random);
  for_all(kShape, [&](uint32_t layer, uint32_t plane, uint32_t token, uint32_t head) {
    const uint64_t block = memory.blocks[token / 16];
    ASSERT_EQ(index_of(memory, layer, layer, plane, token, head),
              (((block * 2 + plane) * 16 + token % 16) * 2 + head) * 8);
  });
}

TEST(KernelLayout, HeadsFirstIsBlocksTwoHeadsTokensDim) {
  std::mt19937_64 random(3);
  const EngineMemory memory(kShape, EngineMemory::kTogetherHeadsFirst, 0, random);
  for_all(kShape, [&](uint32_t layer, uint32_t plane, uint32_t token, uint32_t head) {
    const uint64_t block = memory.blocks[token / 16];
    ASSERT_EQ(index_of(memory, layer, layer, plane, token, head),
              (((block * 2 + plane) * 2 + head) * 16 + token % 16) * 8);
  });
}

TEST(KernelLayout, CrossLayerIsBlocksLayersTwoTokensHeadsDim) {
  std::mt19937_64 random(4);
  const EngineMemory memory(kShape, EngineMemory::kCrossLayer, 0, random);
  for_all(kShape, [&](uint32_t layer, uint32_t plane, uint32_t token, uint32_t head) {
    const uint64_t block = memory.blocks[token / 16];
    ASSERT_EQ(index_of(memory, 0, layer, plane, token, head),
              ((((block * 3 + layer) * 2 + plane) * 16 + token % 16) * 2 + head) * 8);
  });
}

TEST(KernelLayout, HuggingFaceIsBatchHeadsTokensDim) {
  std::mt19937_64 random(5);
  const EngineMemory memory(kShape, EngineMemory::kHuggingFace, 0, random);
  const uint64_t total = kShape.tokens + 5;
  for_all(kShape, [&](uint32_t layer, uint32_t plane, uint32_t token, uint32_t head) {
    ASSERT_EQ(index_of(memory, layer * 2 + plane, layer, plane, token, head),
              ((1 * 2 + head) * total + 3 + token) * 8);
  });
}

TEST(KernelLayout, AnMlaLatentIsBlocksTokensDim) {
  constexpr ChunkShape kLatent = {.layers = 2, .planes = 1, .heads = 1, .dim = 576, .tokens = 33};
  std::mt19937_64 random(6);
  const EngineMemory memory(kLatent, EngineMemory::kSplit, 0, random);
  for_all(kLatent, [&](uint32_t layer, uint32_t plane, uint32_t token, uint32_t head) {
    const uint64_t block = memory.blocks[token / 16];
    ASSERT_EQ(index_of(memory, layer, layer, plane, token, head), (block * 16 + token % 16) * 576);
  });
}

TEST(KernelLayout, TheReferenceGathersInTheOrderOfTheRawChunk) {
  std::mt19937_64 random(7);
  for (int kind = 0; kind < EngineMemory::kKinds; ++kind) {
    EngineMemory memory(kShape, static_cast<EngineMemory::Kind>(kind), 0, random);
    ASSERT_TRUE(memory.good);
    ASSERT_EQ(check_layout(kShape, memory.layout), Status::kOk) << kind;
    const std::vector<std::byte> raw = made_up_chunk(kShape, random);
    reference::scatter(kShape, raw.data(), memory.layout);
    for_all(kShape, [&](uint32_t layer, uint32_t plane, uint32_t token, uint32_t head) {
      const uint64_t at = (((layer * 2 + plane) * 40 + token) * 2 + head) * 8 * kElementBytes;
      ASSERT_EQ(
          std::memcmp(reference::row_address(kShape, memory.layout, layer, plane, token, head),
                      raw.data() + at, 8 * kElementBytes),
          0);
    });
    std::vector<std::byte> again(raw.size(), kPoison);
    reference::gather(kShape, memory.layout, again.data());
    ASSERT_EQ(again, raw) << kind;
  }
}

TEST(KernelLayout, ShapesOutsideTheLimitsAreRefused) {
  EXPECT_EQ(check_shape(kShape), Status::kOk);
  const auto refused = [](auto change) {
    ChunkShape shape = kShape;
    change(shape);
    EXPECT_EQ(check_shape(shape), Status::kShape);
    EXPECT_EQ(encoded_bytes(Codec::kInt8, shape), 0U);
  };
  refused([](ChunkShape& s) { s.layers = 0; });
  refused([](ChunkShape& s) { s.layers = kLayersMax + 1; });
  refused([](ChunkShape& s) { s.planes = 3; });
  refused([](ChunkShape& s) { s.planes = 0; });
  refused([](ChunkShape& s) { s.heads = 0; });
  refused([](ChunkShape& s) { s.dim = 0; });
  refused([](ChunkShape& s) { s.dim = kDimMax + 1; });
  refused([](ChunkShape& s) { s.heads = 1024, s.dim = 17; });
  refused([](ChunkShape& s) { s.heads = UINT32_MAX, s.dim = UINT32_MAX; });
  refused([](ChunkShape& s) { s.tokens = 0; });
  refused([](ChunkShape& s) { s.tokens = kTokensMax + 1; });
  refused([](ChunkShape& s) { s.element = static_cast<Element>(2); });
}

TEST(KernelLayout, LayoutsThatDoNotHoldTheShapeAreRefused) {
  std::mt19937_64 random(8);
  EngineMemory memory(kShape, EngineMemory::kTogether, 0, random);
  const auto refused = [&](auto change) {
    PagedLayout layout = memory.layout;
    change(layout);
    EXPECT_EQ(check_layout(kShape, layout), Status::kLayout);
  };
  refused([](PagedLayout& l) { l.bases = nullptr; });
  refused([](PagedLayout& l) { l.blocks = nullptr; });
  refused([](PagedLayout& l) { l.block_tokens = 0; });
  refused([&](PagedLayout& l) { l.blocks_total = memory.blocks[1]; });
  refused([](PagedLayout& l) { l.head_stride = 15; });
  refused([](PagedLayout& l) { l.token_stride = 31; });
  refused([](PagedLayout& l) { l.token_stride = l.head_stride; });
  refused([](PagedLayout& l) { l.block_stride = 16 * 32 - 1; });
  refused([](PagedLayout& l) { l.block_stride = UINT64_MAX / 2; });
  const std::vector<std::byte*> holes(6, nullptr);
  refused([&](PagedLayout& l) { l.bases = holes.data(); });
}

TEST(KernelLayout, MakersSayWhenTensorsAreMissing) {
  std::byte* tensors[5] = {};
  std::byte* bases[6];
  PagedLayout layout;
  const Pool pool = {.blocks_total = 4, .block_tokens = 16};
  EXPECT_FALSE(vllm_split(kShape, pool, std::span(tensors, 2), bases, &layout));
  EXPECT_FALSE(vllm_together(kShape, pool, std::span(tensors, 3), std::span(bases, 5), &layout));
  EXPECT_FALSE(cross_layer(kShape, pool, nullptr, bases, &layout));
  EXPECT_FALSE(hugging_face(kShape, {0, 0, 40}, std::span(tensors, 5), bases, &layout));
  EXPECT_FALSE(hugging_face(kShape, {0, 1, 40}, tensors, bases, &layout));
}

}  // namespace
}  // namespace kvtier::kernels::testing
