#include "client/fork_guard.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <new>

#include "kvtier/wire/types.hpp"

namespace kvtier::client {

Result<std::unique_ptr<ForkGuard>> ForkGuard::create() {
  void* page =
      ::mmap(nullptr, wire::kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return Error::system(errno, "a page for the fork guard");
  if (::madvise(page, wire::kPageBytes, MADV_WIPEONFORK) != 0) {
    const int number = errno;
    ::munmap(page, wire::kPageBytes);
    return Error::system(number, "MADV_WIPEONFORK (Linux 4.14) for the fork guard");
  }
  return std::unique_ptr<ForkGuard>(new ForkGuard(page));
}

ForkGuard::ForkGuard(void* page) : alive_(new (page) std::atomic<uint64_t>(1)) {}

ForkGuard::~ForkGuard() {
  ::munmap(alive_, wire::kPageBytes);
}

}  // namespace kvtier::client
