// The bytes and token ids that a replay stores for a block. Pure; any thread. Loops go in
// steps of 64 bytes.
#include "tools/trace/block_content.hpp"

#include <bit>
#include <cstring>

namespace kvtier::tools {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr size_t kStepBytes = 64;

// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection.
constexpr uint64_t scramble(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// The finaliser of MurmurHash3 for 32 bits: a bijection.
constexpr uint32_t scramble32(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x85ebca6b;
  x = (x ^ (x >> 13)) * 0xc2b2ae35;
  return x ^ (x >> 16);
}

// Two words at a time: what every x86-64 has, and enough to outrun its memory.
using Pair = uint64_t __attribute__((vector_size(16)));

// 64 bytes of the stream; take() moves on to the next 64.
struct Stream {
  Pair position[4];  // seed + i * step for the next eight words
  Pair stride;       // eight steps

  Stream(uint64_t id, uint64_t salt) {
    const uint64_t seed = scramble(id ^ scramble(salt));
    const uint64_t step = scramble(seed) | 1;
    for (uint64_t i = 0; i < 4; ++i)
      position[i] = Pair{seed + 2 * i * step, seed + (2 * i + 1) * step};
    stride = Pair{8 * step, 8 * step};
  }

  void take(Pair (&words)[4]) {
    for (size_t i = 0; i < 4; ++i) {
      words[i] = position[i] ^ (position[i] >> 31);
      position[i] += stride;
    }
  }
};

uint64_t count_differing(const void* expected, const std::byte* found, size_t bytes) {
  const auto* right = static_cast<const std::byte*>(expected);
  uint64_t wrong = 0;
  for (size_t i = 0; i < bytes; ++i) wrong += right[i] != found[i] ? 1 : 0;
  return wrong;
}

}  // namespace

void fill_payload(uint64_t id, uint64_t salt, std::span<std::byte> payload) {
  Stream stream(id, salt);
  Pair words[4];
  std::byte* target = payload.data();
  size_t left = payload.size();
  for (; left >= kStepBytes; left -= kStepBytes, target += kStepBytes) {
    stream.take(words);
    std::memcpy(target, words, kStepBytes);
  }
  if (left == 0) return;
  stream.take(words);
  std::memcpy(target, words, left);
}

uint64_t count_wrong_bytes(uint64_t id, uint64_t salt, std::span<const std::byte> payload) {
  Stream stream(id, salt);
  Pair words[4];
  Pair found[4];
  uint64_t wrong = 0;
  const std::byte* source = payload.data();
  size_t left = payload.size();
  for (; left >= kStepBytes; left -= kStepBytes, source += kStepBytes) {
    stream.take(words);
    std::memcpy(found, source, kStepBytes);
    Pair difference = words[0] ^ found[0];
    for (size_t i = 1; i < 4; ++i) difference |= words[i] ^ found[i];
    if ((difference[0] | difference[1]) != 0) [[unlikely]]
      wrong += count_differing(words, source, kStepBytes);
  }
  if (left == 0) return wrong;
  stream.take(words);
  return wrong + count_differing(words, source, left);
}

void fill_tokens(uint64_t id, std::span<uint32_t> tokens) {
  const uint32_t low = scramble32(static_cast<uint32_t>(id));
  const uint32_t high = scramble32(static_cast<uint32_t>(id >> 32) ^ low);
  const uint64_t seed = scramble(id);
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = scramble32(static_cast<uint32_t>(seed >> 32) + static_cast<uint32_t>(seed + i));
  }
  if (!tokens.empty()) tokens[0] = low;
  if (tokens.size() > 1) tokens[1] = high;
}

}  // namespace kvtier::tools
