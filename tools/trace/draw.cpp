// Random draws for generated workloads, the same on every machine. Owned by one thread.
#include "tools/trace/draw.hpp"

#include <algorithm>

namespace kvtier::tools {
namespace {

// 2^(1/2), 2^(1/4), ... 2^(1/65536) in 1/2^31, rounded to nearest.
constexpr uint64_t kRoots[16] = {
    0xb504f334, 0x9837f052, 0x8b95c1e4, 0x85aac368, 0x82cd8699, 0x8164d1f4, 0x80b1ed50, 0x8058d7d3,
    0x802c6437, 0x8016302f, 0x800b179d, 0x80058baf, 0x8002c5d0, 0x800162e6, 0x8000b173, 0x800058b9};

}  // namespace

uint64_t exp2_fixed(int64_t x) {
  const int64_t whole = x >> 16;
  const auto fraction = static_cast<uint32_t>(x & 0xffff);
  uint64_t root = 1u << 31;
  for (uint32_t i = 0; i < 16; ++i) {
    if ((fraction & (0x8000u >> i)) != 0) root = root * kRoots[i] >> 31;
  }
  return whole >= 15 ? root << (whole - 15) : root >> (15 - whole);
}

uint64_t Draw::bits() {
  state_ += 0x9e3779b97f4a7c15;
  uint64_t x = state_;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t Draw::below(uint64_t end) {
  return (bits() >> 32) * end >> 32;
}

uint64_t Draw::log_normal(const LogNormal& shape) {
  // Twelve uniform draws have a variance of 1, and their sum is as good as normal here.
  int64_t normal = -6 * 65536;  // in 1/65536
  for (int i = 0; i < 3; ++i) {
    for (uint64_t four = bits(), j = 0; j < 4; ++j, four >>= 16) {
      normal += static_cast<int64_t>(four & 0xffff);
    }
  }
  const int64_t doublings =
      std::clamp<int64_t>(normal * shape.spread_16ths / 16, -15 << 16, 15 << 16);
  const uint64_t value = shape.median * exp2_fixed(doublings) >> 16;
  return std::clamp<uint64_t>(value, shape.min, shape.max);
}

}  // namespace kvtier::tools
