// Finds the instruction set and holds the one pointer to the operations in use. Any thread.
#include "kernels/cpu.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "kernels/dispatch.hpp"

namespace kvtier::kernels {
namespace {

using detail::Operations;

constexpr Isa kAll[] = {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16};

// Null until the first call. Threads that race there store the same value.
std::atomic<const Operations*> active{nullptr};

const Operations& operations_of(Isa isa) {
  switch (isa) {
    case Isa::kAvx2:
      return detail::kOperationsAvx2;
    case Isa::kAvx512:
      return detail::kOperationsAvx512;
    case Isa::kAvx512Bf16:
      return detail::kOperationsAvx512Bf16;
    case Isa::kBaseline:
      break;
  }
  return detail::kOperationsBaseline;
}

// What -march=x86-64-v3 and -v4 let the compiler use. The builtin also asks whether the operating
// system saves the wide registers. F16C, LZCNT and MOVBE are not asked for: no processor has AVX2
// and BMI2 without them, and clang 14 has no names for two of them.
bool has_v3() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
}

bool has_v4() {
  return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512cd");
}

bool has_v4_bf16() {
  return has_v4() && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi");
}

Isa best_isa() {
  if (has_v4_bf16() && __builtin_cpu_supports("avx512vbmi2")) return Isa::kAvx512Bf16;
  if (has_v4() && __builtin_cpu_supports("avx512vbmi2")) return Isa::kAvx512;
  return has_v3() ? Isa::kAvx2 : Isa::kBaseline;
}

Isa first_isa() {
  if (const char* name = secure_getenv("KVTIER_ISA")) {
    for (Isa isa : kAll) {
      if (std::strcmp(name, isa_name(isa)) == 0 && isa_supported(isa)) return isa;
    }
  }
  return best_isa();
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return "baseline";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Bf16:
      return "avx512bf16";
  }
  return "unknown";
}

bool isa_supported(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return true;
    case Isa::kAvx2:
      return has_v3();
    case Isa::kAvx512:
      return has_v4();
    case Isa::kAvx512Bf16:
      return has_v4_bf16();
  }
  return false;
}

Isa isa_active() {
  return detail::operations().isa;
}

bool force_isa(Isa isa) {
  if (!isa_supported(isa)) return false;
  active.store(&operations_of(isa), std::memory_order_relaxed);
  return true;
}

namespace detail {

const Operations& operations() {
  // Relaxed: the tables are constants, there is nothing else to see.
  const Operations* found = active.load(std::memory_order_relaxed);
  if (found == nullptr) [[unlikely]] {
    const Operations* first = &operations_of(first_isa());
    // A force_isa() in between wins.
    if (active.compare_exchange_strong(found, first, std::memory_order_relaxed)) found = first;
  }
  return *found;
}

}  // namespace detail
}  // namespace kvtier::kernels
