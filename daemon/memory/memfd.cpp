// Sealed memfds and their mappings; see memfd.hpp. Any thread.
#include "daemon/memory/memfd.hpp"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "kvtier/wire/types.hpp"

namespace kvtier::daemon {

namespace {
constexpr uint64_t kHugePageBytes = 2 * wire::MiB;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

Status map_memfd(Memfd& memfd, uint64_t bytes) {
  // A mapping of huge pages reserves them now, so that a later touch cannot fail for want of them.
  void* data =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
             MAP_SHARED | (memfd.pages == Pages::kHuge ? 0 : MAP_NORESERVE), memfd.fd.get(), 0);
  if (data == MAP_FAILED) return Error::system(errno, "mapping a memfd");
  memfd.mapping = Mapping(static_cast<std::byte*>(data), bytes);
  ::madvise(data, bytes, MADV_DONTFORK);
  ::madvise(data, bytes, MADV_DONTDUMP);  // KV bytes do not belong in core files
  return {};
}

}  // namespace

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    unmap();
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

Mapping::~Mapping() {
  unmap();
}

void Mapping::unmap() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
  data_ = nullptr;
}

Result<Memfd> create_memfd(const MemfdOptions& options) {
  const bool huge = options.pages == Pages::kHuge;
  const uint64_t bytes =
      wire::round_up(options.bytes, huge ? kHugePageBytes : uint64_t{wire::kPageBytes});
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  if (huge) flags |= MFD_HUGETLB | MFD_HUGE_2MB;

  Memfd memfd;
  memfd.pages = options.pages;
  memfd.fd = Fd(::memfd_create(options.name, flags));
  if (!memfd.fd) return Error::system(errno, "memfd_create");
  if (::fchmod(memfd.fd.get(), 0600) != 0) return Error::system(errno, "fchmod of a memfd");
  if (::ftruncate(memfd.fd.get(), static_cast<off_t>(bytes)) != 0) {
    return Error::system(errno, "setting the size of a memfd");
  }
  if (::fcntl(memfd.fd.get(), F_ADD_SEALS, kSeals) != 0) {
    return Error::system(errno, "sealing a memfd");
  }
  if (Status mapped = map_memfd(memfd, bytes); !mapped) return mapped.error();
  return memfd;
}

Result<Memfd> adopt_memfd(Fd fd, uint64_t bytes_min, Pages pages) {
  Memfd memfd;
  memfd.fd = std::move(fd);
  memfd.pages = pages;
  struct stat found = {};
  if (::fstat(memfd.fd.get(), &found) != 0) return Error::system(errno, "looking at kept memory");
  const auto bytes = static_cast<uint64_t>(found.st_size);
  const int seals = ::fcntl(memfd.fd.get(), F_GET_SEALS);
  if (bytes < bytes_min || seals < 0 || (seals & kSeals) != kSeals) {
    return Error::format(Code::kCorrupt,
                         "kept memory has %llu bytes and seals %d; at least %llu and %d are due",
                         static_cast<unsigned long long>(bytes), seals,
                         static_cast<unsigned long long>(bytes_min), kSeals);
  }
  if (Status mapped = map_memfd(memfd, bytes); !mapped) return mapped.error();
  return memfd;
}

Result<Fd> reopen_read_only(const Fd& memfd) {
  char path[48];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", memfd.get());
  Fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return Error::system(errno, "opening a memfd read-only");
  return fd;
}

Result<Fd> duplicate(const Fd& fd) {
  Fd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) return Error::system(errno, "duplicating a file descriptor");
  return copy;
}

Status punch_hole(const Fd& memfd, uint64_t offset, uint64_t bytes) {
  if (::fallocate(memfd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(offset), static_cast<off_t>(bytes)) != 0) {
    return Error::system(errno, "giving pages of a memfd back");
  }
  return {};
}

Status populate(std::byte* data, uint64_t bytes) {
  if (::madvise(data, bytes, MADV_POPULATE_WRITE) == 0) return {};
  if (errno == ENOMEM || errno == EFAULT || errno == EHWPOISON) {
    return Error::format(Code::kOutOfMemory, "populating %llu bytes: errno %d",
                         static_cast<unsigned long long>(bytes), errno);
  }
  return Error::system(errno, "populating memory");
}

Status lock_memory(std::byte* data, uint64_t bytes) {
  if (::mlock(data, bytes) != 0) return Error::system(errno, "mlock");
  return {};
}

}  // namespace kvtier::daemon
