// See disk_facts.hpp.
#include "tools/cli/doctor/disk_facts.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace kvtier::tools {
namespace {

std::string number_of(dev_t device) {
  return std::to_string(major(device)) + ":" + std::to_string(minor(device));
}

// A partition has no queue of its own: its disk's is meant. What a virtual disk says of itself is
// what nobody set: its host knows.
std::optional<bool> rotational(const std::string& root, dev_t device) {
  const std::string folder = root + "sys/dev/block/" + number_of(device) + "/";
  std::error_code ignored;
  const std::string real = std::filesystem::canonical(folder, ignored).string();
  for (const char* virtually : {"/virtio", "/vbd-", "/xen"}) {
    if (real.find(virtually) != std::string::npos) return {};
  }
  for (const char* file : {"queue/rotational", "../queue/rotational"}) {
    std::ifstream text(folder + file);
    int value = 0;
    if (text >> value) return value != 0;
  }
  return {};
}

void look_at_block_device(DiskFacts& facts) {
  const int file = ::open(facts.path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  facts.tried_direct = true;
  facts.direct_error = file < 0 ? errno : 0;
  if (file < 0) return;
  if (::ioctl(file, BLKGETSIZE64, &facts.available_bytes) != 0) facts.available_bytes = 0;
  ::close(file);
}

void look_at_slab(DiskFacts& facts) {
  const std::string slab = facts.path + "/slab";
  struct stat found = {};
  if (::stat(slab.c_str(), &found) == 0) {
    facts.has_slab = true;
    facts.slab_bytes = static_cast<uint64_t>(found.st_blocks) * 512;
  }
  // The slab itself, or a file without a name where there is none yet.
  const int file =
      facts.has_slab ? ::open(slab.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC)
                     : ::open(facts.path.c_str(), O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
  facts.direct_error = file < 0 ? errno : 0;
  // What only the daemon's user may do says nothing of the file system.
  facts.tried_direct = file >= 0 || (facts.direct_error != EACCES && facts.direct_error != EPERM &&
                                     facts.direct_error != EROFS);
  if (file >= 0) ::close(file);
}

}  // namespace

std::optional<MountFacts> mount_of(const std::string& mountinfo, const std::string& device) {
  std::optional<MountFacts> found;
  std::istringstream lines(mountinfo);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string id, parent, number, source, target, options, word, file_system;
    words >> id >> parent >> number >> source >> target >> options;
    if (number != device) continue;
    while (words >> word && word != "-") {
    }
    if (words >> file_system) found = MountFacts{file_system, options};
  }
  return found;
}

DiskFacts look_at_disk(const std::string& path, uint64_t capacity_bytes, const std::string& root) {
  DiskFacts facts;
  facts.path = path;
  facts.capacity_bytes = capacity_bytes;
  struct stat found = {};
  if (::stat(path.c_str(), &found) != 0) {
    facts.error = errno;
    return facts;
  }
  facts.is_block_device = S_ISBLK(found.st_mode);
  facts.is_rotational = rotational(root, facts.is_block_device ? found.st_rdev : found.st_dev);
  if (facts.is_block_device) {
    look_at_block_device(facts);
    return facts;
  }
  struct statvfs space = {};
  if (::statvfs(path.c_str(), &space) == 0) {
    facts.available_bytes = uint64_t{space.f_bavail} * space.f_frsize;
  }
  std::ifstream mounts(root + "proc/self/mountinfo");
  const std::string text{std::istreambuf_iterator<char>(mounts), {}};
  if (const auto mount = mount_of(text, number_of(found.st_dev))) {
    facts.file_system = mount->file_system;
    const std::string options = "," + mount->options + ",";
    facts.updates_access = options.find(",noatime,") == std::string::npos &&
                           options.find(",relatime,") == std::string::npos;
  }
  look_at_slab(facts);
  return facts;
}

int try_io_uring() {
  io_uring_params parameters = {};
  const auto ring = static_cast<int>(::syscall(SYS_io_uring_setup, 2, &parameters));
  if (ring < 0) return errno;
  ::close(ring);
  return 0;
}

}  // namespace kvtier::tools
