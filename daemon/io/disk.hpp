// One file or block device, read and written asynchronously in aligned ranges. Two bodies:
// UringDisk and, for tests, SimulatedDisk. A disk moves bytes and reports; it never checks, retries
// an error, or decides what is healthy.
//
// One thread at a time, the core's. begin(), submit() and poll() never wait for the device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kvtier/result.hpp"

namespace kvtier::daemon {

// Offsets, lengths and memory addresses of every transfer are multiples of this.
inline constexpr uint64_t kDiskUnitBytes = 4096;

enum class DiskOperation : uint8_t { kRead, kWrite };

// `data` is written by a read and read by a write until its completion.
struct DiskRequest {
  uint64_t ticket = 0;  // the caller's, comes back with the completion
  DiskOperation operation = DiskOperation::kRead;
  bool durable = false;  // a write that has reached the medium when it completes
  uint64_t offset = 0;
  std::byte* data = nullptr;
  uint32_t bytes = 0;
};

struct DiskCompletion {
  uint64_t ticket = 0;
  int error = 0;       // errno, 0 when all bytes were moved
  uint32_t bytes = 0;  // moved; less than asked only together with an error
  uint64_t begun_ns = 0;
  uint64_t ended_ns = 0;
};

class Disk {
 public:
  virtual ~Disk() = default;

  virtual uint64_t size_bytes() const = 0;
  virtual size_t in_flight() const = 0;
  virtual size_t in_flight_max() const = 0;

  // Takes the request; submit() hands all that were taken to the device at once. Errors:
  // unavailable (in_flight_max reached), invalid_argument (not aligned, or past the end).
  virtual Status begin(const DiskRequest& request) = 0;
  virtual void submit() = 0;
  // Finished requests, in any order, at most out.size(); how many.
  virtual size_t poll(std::span<DiskCompletion> out) = 0;
  // Readable when poll() may have something; -1: poll once in a while.
  virtual int completion_fd() const = 0;

  // Waits for the device: only while starting and in tools. 0, or an errno.
  virtual int read_now(uint64_t offset, std::span<std::byte> target) = 0;
  virtual int write_now(uint64_t offset, std::span<const std::byte> data) = 0;

  // Requests whose data lies in this memory may go a shorter way (registered buffers). Errors:
  // unsupported, system; the memory can be used all the same.
  virtual Status register_memory(std::span<std::byte> memory) = 0;
  virtual void unregister_memory(std::span<std::byte> memory) = 0;
};

}  // namespace kvtier::daemon
