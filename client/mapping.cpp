#include "client/mapping.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "kvtier/wire/types.hpp"

// Linux 5.14; older C library headers lack them.
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

namespace kvtier::client {

Result<Mapping> Mapping::map(int fd, uint64_t bytes, Access access) {
  const int protection = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  void* data = ::mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return Error::system(errno, "mapping the daemon's memory");
  Mapping mapping;
  mapping.data_ = static_cast<std::byte*>(data);
  mapping.bytes_ = bytes;
  mapping.access_ = access;
  if (::madvise(data, bytes, MADV_DONTFORK) != 0) {
    return Error::system(errno, "keeping the daemon's memory out of children (MADV_DONTFORK)");
  }
  return mapping;
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      access_(other.access_) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    reset();
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    access_ = other.access_;
  }
  return *this;
}

void Mapping::reset() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
  data_ = nullptr;
  bytes_ = 0;
}

void Mapping::populate(uint64_t offset, uint64_t bytes) const {
  const uint64_t begin = offset / wire::kPageBytes * wire::kPageBytes;
  const uint64_t end = std::min(bytes_, wire::round_up(offset + bytes, wire::kPageBytes));
  if (begin >= end) return;
  (void)::madvise(data_ + begin, end - begin,
                  access_ == Access::kRead ? MADV_POPULATE_READ : MADV_POPULATE_WRITE);
}

}  // namespace kvtier::client
