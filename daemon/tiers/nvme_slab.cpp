#include "daemon/tiers/nvme_slab.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace kvtier::daemon::nvme {
namespace {

constexpr uint64_t kReadBytes = wire::MiB;  // descriptors at a time
// A daemon that was just killed may hold its files for a moment.
constexpr int kLockTries = 20;
constexpr useconds_t kLockPauseUs = 50'000;

struct FreeMemory {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<std::byte[], FreeMemory>;

Memory page_memory(uint64_t bytes) {
  Memory memory(static_cast<std::byte*>(std::aligned_alloc(kPage, bytes)));
  if (memory != nullptr) std::memset(memory.get(), 0, bytes);
  return memory;
}

Page page_at(const std::byte* memory) {
  Page page;
  std::memcpy(page.data(), memory, kPage);
  return page;
}

unsigned long long shown(uint64_t value) {
  return value;
}

Status lock_file(int file, const std::string& path) {
  struct flock whole = {};
  whole.l_type = F_WRLCK;
  for (int i = 0; i < kLockTries; ++i) {
    if (::fcntl(file, F_OFD_SETLK, &whole) == 0) return {};
    if (errno != EAGAIN && errno != EACCES) return Error::system(errno, path.c_str());
    ::usleep(kLockPauseUs);
  }
  return Error::format(Code::kUnavailable,
                       "%s is in use by another kvtierd: stop it, or give each daemon its own "
                       "nvme.paths",
                       path.c_str());
}

Result<uint64_t> device_bytes(int file) {
  uint64_t bytes = 0;
  if (::ioctl(file, BLKGETSIZE64, &bytes) != 0) return Error::system(errno, "BLKGETSIZE64");
  return bytes;
}

Status allocate(int file, const std::string& path, uint64_t bytes) {
  const int error = ::posix_fallocate(file, 0, static_cast<off_t>(bytes));
  if (error == 0) return {};
  if (error == ENOSPC || error == EFBIG || error == EDQUOT) {
    return Error::format(Code::kFull,
                         "%s: there is no room for %llu bytes (%s); free some, or lower "
                         "nvme.capacity",
                         path.c_str(), shown(bytes), strerrordesc_np(error));
  }
  return Error::system(error, path.c_str());
}

int open_direct(const std::string& path, int flags, std::vector<std::string>& warnings) {
  int file = ::open(path.c_str(), flags | O_DIRECT, 0600);
  if (file < 0 && errno == EINVAL) {
    file = ::open(path.c_str(), flags, 0600);
    if (file >= 0) {
      warnings.push_back(path +
                         ": the file system has no direct I/O; the page cache holds chunks "
                         "a second time and reads may wait");
    }
  }
  return file;
}

// Both copies as they are on the disk.
struct Superblocks {
  PageState states[kSuperblocks];
  Superblock copies[kSuperblocks];
};

bool is_blank(const std::byte* memory, uint64_t bytes) {
  return std::all_of(memory, memory + bytes, [](std::byte b) { return b == std::byte{0}; });
}

Status write_page(Disk& disk, uint64_t offset, const Page& page) {
  const Memory memory = page_memory(kPage);
  if (memory == nullptr) return Error(Code::kOutOfMemory, "no memory for a page");
  std::memcpy(memory.get(), page.data(), kPage);
  const int error = disk.write_now(offset, {memory.get(), kPage});
  if (error != 0) return Error::system(error, "writing a superblock");
  return {};
}

Status write_superblocks(Disk& disk, const Superblock& superblock) {
  Page page;
  encode(superblock, page);
  for (uint64_t copy = kSuperblocks; copy > 0; --copy) {
    const Status written = write_page(disk, (copy - 1) * kPage, page);
    if (!written.ok()) return written;
  }
  return {};
}

Status format(Slab& slab, const SlabOptions& options, uint64_t capacity) {
  Result<Superblock> plan = plan_slab(capacity, options.segment_bytes);
  if (!plan.ok()) return plan.error();
  slab.superblock = *plan;
  slab.superblock.uuid = options.uuid;
  if (options.uuid == Uuid{}) {
    if (::getrandom(slab.superblock.uuid.data(), 16, 0) != 16) {
      return Error::system(errno, "getrandom");
    }
  }
  slab.is_new = true;
  slab.descriptors.resize(slab.superblock.segments);
  for (uint32_t i = 0; i < slab.superblock.segments; ++i) {
    slab.descriptors[i].uuid = slab.superblock.uuid;
    slab.descriptors[i].segment = i;
  }
  // Descriptors of an earlier slab in the same place may not come to life again.
  const Memory zeros = page_memory(kReadBytes);
  if (zeros == nullptr) return Error(Code::kOutOfMemory, "no memory for descriptors");
  for (uint64_t at = kSuperblocks * kPage; at < slab.superblock.data_offset;) {
    const uint64_t bytes = std::min(kReadBytes, slab.superblock.data_offset - at);
    const int error = slab.disk->write_now(at, {zeros.get(), bytes});
    if (error != 0) return Error::system(error, "writing segment descriptors");
    at += bytes;
  }
  return write_superblocks(*slab.disk, slab.superblock);
}

Status read_descriptors(Slab& slab) {
  const Superblock& superblock = slab.superblock;
  const Memory memory = page_memory(kReadBytes);
  if (memory == nullptr) return Error(Code::kOutOfMemory, "no memory for descriptors");
  slab.descriptors.resize(superblock.segments);
  uint32_t damaged = 0;
  for (uint32_t first = 0; first < superblock.segments;) {
    const auto count =
        static_cast<uint32_t>(std::min<uint64_t>(kReadBytes / kPage, superblock.segments - first));
    const int error =
        slab.disk->read_now(superblock.descriptor_offset(first), {memory.get(), count * kPage});
    if (error != 0) return Error::system(error, "reading segment descriptors");
    for (uint32_t i = 0; i < count; ++i) {
      SegmentDescriptor& descriptor = slab.descriptors[first + i];
      const PageState state =
          decode(page_at(memory.get() + i * kPage), superblock, first + i, descriptor);
      if (state == PageState::kNewer) {
        return Error::format(Code::kIncompatible,
                             "%s was used by a newer version of kvtier; nothing was changed",
                             slab.name.c_str());
      }
      if (state == PageState::kValid) continue;
      descriptor = {};
      descriptor.uuid = superblock.uuid;
      descriptor.segment = first + i;
      // What a damaged one was is unknown, so its slots prove nothing to a later tenant.
      descriptor.mixed = state != PageState::kBlank;
      if (state != PageState::kBlank) ++damaged;
    }
    first += count;
  }
  if (damaged > 0) {
    slab.warnings.push_back(slab.name + ": " + std::to_string(damaged) +
                            " segment descriptors were damaged; what was in them is lost");
  }
  return {};
}

}  // namespace

Result<SlabFile> open_slab_file(const SlabFileOptions& options) {
  SlabFile slab;
  slab.path = options.path;
  struct stat status = {};
  if (::stat(options.path.c_str(), &status) != 0) {
    return Error::system(errno, options.path.c_str());
  }
  slab.is_block_device = S_ISBLK(status.st_mode);
  if (!slab.is_block_device && !S_ISDIR(status.st_mode)) {
    return Error::format(Code::kInvalidArgument,
                         "%s is neither a directory nor a block device; a slab is a file that "
                         "kvtierd makes in a directory",
                         options.path.c_str());
  }
  if (!slab.is_block_device) slab.path += "/slab";
  const int flags = O_RDWR | O_CLOEXEC | (slab.is_block_device ? 0 : O_CREAT);
  slab.file = Fd(open_direct(slab.path, flags, slab.warnings));
  if (!slab.file) return Error::system(errno, slab.path.c_str());
  // A description of its own: the one that io_uring holds outlives a killed process by a moment.
  slab.lock = Fd(::open(slab.path.c_str(), O_RDWR | O_CLOEXEC));
  if (!slab.lock) return Error::system(errno, slab.path.c_str());
  Status locked = lock_file(slab.lock.get(), slab.path);
  if (!locked.ok()) return locked.error();
  if (slab.is_block_device) {
    Result<uint64_t> bytes = device_bytes(slab.file.get());
    if (!bytes.ok()) return bytes.error();
    if (*bytes < options.capacity_bytes) {
      return Error::format(Code::kInvalidArgument,
                           "%s holds %llu bytes, nvme.capacity asks for %llu: lower it",
                           slab.path.c_str(), shown(*bytes), shown(options.capacity_bytes));
    }
    return slab;
  }
  if (::fstat(slab.file.get(), &status) != 0) return Error::system(errno, slab.path.c_str());
  const auto bytes = static_cast<uint64_t>(status.st_size);
  const bool is_new = bytes == 0;
  if (bytes < options.capacity_bytes) {
    if (!is_new) {
      slab.warnings.push_back(slab.path + " was " + std::to_string(bytes) +
                              " bytes long; what was cut off is lost and reads as misses");
    }
    Status allocated = allocate(slab.file.get(), slab.path, options.capacity_bytes);
    if (!allocated.ok()) {
      // As it was: a file of ours without a superblock would only be in the way.
      if (is_new) ::unlink(slab.path.c_str());
      if (!is_new && ::ftruncate(slab.file.get(), static_cast<off_t>(bytes)) != 0)
        return Error::system(errno, slab.path.c_str());
      return allocated.error();
    }
  }
  return slab;
}

Result<Slab> open_slab(std::unique_ptr<Disk> disk, const SlabOptions& options) {
  Slab slab;
  slab.name = options.name;
  slab.disk = std::move(disk);
  const uint64_t capacity = options.capacity_bytes == 0
                                ? slab.disk->size_bytes()
                                : std::min(options.capacity_bytes, slab.disk->size_bytes());
  const uint64_t head_bytes = std::min(16 * kPage, slab.disk->size_bytes() / kPage * kPage);
  const Memory head = page_memory(16 * kPage);
  if (head == nullptr) return Error(Code::kOutOfMemory, "no memory for a superblock");
  const int error = slab.disk->read_now(0, {head.get(), head_bytes});
  if (error != 0) return Error::system(error, (options.name + ": reading the superblock").c_str());

  Superblocks found;
  size_t best = SIZE_MAX;
  for (size_t i = 0; i < kSuperblocks; ++i) {
    found.states[i] = decode(page_at(head.get() + i * kPage), found.copies[i]);
    if (found.states[i] == PageState::kNewer) {
      return Error::format(
          Code::kIncompatible,
          "%s was made by a newer version of kvtier; nothing was changed. Use that "
          "version, or another path",
          options.name.c_str());
    }
    if (found.states[i] != PageState::kValid) continue;
    if (best == SIZE_MAX || found.copies[i].sequence > found.copies[best].sequence) best = i;
  }
  if (best == SIZE_MAX) {
    if (is_blank(head.get(), head_bytes)) {
      const Status formatted = format(slab, options, capacity);
      if (!formatted.ok()) return formatted.error();
      return slab;
    }
    for (const PageState state : found.states) {
      if (state != PageState::kDamaged) continue;
      return Error::format(Code::kCorrupt,
                           "both superblocks of %s are damaged; nothing was changed. See kvtier "
                           "verify --repair, or move it away to begin anew",
                           options.name.c_str());
    }
    return Error::format(Code::kInvalidArgument,
                         "%s holds something that is not a slab of kvtier; nothing was changed. "
                         "Give another path, or empty it",
                         options.name.c_str());
  }
  slab.superblock = found.copies[best];
  const Superblock& superblock = slab.superblock;
  if (superblock.capacity_bytes > slab.disk->size_bytes()) {
    return Error::format(Code::kInvalidArgument,
                         "%s was made for %llu bytes and holds only %llu; nothing was changed",
                         options.name.c_str(), shown(superblock.capacity_bytes),
                         shown(slab.disk->size_bytes()));
  }
  if (options.capacity_bytes != 0 && superblock.capacity_bytes > options.capacity_bytes) {
    return Error::format(Code::kInvalidArgument,
                         "%s was made with %llu bytes, nvme.capacity is %llu: set that, or remove "
                         "the slab to make a smaller one",
                         options.name.c_str(), shown(superblock.capacity_bytes),
                         shown(options.capacity_bytes));
  }
  if (superblock.capacity_bytes + superblock.segment_bytes < capacity) {
    slab.warnings.push_back(options.name + " was made with " +
                            std::to_string(superblock.capacity_bytes) +
                            " bytes and stays so; remove it to make a larger one");
  }
  const Status read = read_descriptors(slab);
  if (!read.ok()) return read.error();
  for (size_t i = 0; i < kSuperblocks; ++i) {
    if (found.states[i] == PageState::kValid && found.copies[i] == superblock) continue;
    slab.warnings.push_back(options.name + ": a superblock was damaged and is written again");
    Page page;
    encode(superblock, page);
    const Status written = write_page(*slab.disk, i * kPage, page);
    if (!written.ok()) return written.error();
  }
  return slab;
}

}  // namespace kvtier::daemon::nvme
