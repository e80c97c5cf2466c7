// The limits that benchmarks compare with: plain copies and nothing else.
#include "kernels/limits.hpp"

#include "kernels/codec_rows.hpp"
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

void read_write_limit(std::byte* target, size_t target_bytes, const std::byte* source,
                      size_t source_bytes) {
  if (target_bytes < 64) return;
  detail::codec_operations(Element::kBf16)
      .read_write(target, target_bytes / 64, source, source_bytes / 64);
  stores_done();
}

}  // namespace kvtier::kernels
