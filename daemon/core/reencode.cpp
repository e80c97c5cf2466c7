// See reencode.hpp. Workers; no logging, no exceptions out of run().
#include "daemon/core/reencode.hpp"

#include <algorithm>
#include <cstring>
#include <span>

#include "daemon/memory/guard.hpp"
#include "kernels/checksum.hpp"
#include "kernels/copy.hpp"
#include "kernels/lossless.hpp"
#include "kvtier/wire/chunk_header.hpp"
#include "kvtier/wire/header_checksum.hpp"

namespace kvtier::daemon {
namespace {

PageMemory pages(uint64_t bytes) {
  return PageMemory(static_cast<std::byte*>(
      std::aligned_alloc(wire::kPageBytes, wire::round_up(bytes, wire::kPageBytes))));
}

// The worker's own; null when memory is short.
kernels::LosslessContext* lossless() {
  static thread_local std::unique_ptr<kernels::LosslessContext> context;
  if (!context) context = kernels::LosslessContext::create();
  return context.get();
}

}  // namespace

// The header into `memory`, the payload to `raw`; true when both are what was stored.
bool Reencode::copy_in(std::byte* raw) {
  std::byte* header = memory.get();
  uint64_t root = 0;
  const bool readable = guarded(slot, from.header_bytes + from.payload_bytes, [&] {
    std::memcpy(header, slot, from.header_bytes);
    root = kernels::copy_and_hash(raw, slot + from.header_bytes, from.payload_bytes);
  });
  if (!readable || root != from.checksum) return false;
  wire::ChunkHeader found;
  std::memcpy(&found, header, sizeof found);
  return found.magic == wire::kChunkMagic && found.key == from.key &&
         found.header_bytes == from.header_bytes && found.payload_bytes == from.payload_bytes &&
         found.codec == wire::kCodecNone &&
         found.header_checksum == wire::header_checksum_of(header, from.header_bytes);
}

// The payload behind the header; its bytes, or 0 when it stays as it is.
uint64_t Reencode::encode(const std::byte* raw, uint64_t* root) {
  const ConstFragment whole = {raw, from.payload_bytes};
  std::byte* payload = memory.get() + from.header_bytes;
  if (codec == kernels::Codec::kLossless) {
    kernels::LosslessContext* context = lossless();
    if (context == nullptr) return 0;
    const std::span<const std::byte> encoded = context->encode({&whole, 1});
    if (encoded.empty() || encoded.size() >= from.payload_bytes) return 0;
    *root = kernels::copy_and_hash(payload, encoded.data(), encoded.size());
    return encoded.size();
  }
  const auto shape = kernels::chunk_shape(space);
  if (!shape) return 0;
  const uint64_t bytes = kernels::encoded_bytes(codec, *shape);
  if (bytes == 0 || bytes >= from.payload_bytes) return 0;
  const kernels::Status done = kernels::encode(codec, *shape, {&whole, 1}, {payload, bytes}, root);
  return done == kernels::Status::kOk ? bytes : 0;
}

void Reencode::run() {
  space.dtype = dtype;
  memory = pages(from.bytes());  // no encoded chunk is larger
  const PageMemory raw = pages(from.payload_bytes);
  if (memory == nullptr || raw == nullptr) {
    verdict = Reencoded::kNoMemory;
    return;
  }
  if (!copy_in(raw.get())) return;
  chunk = from;
  chunk.payload_bytes = encode(raw.get(), &chunk.checksum);
  if (chunk.payload_bytes == 0) {
    verdict = Reencoded::kKept;
    return;
  }
  auto* header = reinterpret_cast<wire::ChunkHeader*>(memory.get());
  header->codec = static_cast<uint32_t>(codec);
  header->payload_bytes = chunk.payload_bytes;
  header->checksum = chunk.checksum;
  header->flags |= wire::kHeaderHasChecksum;
  header->header_checksum = wire::header_checksum_of(memory.get(), from.header_bytes);
  const uint64_t used = from.header_bytes + chunk.payload_bytes;
  std::memset(memory.get() + used, 0, chunk.bytes() - used);
  verdict = Reencoded::kYes;
}

}  // namespace kvtier::daemon
