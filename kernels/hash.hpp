// XXH3-128 with a secret: the hash that keys are made of (what goes into a key is not decided
// here). Any thread; never allocates, locks or throws.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvtier::kernels {

struct Hash128 {
  uint64_t low;
  uint64_t high;
  friend bool operator==(const Hash128&, const Hash128&) = default;
};

// XXH3's own bounds: shorter secrets are not defined; longer ones may be used in full. 192 bytes
// (its default size) is the fastest for inputs of 1 KiB and more.
inline constexpr size_t kSecretBytesMin = 136;
inline constexpr size_t kSecretBytes = 192;

// XXH3_128bits_withSecret. `bytes` may be 0. A secret shorter than kSecretBytesMin ends the process
// (a programming error).
Hash128 hash128_with_secret(const void* data, size_t bytes, const void* secret,
                            size_t secret_bytes);

// Inputs of one size at one distance: input i is the `bytes_each` bytes at base + i * stride_bytes.
// The stride may be smaller than the inputs: they may overlap.
struct HashBatch {
  const void* base;
  size_t stride_bytes;
  size_t bytes_each;
  size_t count;
};

// out[i] = hash128_with_secret of input i, for i < batch.count.
void hash128_batch(const HashBatch& batch, const void* secret, size_t secret_bytes, Hash128* out);

}  // namespace kvtier::kernels
