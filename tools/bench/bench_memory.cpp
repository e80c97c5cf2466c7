#include "tools/bench/bench_memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace kvtier::tools {

Result<BenchMemory> BenchMemory::create(uint64_t bytes, Kind kind) {
  int fd = -1;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
  if (kind == Kind::kShared) {
    fd = memfd_create("kvtier-bench", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
      const Error error = Error::system(errno, "making shared memory for the benchmark");
      if (fd >= 0) close(fd);
      return error;
    }
    flags = MAP_SHARED;
  }
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags | MAP_POPULATE, fd, 0);
  const int failed = errno;
  if (fd >= 0) close(fd);
  if (data == MAP_FAILED) return Error::system(failed, "mapping memory for the benchmark");
  return BenchMemory(static_cast<std::byte*>(data), bytes);
}

BenchMemory::BenchMemory(BenchMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_) {}

BenchMemory::~BenchMemory() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

void do_other_work(const BenchMemory& memory) {
  for (uint64_t at = 0; at < memory.bytes(); at += 64) {
    auto* line = reinterpret_cast<volatile unsigned char*>(memory.data() + at);
    *line = static_cast<unsigned char>(*line + 1);
  }
}

}  // namespace kvtier::tools
