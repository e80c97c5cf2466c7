// Reading memory that a client may rewrite at any moment: every word is loaded exactly once into
// private memory, where it is checked and used. Any thread. Never reads a byte twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace kvtier::daemon {

// Both in bytes, multiples of 8; `source` lies on a multiple of 8. Relaxed atomic loads, because a
// plain copy may be repeated by the compiler.
inline void copy_once(void* target, const void* source, size_t bytes) {
  auto* out = static_cast<std::byte*>(target);
  const auto* words = static_cast<const uint64_t*>(source);
  for (size_t i = 0; i < bytes / sizeof(uint64_t); ++i) {
    const uint64_t word = __atomic_load_n(words + i, __ATOMIC_RELAXED);
    std::memcpy(out + i * sizeof word, &word, sizeof word);
  }
}

}  // namespace kvtier::daemon
