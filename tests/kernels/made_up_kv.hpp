// KV that looks like a model's, and memory laid out as engines do it, for the tests of layouts and
// codecs: normal numbers with channels of very different size among the keys, from a seed.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>

#include "kernels/codec.hpp"
#include "kernels/codec_math.hpp"
#include "kernels/reference.hpp"
#include "tests/kernels/reference.hpp"

namespace kvtier::kernels::testing {

inline uint16_t element_bits(Element element, float value) {
  return static_cast<uint16_t>(element == Element::kBf16 ? math::to_bf16(value)
                                                         : math::to_f16(value));
}
inline float element_float(Element element, uint16_t bits) {
  return element == Element::kBf16 ? math::from_bf16(bits) : math::from_f16(bits);
}

inline uint16_t get16(const std::byte* at) {
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return bits;
}
inline void put16(std::byte* at, uint16_t bits) {
  std::memcpy(at, &bits, sizeof bits);
}

// A raw chunk.
inline std::vector<std::byte> made_up_chunk(const ChunkShape& shape, std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  std::vector<float> channel(shape.heads * shape.dim);
  for (float& size : channel) size = std::exp(1.5f * normal(random));
  std::vector<std::byte> raw(shape.raw_bytes());
  for (uint64_t i = 0; i < raw.size() / 2; ++i) {
    const bool keys = shape.planes == 2 && i / (shape.plane_bytes() / 2) % 2 == 0;
    const float size = keys ? channel[i % channel.size()] : 0.3f;
    put16(raw.data() + 2 * i, element_bits(shape.element, size * normal(random)));
  }
  return raw;
}

// One of the layouts that engines use, over memory of its own, blocks in an order of its own.
struct EngineMemory {
  enum Kind { kSplit, kSplitHeadsFirst, kTogether, kTogetherHeadsFirst, kCrossLayer, kHuggingFace };
  static constexpr int kKinds = 6;

  EngineMemory(const ChunkShape& chunk_shape, Kind kind, size_t skew, std::mt19937_64& random)
      : shape(chunk_shape) {
    const uint32_t planes = shape.layers * shape.planes;
    bases.resize(planes);
    if (kind == kHuggingFace) {
      const Sequence sequence = {1, 3, shape.tokens + 5};
      const uint64_t bytes = 2 * shape.heads * sequence.tokens_total * shape.row_bytes();
      for (uint32_t i = 0; i < planes; ++i) add(bytes, skew);
      blocks = {0};
      good = hugging_face(shape, sequence, tensors, bases, &layout);
    } else {
      const Pool pool = {.blocks_total = shape.tokens / 16 + 4,
                         .block_tokens = 16,
                         .heads_first = kind == kSplitHeadsFirst || kind == kTogetherHeadsFirst};
      for (uint32_t i = 0; i * 16 < shape.tokens; ++i) {
        blocks.push_back(static_cast<uint32_t>(pool.blocks_total) - 1 - i);
      }
      std::shuffle(blocks.begin(), blocks.end(), random);
      const uint64_t plane = pool.blocks_total * 16 * shape.token_bytes();
      if (kind == kCrossLayer) {
        add(plane * planes, skew);
        good = cross_layer(shape, pool, tensors[0], bases, &layout);
      } else {
        for (uint32_t i = 0; i < shape.layers; ++i) add(plane * shape.planes, skew);
        good = kind == kSplit || kind == kSplitHeadsFirst
                   ? vllm_split(shape, pool, tensors, bases, &layout)
                   : vllm_together(shape, pool, tensors, bases, &layout);
      }
    }
    layout.blocks = blocks.data();
  }

  void add(uint64_t bytes, size_t skew) {
    buffers.push_back(std::make_unique<GuardedBuffer>(bytes, skew));
    tensors.push_back(buffers.back()->data());
  }
  void poison() {
    for (auto& buffer : buffers) buffer->poison();
  }
  // Every byte of the memory, to compare with another's.
  std::vector<std::byte> bytes() const {
    std::vector<std::byte> all;
    for (const auto& buffer : buffers) {
      all.insert(all.end(), buffer->data(), buffer->data() + buffer->size());
    }
    return all;
  }
  bool surroundings_untouched() const {
    for (const auto& buffer : buffers) {
      if (!buffer->surroundings_untouched()) return false;
    }
    return true;
  }

  ChunkShape shape;
  std::vector<std::unique_ptr<GuardedBuffer>> buffers;
  std::vector<std::byte*> tensors;
  std::vector<std::byte*> bases;
  std::vector<uint32_t> blocks;
  PagedLayout layout;
  bool good = false;
};

inline constexpr Codec kLossyCodecs[] = {Codec::kFp8TokenHead, Codec::kFp8Tensor, Codec::kInt8,
                                         Codec::kInt4};
inline constexpr Codec kTypedCodecs[] = {Codec::kNone, Codec::kFp8TokenHead, Codec::kFp8Tensor,
                                         Codec::kInt8, Codec::kInt4};

}  // namespace kvtier::kernels::testing
