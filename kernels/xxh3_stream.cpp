// Start and end of a streamed XXH3-64: the parts that cost nothing per byte and need no vectors.
#include "kernels/xxh3_stream.hpp"

#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace kvtier::kernels::detail {
namespace {

uint64_t read64(const void* from) {
  uint64_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// The high and the low half of a 128-bit product, folded.
uint64_t multiply_fold(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

void xxh3_start(Xxh3State& state, uint64_t length) {
  // XXH3's initial lanes.
  static constexpr uint64_t kStart[8] = {
      0xC2B2AE3DULL,         0x9E3779B185EBCA87ULL, 0xC2B2AE3D27D4EB4FULL, 0x165667B19E3779F9ULL,
      0x85EBCA77C2B2AE63ULL, 0x85EBCA77ULL,         0x27D4EB2F165667C5ULL, 0x9E3779B1ULL};
  std::memcpy(state.lanes, kStart, sizeof kStart);
  state.length = length;
  state.position = 0;
}

uint64_t xxh3_finish(const Xxh3State& state) {
  if (state.length <= kShortBytesMax) return XXH3_64bits(state.carry, state.length);

  uint64_t lanes[8];
  std::memcpy(lanes, state.lanes, sizeof lanes);
  const std::byte* last = state.carry + state.length % kStripeBytes;
  constexpr size_t kLastSecret = sizeof XXH3_kSecret - kStripeBytes - 7;
  for (size_t i = 0; i < 8; ++i) {
    const uint64_t data = read64(last + 8 * i);
    const uint64_t keyed = data ^ read64(XXH3_kSecret + kLastSecret + 8 * i);
    lanes[i ^ 1] += data;
    lanes[i] += (keyed & 0xFFFFFFFFULL) * (keyed >> 32);
  }

  constexpr size_t kMergeSecret = 11;
  uint64_t result = state.length * 0x9E3779B185EBCA87ULL;
  for (size_t i = 0; i < 4; ++i) {
    const unsigned char* secret = XXH3_kSecret + kMergeSecret + 16 * i;
    result += multiply_fold(lanes[2 * i] ^ read64(secret), lanes[2 * i + 1] ^ read64(secret + 8));
  }
  result ^= result >> 37;
  result *= 0x165667919E3779F9ULL;
  return result ^ (result >> 32);
}

}  // namespace kvtier::kernels::detail
