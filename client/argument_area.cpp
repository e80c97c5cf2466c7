#include "client/argument_area.hpp"

#include <algorithm>

namespace kvtier::client {

ArgumentArea::ArgumentArea(uint64_t bytes)
    : units_(static_cast<uint32_t>(std::min(bytes, kUsedBytesMax) / kUnitBytes)),
      bits_((units_ + 63) / 64) {}

ArgumentBlock ArgumentArea::take(uint64_t bytes) {
  if (bytes == 0 || bytes > bytes_max()) return {};
  const auto count = static_cast<uint32_t>((bytes + kUnitBytes - 1) / kUnitBytes);
  uint32_t first = 0;
  if (!find(start_, units_, count, &first) && !find(0, units_, count, &first)) return {};
  mark(first, count, true);
  start_ = first + count == units_ ? 0 : first + count;
  return {first * kUnitBytes, count * kUnitBytes};
}

void ArgumentArea::give(ArgumentBlock block) {
  if (block.held()) mark(block.offset / kUnitBytes, block.bytes / kUnitBytes, false);
}

void ArgumentArea::mark(uint32_t first, uint32_t count, bool used) {
  for (uint32_t unit = first; unit < first + count; ++unit) {
    const uint64_t bit = uint64_t{1} << (unit % 64);
    if (used) {
      bits_[unit / 64] |= bit;
    } else {
      bits_[unit / 64] &= ~bit;
    }
  }
}

bool ArgumentArea::find(uint32_t begin, uint32_t end, uint32_t count, uint32_t* first) const {
  uint32_t run = 0;
  for (uint32_t unit = begin; unit < end; ++unit) {
    if (unit % 64 == 0 && bits_[unit / 64] == ~uint64_t{0}) {
      run = 0;
      unit += 63;
      continue;
    }
    run = used(unit) ? 0 : run + 1;
    if (run == count) {
      *first = unit + 1 - count;
      return true;
    }
  }
  return false;
}

}  // namespace kvtier::client
