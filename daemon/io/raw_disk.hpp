// The least that can be done to read or write a file at a depth: one io_uring, one registered file,
// no checks, no metadata. What the nvme tier is measured against, and how fast a disk is. Waits;
// one thread; never in the daemon's service.
#pragma once

#include <cstddef>
#include <cstdint>

#include "daemon/io/disk.hpp"

namespace kvtier::daemon {

struct RawDiskOptions {
  int file = -1;  // open with O_DIRECT
  DiskOperation operation = DiskOperation::kRead;
  uint64_t offset = 0;        // of the first place
  uint64_t stride_bytes = 0;  // from place to place
  uint64_t places = 0;        // taken in a shuffled order, again and again
  uint64_t transfer_bytes = 0;
  size_t depth = 1;
  uint64_t transfers = 0;       // in all
  uint64_t lane_bytes = 0;      // from one transfer's memory to the next one's; at least its bytes
  std::byte* memory = nullptr;  // depth x lane_bytes, page-aligned
  uint64_t seed = 1;
};

struct RawDiskResult {
  double seconds = 0;
  uint64_t bytes = 0;
};

// Errors: unsupported (no io_uring), system (the first transfer that failed).
Result<RawDiskResult> run_raw_disk(const RawDiskOptions& options);

}  // namespace kvtier::daemon
