// Which instruction set the kernels use: found once, at the first call of any kernel.
// Any thread. Never asks the operating system for anything but one environment variable.
#pragma once

#include <cstdint>

namespace kvtier::kernels {

// Levels that have code of their own. Each includes the ones before it.
enum class Isa : uint32_t {
  kBaseline = 0,    // x86-64-v2: 16-byte vectors
  kAvx2 = 1,        // 32-byte vectors
  kAvx512 = 2,      // 64-byte vectors (F, BW, VL, DQ)
  kAvx512Bf16 = 3,  // and conversions to bf16, which codecs use
};

// "baseline", "avx2", "avx512" or "avx512bf16". Never null.
const char* isa_name(Isa isa);

// True when this processor and operating system can run code of that level.
bool isa_supported(Isa isa);

// The level in use. Chosen at the first call: the environment variable KVTIER_ISA (a name of
// isa_name(); ignored when unknown, not supported, or the program is setuid), else the best
// supported one. AVX-512 is taken by itself only on processors that have VBMI2 too (Intel since Ice
// Lake, AMD since Zen 4): the ones before lower their clock for wide vectors.
Isa isa_active();

// For tests and benchmarks: uses `isa` from now on. False, and no change, when it is not supported.
// Calls under way in other threads finish on the level they started with; results never differ.
bool force_isa(Isa isa);

}  // namespace kvtier::kernels
