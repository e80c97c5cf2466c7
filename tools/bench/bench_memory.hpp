// Memory of a benchmark itself, touched before anything is measured, and work that pushes what is
// measured out of the caches. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kvtier/result.hpp"

namespace kvtier::tools {

class BenchMemory {
 public:
  enum class Kind : uint8_t { kPrivate, kShared };  // kShared: a memfd, as a pool's segments are
  // Zeroed and populated. Errors: out_of_memory, system.
  static Result<BenchMemory> create(uint64_t bytes, Kind kind);
  BenchMemory(BenchMemory&& other) noexcept;
  BenchMemory& operator=(BenchMemory&&) = delete;
  ~BenchMemory();

  std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }
  std::span<std::byte> span() const { return {data_, bytes_}; }

 private:
  BenchMemory(std::byte* data, uint64_t bytes) : data_(data), bytes_(bytes) {}
  std::byte* data_;
  uint64_t bytes_;
};

// What an engine does between two calls, as far as caches and TLBs see it: reads and writes a line
// in each 64 bytes of `memory`.
void do_other_work(const BenchMemory& memory);

}  // namespace kvtier::tools
