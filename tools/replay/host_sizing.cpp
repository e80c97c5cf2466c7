#include "tools/replay/host_sizing.hpp"

#include <algorithm>
#include <bit>
#include <fstream>
#include <string>

#include "kvtier/wire/chunk_header.hpp"

namespace kvtier::tools {
namespace {

constexpr uint64_t kSegmentsPerPool = 128;
constexpr uint64_t kSlotsPerSegmentMin = 8;

}  // namespace

uint64_t slot_bytes_of(uint32_t block_tokens, uint64_t chunk_bytes) {
  return wire::slot_bytes_for(wire::header_bytes_for(block_tokens) + chunk_bytes);
}

uint64_t segment_bytes_of(uint64_t capacity_bytes, uint64_t slot_bytes,
                          uint64_t segment_bytes_min) {
  uint64_t bytes =
      std::max({std::bit_ceil(capacity_bytes / kSegmentsPerPool),
                std::bit_ceil(slot_bytes * kSlotsPerSegmentMin), std::bit_ceil(segment_bytes_min)});
  while (bytes > capacity_bytes && bytes / 2 >= slot_bytes) bytes /= 2;
  return std::min(bytes, std::bit_floor(slot_bytes * wire::kSlotsPerSegmentMax));
}

uint64_t chunks_in_capacity(uint64_t capacity_bytes, uint64_t slot_bytes,
                            uint64_t segment_bytes_min) {
  const uint64_t segment = segment_bytes_of(capacity_bytes, slot_bytes, segment_bytes_min);
  return capacity_bytes / segment * (segment / slot_bytes);
}

uint64_t capacity_for_chunks(uint64_t chunks, uint64_t slot_bytes, uint64_t segment_bytes_min) {
  const uint64_t slots = chunks + kSpareSlots;
  uint64_t capacity = slots * slot_bytes;
  // Whole segments grow with the capacity, so the size is approached from below.
  for (int i = 0; i < 64; ++i) {
    const uint64_t segment = segment_bytes_of(capacity, slot_bytes, segment_bytes_min);
    const uint64_t per_segment = std::max<uint64_t>(segment / slot_bytes, 1);
    const uint64_t whole = ((slots + per_segment - 1) / per_segment + 2) * segment;
    if (whole <= capacity) break;
    capacity = whole;
  }
  return capacity;
}

uint64_t memory_available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  uint64_t kib = 0;
  while (file >> name >> kib) {
    if (name == "MemAvailable:") return kib * 1024;
    file.ignore(64, '\n');
  }
  return 0;
}

}  // namespace kvtier::tools
