// The ring, the table of requests in flight, and what is done about short transfers: continued
// where the device moved whole units, reported otherwise.
#include "daemon/io/uring_disk.hpp"

#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <vector>

namespace kvtier::daemon {
namespace {

constexpr uint64_t kBufferBytesMax = 1ull << 30;  // the kernel's limit of one
constexpr unsigned kSqpollIdleMs = 50;
constexpr uint32_t kRetriesMax = 16;  // of EAGAIN and EINTR, which say nothing about the device

struct Slot {
  DiskRequest request;
  uint64_t begun_ns = 0;
  uint32_t done_bytes = 0;
  uint32_t retries = 0;
};

struct Buffer {
  std::byte* begin = nullptr;
  uint64_t bytes = 0;
  unsigned number = 0;  // in the ring's table
};

Result<uint64_t> size_of(int file) {
  struct stat status = {};
  if (::fstat(file, &status) != 0) return Error::system(errno, "fstat of a slab");
  if (S_ISREG(status.st_mode)) return static_cast<uint64_t>(status.st_size);
  uint64_t bytes = 0;
  if (!S_ISBLK(status.st_mode)) {
    return Error(Code::kInvalidArgument, "a slab is a file or a block device");
  }
  if (::ioctl(file, BLKGETSIZE64, &bytes) != 0) return Error::system(errno, "BLKGETSIZE64");
  return bytes;
}

class UringDisk final : public Disk {
 public:
  UringDisk(Fd file, uint64_t size, const UringDiskOptions& options, const Clock& clock)
      : file_(std::move(file)), size_(size), options_(options), clock_(clock) {
    slots_.resize(options.in_flight_max);
    for (size_t i = slots_.size(); i > 0; --i) free_.push_back(static_cast<uint32_t>(i - 1));
  }

  ~UringDisk() override {
    if (!ring_open_) return;
    // Whoever owns the memory may free it as soon as this returns, so nothing may be under way.
    // A device that never answers would hold us for good: then the memory stays pinned by the
    // kernel, which the ring's end cancels or waits for on its own.
    if (in_flight() > 0 && enabled_) drain();
    io_uring_queue_exit(&ring_);
  }

  Status open();

  uint64_t size_bytes() const override { return size_; }
  size_t in_flight() const override { return slots_.size() - free_.size(); }
  size_t in_flight_max() const override { return slots_.size(); }
  int completion_fd() const override { return wake_fd_; }

  Status begin(const DiskRequest& request) override {
    const bool aligned =
        (request.offset | request.bytes | reinterpret_cast<uintptr_t>(request.data)) %
            kDiskUnitBytes ==
        0;
    if (!aligned || request.bytes == 0) {
      return Error(Code::kInvalidArgument, "a transfer is not in whole pages");
    }
    if (request.offset > size_ || size_ - request.offset < request.bytes) {
      return Error(Code::kInvalidArgument, "a transfer goes past the end of the slab");
    }
    if (free_.empty()) return Error(Code::kUnavailable, "the disk's queue is full");
    const uint32_t number = free_.back();
    free_.pop_back();
    slots_[number] = {request, clock_.now_ns(), 0, 0};
    prepare(number);
    return {};
  }

  void submit() override {
    if (unsubmitted_ == 0) return;
    enable();
    const int submitted = io_uring_submit(&ring_);
    // An error (EAGAIN, EBUSY, EINTR) leaves the entries in the ring for the next call.
    if (submitted > 0) unsubmitted_ -= std::min(unsubmitted_, static_cast<size_t>(submitted));
  }

  size_t poll(std::span<DiskCompletion> out) override {
    size_t count = 0;
    if (in_flight() == 0 || !enabled_) return 0;
    submit();
    const uint64_t now = clock_.now_ns();
    std::array<io_uring_cqe*, 64> entries;
    while (count < out.size()) {
      const auto wanted = static_cast<unsigned>(std::min(entries.size(), out.size() - count));
      if (options_.iopoll) io_uring_get_events(&ring_);
      const unsigned found = io_uring_peek_batch_cqe(&ring_, entries.data(), wanted);
      for (unsigned i = 0; i < found; ++i) {
        if (finish(*entries[i], now, out[count])) ++count;
      }
      io_uring_cq_advance(&ring_, found);
      if (found < wanted) break;
    }
    submit();  // what is continued
    if (options_.iopoll && in_flight() > 0) wake();
    return count;
  }

  int read_now(uint64_t offset, std::span<std::byte> target) override {
    size_t done = 0;
    while (done < target.size()) {
      const ssize_t got = ::pread(file_.get(), target.data() + done, target.size() - done,
                                  static_cast<off_t>(offset + done));
      if (got == 0) return EIO;
      if (got < 0 && errno != EINTR) return errno;
      if (got > 0) done += static_cast<size_t>(got);
    }
    return 0;
  }

  int write_now(uint64_t offset, std::span<const std::byte> data) override {
    size_t done = 0;
    while (done < data.size()) {
      const ssize_t put = ::pwrite(file_.get(), data.data() + done, data.size() - done,
                                   static_cast<off_t>(offset + done));
      if (put < 0 && errno != EINTR) return errno;
      if (put > 0) done += static_cast<size_t>(put);
    }
    return ::fdatasync(file_.get()) == 0 ? 0 : errno;
  }

  Status register_memory(std::span<std::byte> memory) override;
  void unregister_memory(std::span<std::byte> memory) override;

 private:
  void enable() {
    if (enabled_) return;
    enabled_ = true;
    // By its number: liburing 2.3 declares io_uring_enable_rings() and does not export it.
    ::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
  }

  void wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_fd_, &one, sizeof one);
  }

  // -1: none holds all of it.
  int buffer_of(const std::byte* data, uint64_t bytes) const {
    const auto after = std::upper_bound(
        buffers_.begin(), buffers_.end(), data,
        [](const std::byte* at, const Buffer& buffer) { return at < buffer.begin; });
    if (after == buffers_.begin()) return -1;
    const Buffer& buffer = *std::prev(after);
    return data + bytes <= buffer.begin + buffer.bytes ? static_cast<int>(buffer.number) : -1;
  }

  // At most in_flight_max entries are ever in the ring, and it was made for that many.
  void prepare(uint32_t number) {
    const Slot& slot = slots_[number];
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    if (entry == nullptr) std::abort();
    std::byte* data = slot.request.data + slot.done_bytes;
    const uint32_t bytes = slot.request.bytes - slot.done_bytes;
    const uint64_t offset = slot.request.offset + slot.done_bytes;
    const int buffer = buffer_of(data, bytes);
    if (slot.request.operation == DiskOperation::kRead) {
      if (buffer >= 0) {
        io_uring_prep_read_fixed(entry, 0, data, bytes, offset, buffer);
      } else {
        io_uring_prep_read(entry, 0, data, bytes, offset);
      }
    } else {
      if (buffer >= 0) {
        io_uring_prep_write_fixed(entry, 0, data, bytes, offset, buffer);
      } else {
        io_uring_prep_write(entry, 0, data, bytes, offset);
      }
      if (slot.request.durable) entry->rw_flags = RWF_DSYNC;
    }
    entry->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(entry, number);
    ++unsubmitted_;
  }

  // False: the transfer goes on.
  bool finish(const io_uring_cqe& entry, uint64_t now, DiskCompletion& out) {
    const auto number = static_cast<uint32_t>(entry.user_data);
    Slot& slot = slots_[number];
    int error = 0;
    if (entry.res < 0) {
      error = -entry.res;
      if ((error == EAGAIN || error == EINTR) && slot.retries++ < kRetriesMax) {
        prepare(number);
        return false;
      }
    } else {
      slot.done_bytes += static_cast<uint32_t>(entry.res);
      if (slot.done_bytes < slot.request.bytes) {
        if (entry.res > 0 && slot.done_bytes % kDiskUnitBytes == 0) {
          prepare(number);
          return false;
        }
        error = slot.request.operation == DiskOperation::kRead ? EIO : ENOSPC;
      }
    }
    out = {slot.request.ticket, error, slot.done_bytes, slot.begun_ns, now};
    free_.push_back(number);
    return true;
  }

  void drain() {
    std::array<DiskCompletion, 64> ignored;
    __kernel_timespec wait = {5, 0};
    while (in_flight() > 0) {
      poll(ignored);
      if (in_flight() == 0) return;
      io_uring_cqe* entry = nullptr;
      if (io_uring_wait_cqe_timeout(&ring_, &entry, &wait) != 0) return;
    }
  }

  Status try_options();

  Fd file_;
  uint64_t size_;
  UringDiskOptions options_;
  const Clock& clock_;
  io_uring ring_ = {};
  bool ring_open_ = false;
  bool enabled_ = false;
  Fd own_wake_;
  int wake_fd_ = -1;
  size_t unsubmitted_ = 0;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
  std::vector<Buffer> buffers_;  // by address
  std::vector<unsigned> free_buffers_;
};

Status refused(const char* option, int error) {
  return Error::format(Code::kUnsupported,
                       "%s = \"on\" is refused by this kernel or device: %s (errno %d); set it to "
                       "\"off\"",
                       option, strerrordesc_np(error), error);
}

Status UringDisk::open() {
  const auto entries = static_cast<unsigned>(std::max<size_t>(options_.in_flight_max, 8));
  // The best the kernel takes: 6.1 has DEFER_TASKRUN, 6.0 SINGLE_ISSUER.
  const unsigned base = options_.iopoll ? IORING_SETUP_IOPOLL : 0;
  std::vector<unsigned> choices;
  if (options_.sqpoll) {
    choices = {base | IORING_SETUP_SQPOLL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_R_DISABLED,
               base | IORING_SETUP_SQPOLL | IORING_SETUP_R_DISABLED};
  } else {
    choices = {
        base | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
            IORING_SETUP_R_DISABLED,
        base | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED,
        base | IORING_SETUP_R_DISABLED};
  }
  int error = 0;
  for (const unsigned flags : choices) {
    io_uring_params parameters = {};
    parameters.flags = flags;
    parameters.sq_thread_idle = kSqpollIdleMs;
    error = -io_uring_queue_init_params(entries, &ring_, &parameters);
    if (error == 0) break;
    if (error != EINVAL) break;
  }
  if (error != 0) {
    if (options_.sqpoll) return refused("nvme.sqpoll", error);
    if (options_.iopoll) return refused("nvme.iopoll", error);
    return Error::format(Code::kUnsupported,
                         "io_uring cannot be used: %s (errno %d); see kernel.io_uring_disabled and "
                         "seccomp filters",
                         strerrordesc_np(error), error);
  }
  ring_open_ = true;
  const int fd = file_.get();
  error = -io_uring_register_files(&ring_, &fd, 1);
  if (error != 0) return Error::system(error, "registering the slab with io_uring");
  wake_fd_ = options_.wake_fd;
  if (wake_fd_ < 0) {
    own_wake_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!own_wake_) return Error::system(errno, "eventfd for a disk");
    wake_fd_ = own_wake_.get();
  }
  // With IOPOLL nothing signals: poll() wakes its own caller while anything is under way.
  if (!options_.iopoll) {
    error = -io_uring_register_eventfd(&ring_, wake_fd_);
    if (error != 0) return Error::system(error, "registering an eventfd with io_uring");
  }
  if (options_.registered_buffers) {
    error = -io_uring_register_buffers_sparse(&ring_, options_.buffers_max);
    if (error != 0) return refused("nvme.registered_buffers", error);
    for (unsigned i = options_.buffers_max; i > 0; --i) free_buffers_.push_back(i - 1);
  }
  return try_options();
}

// IOPOLL is refused only when the first request ends: one is tried on a ring of its own, since this
// ring belongs to the thread that will use it. A page that was never written is read without the
// device, so zeros are written over zeros first.
Status UringDisk::try_options() {
  if (!options_.iopoll || size_ < kDiskUnitBytes) return {};
  std::unique_ptr<std::byte, void (*)(void*)> first(
      static_cast<std::byte*>(std::aligned_alloc(kDiskUnitBytes, kDiskUnitBytes)), &std::free);
  if (first == nullptr) return Error(Code::kOutOfMemory, "no memory for a page");
  const std::span<std::byte> content(first.get(), kDiskUnitBytes);
  if (const int failed = read_now(0, content); failed != 0) return refused("nvme.iopoll", failed);
  if (std::all_of(content.begin(), content.end(), [](std::byte b) { return b == std::byte{0}; })) {
    if (const int failed = write_now(0, content); failed != 0) {
      return refused("nvme.iopoll", failed);
    }
  }
  io_uring trial = {};
  int error = -io_uring_queue_init(2, &trial, IORING_SETUP_IOPOLL);
  if (error != 0) return refused("nvme.iopoll", error);
  void* page = std::aligned_alloc(kDiskUnitBytes, kDiskUnitBytes);
  io_uring_sqe* entry = io_uring_get_sqe(&trial);
  io_uring_prep_read(entry, file_.get(), page, kDiskUnitBytes, 0);
  io_uring_cqe* done = nullptr;
  const int submitted = io_uring_submit_and_wait(&trial, 1);
  error = submitted < 0 ? -submitted : -io_uring_peek_cqe(&trial, &done);
  if (error == 0 && done->res < 0) error = -done->res;
  io_uring_queue_exit(&trial);
  std::free(page);
  if (error != 0) return refused("nvme.iopoll", error);
  return {};
}

Status UringDisk::register_memory(std::span<std::byte> memory) {
  if (!options_.registered_buffers) {
    return Error(Code::kUnsupported, "nvme.registered_buffers is off");
  }
  enable();
  for (uint64_t done = 0; done < memory.size();) {
    const uint64_t bytes = std::min(kBufferBytesMax, memory.size() - done);
    if (free_buffers_.empty()) {
      return Error::format(Code::kFull, "%u buffers are registered already", options_.buffers_max);
    }
    const iovec vector = {memory.data() + done, bytes};
    const unsigned number = free_buffers_.back();
    const __u64 tag = 0;
    const int error = -io_uring_register_buffers_update_tag(&ring_, number, &vector, &tag, 1);
    if (error > 0) return Error::system(error, "registering memory with io_uring");
    free_buffers_.pop_back();
    const Buffer made = {memory.data() + done, bytes, number};
    buffers_.insert(std::upper_bound(buffers_.begin(), buffers_.end(), made,
                                     [](const Buffer& one, const Buffer& other) {
                                       return one.begin < other.begin;
                                     }),
                    made);
    done += bytes;
  }
  return {};
}

void UringDisk::unregister_memory(std::span<std::byte> memory) {
  std::erase_if(buffers_, [&](const Buffer& buffer) {
    if (buffer.begin < memory.data() || buffer.begin >= memory.data() + memory.size()) return false;
    const iovec none = {nullptr, 0};
    const __u64 tag = 0;
    io_uring_register_buffers_update_tag(&ring_, buffer.number, &none, &tag, 1);
    free_buffers_.push_back(buffer.number);
    return true;
  });
}

}  // namespace

Result<std::unique_ptr<Disk>> make_uring_disk(Fd file, const UringDiskOptions& options,
                                              const Clock& clock) {
  Result<uint64_t> size = size_of(file.get());
  if (!size.ok()) return size.error();
  auto disk = std::make_unique<UringDisk>(std::move(file), *size / kDiskUnitBytes * kDiskUnitBytes,
                                          options, clock);
  const Status opened = disk->open();
  if (!opened.ok()) return opened.error();
  return std::unique_ptr<Disk>(std::move(disk));
}

}  // namespace kvtier::daemon
