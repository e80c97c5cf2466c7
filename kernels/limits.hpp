// What this machine can do at best, measured by benchmarks beside the thing they judge: the
// denominators of `kvtier bench`. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvtier::kernels {

enum class CopyLimit : uint8_t {
  kMemcpy = 0,       // the C library's memcpy
  kNonTemporal = 1,  // non-temporal stores at the best level this machine has
};

// "memcpy" or "non_temporal". Never null.
const char* copy_limit_name(CopyLimit kind);

// Copies one block, the same work as one repeat of what is judged. Cold numbers need buffers far
// larger than the last-level cache, walked in an order that does not come back soon; interleave the
// kinds with the measured operation and compare medians.
void copy_block_limit(CopyLimit kind, std::byte* target, const std::byte* source, size_t bytes);

// Reads every line of the source once and writes every line of the target once, with non-temporal
// stores: the least that an encoder or decoder of these sizes can do. Both at a multiple of 64
// bytes; what is beyond whole lines is left out. What is written has no meaning.
void read_write_limit(std::byte* target, size_t target_bytes, const std::byte* source,
                      size_t source_bytes);

}  // namespace kvtier::kernels
