// The table of the operations that have one form per instruction set. Internal to kernels/.
// Fixed at the first call of any kernel; force_isa() replaces the pointer as a whole.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/checksum.hpp"
#include "kernels/cpu.hpp"
#include "kernels/hash.hpp"

namespace kvtier::kernels::detail {

// How far ahead of the loads a source is prefetched. Measured: docs/kernels.md, "Tuning".
inline constexpr size_t kPrefetchBytes = 3072;

struct Operations {
  Isa isa;
  // memcpy with non-temporal stores for whole lines; no fence. `next` is where the caller goes on
  // reading (prefetched, never read; may be null).
  void (*copy_stream)(std::byte* target, const std::byte* source, size_t bytes,
                      const std::byte* next);
  // The next `bytes` of the message; the caller has checked that they are not too many.
  void (*absorb)(Xxh3State& state, const std::byte* data, size_t bytes, const std::byte* next);
  // The same, and the bytes are stored from the register or buffer they were hashed from.
  void (*absorb_store)(Xxh3State& state, std::byte* target, const std::byte* source, size_t bytes,
                       const std::byte* next);
  void (*absorb_stream)(Xxh3State& state, std::byte* target, const std::byte* source, size_t bytes,
                        const std::byte* next);
  Hash128 (*hash128)(const void* data, size_t bytes, const void* secret, size_t secret_bytes);
  void (*hash128_batch)(const HashBatch& batch, const void* secret, size_t secret_bytes,
                        Hash128* out);
};

extern const Operations kOperationsBaseline;
extern const Operations kOperationsAvx2;
extern const Operations kOperationsAvx512;
extern const Operations kOperationsAvx512Bf16;  // the same operations

// The operations of isa_active().
const Operations& operations();

}  // namespace kvtier::kernels::detail
