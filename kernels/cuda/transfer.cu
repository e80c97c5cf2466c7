// Copies of fragments by each way, and the measurement that chooses.
#include "kernels/cuda/transfer.hpp"

#include <cuda_runtime.h>

#include <algorithm>
#include <vector>

#include "kernels/cuda/block_programs.hpp"

namespace kvtier::kernels::cuda {
namespace {

// A fragment is shared by the threads of a block; blocks take fragments in turn.
__global__ void __launch_bounds__(kThreads) copy_list(const DeviceCopy* copies, uint32_t count) {
  for (uint32_t i = blockIdx.x; i < count; i += gridDim.x) {
    const DeviceCopy one = copies[i];
    const auto* source = reinterpret_cast<const uint4*>(one.source);
    auto* target = reinterpret_cast<uint4*>(one.target);
    for (uint64_t k = threadIdx.x; k < one.bytes / 16; k += kThreads) target[k] = source[k];
  }
}

bool plain(std::span<const DeviceCopy> copies, Stream stream) {
  for (const DeviceCopy& one : copies) {
    if (cudaMemcpyAsync(one.target, one.source, one.bytes, cudaMemcpyDefault, stream) !=
        cudaSuccess) {
      return false;
    }
  }
  return true;
}

bool batch(std::span<const DeviceCopy> copies, Stream stream) {
#if CUDART_VERSION >= 13000
  // The legacy default stream has no batches.
  if (stream == nullptr || copies.empty()) return plain(copies, stream);
  static thread_local std::vector<void*> targets;
  static thread_local std::vector<const void*> sources;
  static thread_local std::vector<size_t> sizes;
  targets.clear();
  sources.clear();
  sizes.clear();
  for (const DeviceCopy& one : copies) {
    targets.push_back(one.target);
    sources.push_back(one.source);
    sizes.push_back(one.bytes);
  }
  cudaMemcpyAttributes attributes = {};
  attributes.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
  attributes.flags = cudaMemcpyFlagPreferOverlapWithCompute;
  size_t first = 0;
  const cudaError_t error = cudaMemcpyBatchAsync(targets.data(), sources.data(), sizes.data(),
                                                 copies.size(), &attributes, &first, 1, stream);
  if (error == cudaSuccess) return true;
  (void)cudaGetLastError();  // a driver before 12.8: the same by hand
#endif
  return plain(copies, stream);
}

bool two_d(std::span<const DeviceCopy> copies, Stream stream) {
  if (copies.size() < 2) return plain(copies, stream);
  const auto distance = [&](size_t i, auto member) {
    return copies[i].*member - copies[i - 1].*member;
  };
  const auto target_step = distance(1, &DeviceCopy::target);
  const auto source_step = distance(1, &DeviceCopy::source);
  const auto bytes = static_cast<ptrdiff_t>(copies[0].bytes);
  bool even = target_step >= bytes && source_step >= bytes;
  for (size_t i = 1; i < copies.size() && even; ++i) {
    even = copies[i].bytes == copies[0].bytes && distance(i, &DeviceCopy::target) == target_step &&
           distance(i, &DeviceCopy::source) == source_step;
  }
  if (!even) return plain(copies, stream);
  const cudaError_t error = cudaMemcpy2DAsync(
      copies[0].target, static_cast<size_t>(target_step), copies[0].source,
      static_cast<size_t>(source_step), copies[0].bytes, copies.size(), cudaMemcpyDefault, stream);
  if (error == cudaSuccess) return true;
  (void)cudaGetLastError();  // a pitch beyond the device's
  return plain(copies, stream);
}

bool kernel(std::span<const DeviceCopy> copies, Stream stream) {
  for (const DeviceCopy& one : copies) {
    const uint64_t all = reinterpret_cast<uintptr_t>(one.target) |
                         reinterpret_cast<uintptr_t>(one.source) | one.bytes;
    if (all % 16 != 0) return plain(copies, stream);
  }
  const auto blocks = std::min<size_t>(kKernelBlocks, copies.size());
  copy_list<<<static_cast<uint32_t>(blocks), kThreads, 0, stream>>>(
      copies.data(), static_cast<uint32_t>(copies.size()));
  return cudaGetLastError() == cudaSuccess;
}

bool queue(Way way, std::span<const DeviceCopy> copies, Stream stream) {
  switch (way) {
    case Way::kBatch:
      return batch(copies, stream);
    case Way::kTwoD:
      return two_d(copies, stream);
    case Way::kKernel:
      return kernel(copies, stream);
    case Way::kPlain:
      break;
  }
  return plain(copies, stream);
}

// Milliseconds of all copies, at best of a few; negative: refused.
float time_way(Way way, Direction direction, std::span<const DeviceCopy> copies, Stream stream,
               cudaEvent_t start, cudaEvent_t end) {
  float best = -1;
  for (int round = 0; round < 4; ++round) {  // the first warms up
    float took = 0;
    if (cudaEventRecord(start, stream) != cudaSuccess || !copy(way, direction, copies, stream) ||
        cudaEventRecord(end, stream) != cudaSuccess || cudaEventSynchronize(end) != cudaSuccess ||
        cudaEventElapsedTime(&took, start, end) != cudaSuccess) {
      return -1;
    }
    if (round > 0 && (best < 0 || took < best)) best = took;
  }
  return best;
}

}  // namespace

const char* way_name(Way way) {
  constexpr const char* kNames[kWays] = {"plain", "batch", "2d", "kernel"};
  return kNames[static_cast<size_t>(way) % kWays];
}

bool copy(Way way, Direction, std::span<const DeviceCopy> copies, Stream stream) {
  while (!copies.empty()) {
    size_t count = 0;
    uint64_t bytes = 0;
    while (count < copies.size() &&
           (count == 0 || bytes + copies[count].bytes <= kLaunchBytesMax)) {
      bytes += copies[count++].bytes;
    }
    if (!queue(way, copies.first(count), stream)) return false;
    copies = copies.subspan(count);
  }
  return true;
}

bool measure(Direction direction, uint64_t fragment_bytes, const MeasureMemory& memory,
             Stream stream, Measured* out) {
  const uint64_t count = fragment_bytes == 0 ? 0 : memory.bytes / fragment_bytes;
  if (count == 0) return false;
  // Every other place on the device, as an engine's blocks lie; one after another on the host.
  for (uint64_t i = 0; i < count; ++i) {
    std::byte* device = memory.device + (i * 2 % count + i * 2 / count) % count * fragment_bytes;
    std::byte* host = memory.host + i * fragment_bytes;
    memory.list[i] = direction == Direction::kToHost ? DeviceCopy{host, device, fragment_bytes}
                                                     : DeviceCopy{device, host, fragment_bytes};
  }
  cudaEvent_t start, end;
  if (cudaEventCreate(&start) != cudaSuccess) return false;
  if (cudaEventCreate(&end) != cudaSuccess) {
    cudaEventDestroy(start);
    return false;
  }
  *out = {};
  for (int i = 0; i < kWays; ++i) {
    const float took =
        time_way(static_cast<Way>(i), direction, {memory.list, count}, stream, start, end);
    if (took <= 0) continue;
    out->gigabytes_per_second[i] = static_cast<double>(count * fragment_bytes) / took / 1e6;
    if (out->gigabytes_per_second[i] > out->gigabytes_per_second[static_cast<size_t>(out->best)]) {
      out->best = static_cast<Way>(i);
    }
  }
  cudaEventDestroy(start);
  cudaEventDestroy(end);
  return out->gigabytes_per_second[0] > 0;
}

bool TransferChoice::measure_all(const MeasureMemory& memory, Stream stream) {
  for (int direction = 0; direction < 2; ++direction) {
    for (int i = 0; i < kSizes; ++i) {
      Measured measured;
      if (!measure(static_cast<Direction>(direction), kFragmentBytes[i], memory, stream,
                   &measured)) {
        return false;
      }
      ways_[direction][i] = measured.best;
    }
  }
  return true;
}

Way TransferChoice::way(Direction direction, uint64_t fragment_bytes) const {
  int i = 0;
  while (i + 1 < kSizes && kFragmentBytes[i] < fragment_bytes) ++i;
  return ways_[static_cast<size_t>(direction)][i];
}

}  // namespace kvtier::kernels::cuda
