// Divides the session's argument area into runs of 256-byte units, first fit from a moving start.
// Not thread-safe: the ring's lock covers it. Never grows; when nothing fits the caller waits for
// answers or reports it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvtier::client {

// A part of the argument area, from its start.
struct ArgumentBlock {
  uint32_t offset = 0;
  uint32_t bytes = 0;
  bool held() const { return bytes != 0; }
};

class ArgumentArea {
 public:
  static constexpr uint32_t kUnitBytes = 256;
  static constexpr uint64_t kUsedBytesMax = uint64_t{64} << 20;  // more is left alone

  // Throws bad_alloc.
  explicit ArgumentArea(uint64_t bytes);

  // A block of at least `bytes` (> 0), or one that is not held when no run is free.
  ArgumentBlock take(uint64_t bytes);
  void give(ArgumentBlock block);

  // The largest request that an empty area could serve.
  uint64_t bytes_max() const { return uint64_t{units_} * kUnitBytes; }

 private:
  bool used(uint32_t unit) const { return (bits_[unit / 64] >> (unit % 64) & 1) != 0; }
  void mark(uint32_t first, uint32_t count, bool used);
  bool find(uint32_t begin, uint32_t end, uint32_t count, uint32_t* first) const;

  uint32_t units_;
  uint32_t start_ = 0;  // where the last block ended
  std::vector<uint64_t> bits_;
};

}  // namespace kvtier::client
