// The limits that benchmarks compare with: plain copies and nothing else.
#include "kernels/limits.hpp"

#include "kernels/copy.hpp"

namespace kvtier::kernels {

const char* copy_limit_name(CopyLimit kind) {
  switch (kind) {
    case CopyLimit::kMemcpy:
      return "memcpy";
    case CopyLimit::kNonTemporal:
      return "non_temporal";
  }
  return "unknown";
}

void copy_block_limit(CopyLimit kind, std::byte* target, const std::byte* source, size_t bytes) {
  if (kind == CopyLimit::kNonTemporal) {
    copy_stream(target, source, bytes);
  } else {
    copy_plain(target, source, bytes);
  }
}

}  // namespace kvtier::kernels
