// Launches the block programs (kernels/cuda/block_programs.hpp) on a device.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>

#include "kernels/cuda/block_programs.hpp"
#include "kernels/cuda/device.hpp"
#include "kernels/cuda/hash_program.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace kvtier::kernels::cuda {
namespace {

template <typename Program>
__global__ void __launch_bounds__(kThreads) run_program(Program program) {
  extern __shared__ Sixteen shared_units[];
  auto* shared = reinterpret_cast<std::byte*>(shared_units);
  const Who who = {blockIdx.x, threadIdx.x};
#pragma unroll
  for (int phase = 0; phase < Program::kPhases; ++phase) {
    if (phase > 0) __syncthreads();
    program.phase(phase, who, shared);
  }
}

// More than 48 KiB of shared memory has to be asked for; every device from sm_80 on has 99.
constexpr uint32_t kSharedBytesFree = 48 * 1024;

template <typename Program>
bool launch(const Program& program, uint32_t blocks, uint32_t shared_bytes, Stream stream) {
  if (shared_bytes > kSharedBytesFree &&
      cudaFuncSetAttribute(run_program<Program>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(shared_bytes)) != cudaSuccess) {
    return false;
  }
  run_program<Program><<<blocks, kThreads, shared_bytes, stream>>>(program);
  return cudaGetLastError() == cudaSuccess;
}

// Every row at a multiple of `unit` bytes.
bool rows_at(const ChunkShape& shape, const PagedLayout& layout, uint64_t unit) {
  uint64_t all = layout.block_stride | layout.token_stride | layout.head_stride;
  for (uint32_t i = 0; i < shape.layers * shape.planes; ++i) {
    all |= reinterpret_cast<uintptr_t>(layout.bases[i]);
  }
  return all % unit == 0;
}

DeviceLayout device_layout(const DevicePages& pages) {
  return {pages.bases,
          pages.blocks,
          pages.layout.block_tokens,
          pages.layout.block_stride,
          pages.layout.token_stride,
          pages.layout.head_stride};
}

Status check(Codec codec, const ChunkShape& shape, const DevicePages& pages,
             const std::byte* payload, uint64_t bytes, const Launch& launch) {
  if (const Status status = check_layout(shape, pages.layout); status != Status::kOk) return status;
  if (codec > Codec::kInt4) return Status::kShape;
  if (pages.bases == nullptr || pages.blocks == nullptr || !rows_at(shape, pages.layout, 2)) {
    return Status::kLayout;
  }
  if (bytes != encoded_bytes(codec, shape) || reinterpret_cast<uintptr_t>(payload) % 16 != 0) {
    return Status::kSize;
  }
  return codec != Codec::kNone && launch.status_word == nullptr ? Status::kShape : Status::kOk;
}

template <typename Unit, bool kGather>
bool launch_raw(const ChunkShape& shape, const DeviceLayout& layout, std::byte* raw,
                const Launch& how) {
  const uint64_t units = shape.raw_bytes() / sizeof(Unit);
  const uint64_t enough = (units + kThreads - 1) / kThreads;
  const uint64_t bound = how.blocks_max == 0 ? uint64_t{1} << 20 : how.blocks_max;
  const auto blocks = static_cast<uint32_t>(std::min(enough, bound));
  return launch(RawProgram<Unit, kGather>{shape, layout, raw, blocks}, blocks, 0, how.stream);
}

template <bool kGather>
bool launch_raw(const ChunkShape& shape, const DevicePages& pages, std::byte* raw,
                const Launch& how) {
  const DeviceLayout layout = device_layout(pages);
  return rows_at(shape, pages.layout, 16) && shape.row_bytes() % 16 == 0
             ? launch_raw<Sixteen, kGather>(shape, layout, raw, how)
             : launch_raw<uint16_t, kGather>(shape, layout, raw, how);
}

}  // namespace

Status encode(Codec codec, const ChunkShape& shape, const DevicePages& source,
              PayloadTarget payload, const Launch& how) {
  const Status status = check(codec, shape, source, payload.data, payload.bytes, how);
  if (status != Status::kOk) return status;
  if (codec == Codec::kNone) {
    return launch_raw<true>(shape, source, payload.data, how) ? Status::kOk : Status::kShape;
  }
  const DeviceLayout layout = device_layout(source);
  bool good = true;
  if (codec == Codec::kInt8 && shape.planes == 2) {
    good =
        launch(ChannelProgram{shape, layout, payload.data, how.status_word},
               ChannelProgram::blocks(shape), ChannelProgram::shared_bytes(shape.dim), how.stream);
  }
  if (codec == Codec::kFp8Tensor) {
    good = launch(TensorProgram{shape, layout, payload.data, how.status_word},
                  shape.layers * shape.planes, kThreads * 2, how.stream);
  }
  const bool aligned = rows_at(shape, source.layout, 16) && shape.dim % 8 == 0;
  good = good && launch(EncodeProgram{codec, shape, layout, payload.data, how.status_word, aligned},
                        head_blocks(shape), HeadMemory::bytes(shape.dim), how.stream);
  return good ? Status::kOk : Status::kShape;
}

Status decode(Codec codec, const ChunkShape& shape, PayloadSource payload,
              const DevicePages& target, const Launch& how) {
  const Status status = check(codec, shape, target, payload.data, payload.bytes, how);
  if (status != Status::kOk) return status;
  if (codec == Codec::kNone) {  // only read
    return launch_raw<false>(shape, target, const_cast<std::byte*>(payload.data), how)
               ? Status::kOk
               : Status::kShape;
  }
  const bool paired = rows_at(shape, target.layout, 4) && shape.dim % 2 == 0;
  return launch(DecodeProgram{codec, shape, device_layout(target), payload.data, how.status_word,
                              paired},
                head_blocks(shape), HeadMemory::bytes(0), how.stream)
             ? Status::kOk
             : Status::kShape;
}

Status hash_pieces(PayloadSource payload, uint64_t* piece_hashes, Stream stream) {
  if (payload.bytes == 0) return Status::kOk;
  if (payload.data == nullptr || reinterpret_cast<uintptr_t>(payload.data) % 8 != 0) {
    return Status::kSize;
  }
  HashProgram program = {payload.data, payload.bytes, piece_hashes, {}};
  std::memcpy(program.secret.bytes, XXH3_kSecret, sizeof program.secret.bytes);
  return launch(program, static_cast<uint32_t>(piece_count(payload.bytes)),
                HashProgram::shared_bytes(), stream)
             ? Status::kOk
             : Status::kShape;
}

}  // namespace kvtier::kernels::cuda
