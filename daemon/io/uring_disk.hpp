// A Disk over io_uring: one ring a disk, the file registered, submissions batched, completions
// taken in the issuing thread only when it asks (SINGLE_ISSUER and DEFER_TASKRUN where the kernel
// has them). The ring belongs to the thread that first submits; opening it elsewhere is fine.
#pragma once

#include <memory>

#include "daemon/io/disk.hpp"
#include "daemon/memory/clock.hpp"
#include "daemon/memory/fd.hpp"

namespace kvtier::daemon {

struct UringDiskOptions {
  size_t in_flight_max = 64;
  int wake_fd = -1;  // an eventfd written at completions; -1: one of its own
  // Completions by polling the device (nvme.iopoll), submission by a kernel thread (nvme.sqpoll),
  // registered buffers (nvme.registered_buffers). An error names the option that was refused.
  bool iopoll = false;
  bool sqpoll = false;
  bool registered_buffers = false;
  unsigned buffers_max = 1u << 14;  // registered pieces; the kernel takes no more
};

// `file` is open for reading and writing, with O_DIRECT where the file system has it (IOPOLL needs
// it). Takes the file. Errors: unsupported (an option, or io_uring itself, is refused), system.
Result<std::unique_ptr<Disk>> make_uring_disk(Fd file, const UringDiskOptions& options,
                                              const Clock& clock);

}  // namespace kvtier::daemon
