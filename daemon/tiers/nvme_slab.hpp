// Opening a slab: what is on it is recognised, or it is left alone. Waits for the device; used
// before service begins and by tools, on any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "daemon/io/disk.hpp"
#include "daemon/memory/fd.hpp"
#include "daemon/tiers/nvme_format.hpp"

namespace kvtier::daemon::nvme {

struct Slab {
  std::string name;            // its path
  std::unique_ptr<Disk> disk;  // null: it could not be opened
  Fd lock;
  std::string failure;  // why not
  Superblock superblock;
  std::vector<SegmentDescriptor> descriptors;
  bool is_new = false;
  bool needs_preparing = true;  // block devices have no unwritten extents
  std::vector<std::string> warnings;
};

struct SlabFileOptions {
  std::string path;  // a directory, in which the file `slab` is or will be, or a block device
  uint64_t capacity_bytes = 0;  // 0: all of a block device
};

// The slab's file, opened for direct I/O and locked against other processes, created and
// preallocated where there was none. Errors: unavailable (another kvtierd has it), full (no space),
// invalid_argument (the device is smaller), system.
struct SlabFile {
  Fd file;
  Fd lock;
  std::string path;
  bool is_block_device = false;
  std::vector<std::string> warnings;
};
Result<SlabFile> open_slab_file(const SlabFileOptions& options);

struct SlabOptions {
  std::string name;
  uint64_t capacity_bytes = 0;  // 0: the disk's size
  uint64_t segment_bytes = 0;   // 0: derived
  Uuid uuid = {};               // of a new slab; all zero: random
};

// Recognises the slab on the disk, or makes one where there is nothing at all. Errors: incompatible
// (a newer version), corrupt (both superblocks), invalid_argument (something else is there, or its
// capacity is more than configured), system (EIO). Nothing is changed then.
Result<Slab> open_slab(std::unique_ptr<Disk> disk, const SlabOptions& options);

}  // namespace kvtier::daemon::nvme
