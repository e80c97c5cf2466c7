// Nvme tiers for tests: on a simulated disk, and on a file of this machine. What they are made of
// outlives them, so that a test can restart them.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "daemon/io/simulated_disk.hpp"
#include "daemon/io/simulated_metadata.hpp"
#include "daemon/tiers/nvme_tier.hpp"
#include "tests/support/temporary_folder.hpp"

namespace kvtier::daemon {

// Memory that direct I/O takes.
template <typename T>
struct PageAllocator {
  using value_type = T;
  PageAllocator() = default;
  template <typename U>
  PageAllocator(const PageAllocator<U>&) {}
  T* allocate(size_t count) {
    return static_cast<T*>(::operator new (count * sizeof(T), std::align_val_t{4096}));
  }
  void deallocate(T* memory, size_t) { ::operator delete (memory, std::align_val_t{4096}); }
  template <typename U>
  bool operator==(const PageAllocator<U>&) const {
    return true;
  }
};
using PageBytes = std::vector<std::byte, PageAllocator<std::byte>>;

// A slab on a simulated medium, or what is wrong with it.
nvme::Slab simulated_slab(const std::shared_ptr<SimulatedMedium>& medium, const Clock& clock,
                          const SimulatedDiskOptions& options, uint64_t segment_bytes,
                          SimulatedDisk** disk = nullptr);

// Both with one segment of that many bytes.
std::unique_ptr<Tier> make_simulated_tier(uint64_t capacity_bytes, const Clock& clock);
std::unique_ptr<Tier> make_uring_tier(uint64_t capacity_bytes, const Clock& clock);

}  // namespace kvtier::daemon
