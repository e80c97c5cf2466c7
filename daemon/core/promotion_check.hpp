// Whether what a lower tier gave back is what was recorded. Runs on workers, over memory that only
// this job uses; a hole punched into it is a bad chunk, not a fault.
#pragma once

#include <cstring>

#include "daemon/memory/guard.hpp"
#include "daemon/tiers/tier.hpp"
#include "kernels/checksum.hpp"
#include "kvtier/wire/chunk_header.hpp"
#include "kvtier/wire/header_checksum.hpp"

namespace kvtier::daemon {

enum class Verdict : uint8_t { kSound, kHeader, kChecksum };

// Compares what came back with what was recorded; then makes the header that of its new slot.
struct PromotionCheck {
  std::byte* slot;
  TierChunk due;
  uint32_t generation;
  Verdict verdict = Verdict::kHeader;

  void run() {
    const bool readable = guarded(slot, due.bytes(), [this] { verdict = compare(); });
    if (!readable) verdict = Verdict::kHeader;
  }

  Verdict compare() const {
    wire::ChunkHeader header;
    std::memcpy(&header, slot, sizeof header);
    const bool same =
        header.magic == wire::kChunkMagic && header.version == 1 &&
        header.header_bytes == due.header_bytes && header.key == due.key &&
        header.fingerprint_lo == due.space.lo && header.fingerprint_hi == due.space.hi &&
        header.payload_bytes == due.payload_bytes && header.checksum == due.checksum &&
        header.position == due.position && header.tokens <= due.tokens &&
        header.codec <= wire::kCodecLossless && (header.flags & wire::kHeaderHasChecksum) != 0;
    if (!same || header.header_checksum != wire::header_checksum_of(slot, due.header_bytes)) {
      return Verdict::kHeader;
    }
    if (kernels::hash_only(slot + due.header_bytes, due.payload_bytes) != due.checksum) {
      return Verdict::kChecksum;
    }
    auto* target = reinterpret_cast<wire::ChunkHeader*>(slot);
    target->generation = generation;
    target->header_checksum = wire::header_checksum_of(slot, due.header_bytes);
    return Verdict::kSound;
  }
};

}  // namespace kvtier::daemon
