// A mapped file, unmapped with the object, left out of children (MADV_DONTFORK). Move-only.
// Never resizes; the file's seals keep its size.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kvtier/result.hpp"

namespace kvtier::client {

enum class Access : uint8_t { kRead, kReadWrite };

class Mapping {
 public:
  // Errors: system, out_of_memory.
  static Result<Mapping> map(int fd, uint64_t bytes, Access access);

  Mapping() = default;
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { reset(); }

  std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }
  void reset();

  // Fills the page tables of a part, rounded to pages: no first-touch faults later. Best effort;
  // any failure (an old kernel, a hole) is left to the first touch. Takes as long as the part is
  // large: give it pieces.
  void populate(uint64_t offset, uint64_t bytes) const;

 private:
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
  Access access_ = Access::kRead;
};

}  // namespace kvtier::client
