// What kvtier doctor looks at of the disks that the nvme tier uses or would use, and of io_uring.
// Reading only: a test file without a name is the most it makes. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace kvtier::tools {

struct DiskFacts {
  std::string path;  // as in nvme.paths
  int error = 0;     // errno of looking at it
  bool is_block_device = false;
  std::string file_system;      // "ext4"; empty: not known
  bool updates_access = false;  // mounted without noatime and relatime
  std::optional<bool> is_rotational;
  bool has_slab = false;
  int direct_error = 0;  // errno of opening with O_DIRECT; 0: works, or could not be tried
  bool tried_direct = false;
  uint64_t capacity_bytes = 0;   // nvme.capacity
  uint64_t slab_bytes = 0;       // of it on the disk already
  uint64_t available_bytes = 0;  // of the file system, or the size of the block device
};

// `root`: "/" but in tests; of /proc and /sys.
DiskFacts look_at_disk(const std::string& path, uint64_t capacity_bytes, const std::string& root);

// errno of making an io_uring here; 0: it works.
int try_io_uring();

// Of /proc/self/mountinfo text: the mount of a device number ("254:0").
struct MountFacts {
  std::string file_system;
  std::string options;  // "rw,relatime"
};
std::optional<MountFacts> mount_of(const std::string& mountinfo, const std::string& device);

}  // namespace kvtier::tools
