// Memory that the daemon creates and shares: sealed memfds and their mappings. Any thread. Never
// maps memory that somebody else created.
#pragma once

#include <cstddef>
#include <cstdint>

#include "daemon/memory/fd.hpp"
#include "kvtier/result.hpp"

namespace kvtier::daemon {

// A mapping of shared memory. Unmapped when it goes; not inherited by children.
class Mapping {
 public:
  Mapping() = default;
  Mapping(std::byte* data, uint64_t bytes) : data_(data), bytes_(bytes) {}
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  void unmap();

  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
};

enum class Pages { kSmall, kHuge };  // 4 KiB, or 2 MiB from the host's reserve

// A memfd of a fixed size: sealed against shrinking, growing and further seals, mode 0600 (its
// inode is 0777 when created, and any uid that gets an fd could open it again for writing).
struct Memfd {
  Fd fd;
  Mapping mapping;  // read-write
  Pages pages = Pages::kSmall;
};

struct MemfdOptions {
  const char* name;  // shown in /proc/PID/maps
  uint64_t bytes;    // rounded up to whole pages
  Pages pages = Pages::kSmall;
};
// Errors: system (with errno: out of fds, of memory, of huge pages).
Result<Memfd> create_memfd(const MemfdOptions& options);

// Maps a memfd that an earlier process made with create_memfd(). Errors: corrupt (not sealed, or of
// fewer than bytes_min bytes: mapping it could end this process), system.
Result<Memfd> adopt_memfd(Fd fd, uint64_t bytes_min, Pages pages);

// Another fd for the same memory that can only be mapped read-only, or one that can be written.
Result<Fd> reopen_read_only(const Fd& memfd);
Result<Fd> duplicate(const Fd& fd);

// Gives the pages of [offset, offset + bytes) back to the host; they read as zeros afterwards,
// whoever still has them mapped.
Status punch_hole(const Fd& memfd, uint64_t offset, uint64_t bytes);

// Touches every page of a range of a mapping (MADV_POPULATE_WRITE). Errors: out_of_memory, system.
Status populate(std::byte* data, uint64_t bytes);

// mlock. Errors: system; the caller decides whether that matters.
Status lock_memory(std::byte* data, uint64_t bytes);

}  // namespace kvtier::daemon
