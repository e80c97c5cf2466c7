// Fragments between a GPU and pinned host memory, by the way that was fastest when measured:
// batched DMA, one 2-D copy where fragments lie at even distances, plain asynchronous copies, or a
// kernel on a bounded number of multiprocessors that reads and writes mapped host memory.
//
// copy() only queues work on the stream; completion is an event's business. measure() waits, so it
// belongs to attach: a few milliseconds for a fragment size and direction. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/cuda/device.hpp"

namespace kvtier::kernels::cuda {

enum class Direction : uint8_t { kToHost = 0, kToDevice = 1 };
enum class Way : uint8_t {
  kPlain = 0,   // a cudaMemcpyAsync each
  kBatch = 1,   // cudaMemcpyBatchAsync; kPlain where driver or toolkit have none
  kTwoD = 2,    // one cudaMemcpy2DAsync; only fragments of one size at one distance on either side
  kKernel = 3,  // one launch of kKernelBlocks thread blocks
};
inline constexpr int kWays = 4;
const char* way_name(Way way);  // "plain", "batch", "2d", "kernel"

struct DeviceCopy {
  std::byte* target;
  const std::byte* source;
  uint64_t bytes;
};

// So much is queued at a time at most: a decode step that comes meanwhile waits for no more.
inline constexpr uint64_t kLaunchBytesMax = uint64_t{8} << 20;
inline constexpr uint32_t kKernelBlocks = 8;

// Queues all copies. For kKernel `copies` must be readable by the device too (mapped pinned
// memory), and addresses and sizes multiples of 16; where a way does not fit, kPlain is used.
// False: CUDA refused; what was queued before may still happen.
[[nodiscard]] bool copy(Way way, Direction direction, std::span<const DeviceCopy> copies,
                        Stream stream);

// GB/s of each way for fragments of one size, and the best. The memory is the caller's: device and
// pinned host memory of `bytes` each, and mapped memory for the list.
struct Measured {
  double gigabytes_per_second[kWays];  // 0: not possible
  Way best;
};
struct MeasureMemory {
  std::byte* device;
  std::byte* host;
  DeviceCopy* list;  // mapped pinned memory for bytes / fragment_bytes copies
  uint64_t bytes;
};
[[nodiscard]] bool measure(Direction direction, uint64_t fragment_bytes,
                           const MeasureMemory& memory, Stream stream, Measured* out);

// What measure() found for a space, by fragment size: the smallest measured one that is not below.
class TransferChoice {
 public:
  static constexpr int kSizes = 6;
  static constexpr uint64_t kFragmentBytes[kSizes] = {4096, 16384, 32768, 65536, 262144, 2097152};
  // All sizes and both directions; about 30 ms for 16 MiB.
  [[nodiscard]] bool measure_all(const MeasureMemory& memory, Stream stream);
  Way way(Direction direction, uint64_t fragment_bytes) const;

 private:
  Way ways_[2][kSizes] = {};
};

}  // namespace kvtier::kernels::cuda
