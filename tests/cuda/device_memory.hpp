// Device and pinned host memory, streams and events for the GPU tests; a failure ends the program
// with what CUDA says.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "kernels/cuda/device.hpp"

namespace kvtier::kernels::cuda::testing {

inline void must(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "gpu_test: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

// Bytes of either kind, freed with the object. Device memory reads and writes through
// upload/download.
class Memory {
 public:
  enum Kind { kDevice, kPinned };
  Memory(Kind kind, uint64_t bytes) : kind_(kind), bytes_(bytes) {
    void* data = nullptr;
    must(kind == kDevice ? cudaMalloc(&data, bytes)
                         : cudaHostAlloc(&data, bytes, cudaHostAllocMapped),
         "allocation");
    data_ = static_cast<std::byte*>(data);
  }
  ~Memory() { (void)(kind_ == kDevice ? cudaFree(data_) : cudaFreeHost(data_)); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  void upload(const void* from, uint64_t bytes) const {
    must(cudaMemcpy(data_, from, bytes, cudaMemcpyDefault), "upload");
  }
  void download(void* to, uint64_t bytes) const {
    must(cudaMemcpy(to, data_, bytes, cudaMemcpyDefault), "download");
  }

 private:
  Kind kind_;
  uint64_t bytes_;
  std::byte* data_ = nullptr;
};

struct OwnStream {
  cudaStream_t stream = nullptr;
  OwnStream() { must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream"); }
  ~OwnStream() { (void)cudaStreamDestroy(stream); }
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  void wait() const { must(cudaStreamSynchronize(stream), "stream"); }
};

}  // namespace kvtier::kernels::cuda::testing
