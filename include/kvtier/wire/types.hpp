// Words that both sides of the shared memory use: keys, places, tiers, limits. Wire format
// version 1. Pure data, little-endian, any thread. docs/protocol.md is the specification of every
// byte here.
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>

namespace kvtier {

// Names a chunk: the whole prefix up to and including it, under the tenant's secret. Never zero.
struct ChunkKey {
  uint64_t lo = 0;
  uint64_t hi = 0;
  auto operator<=>(const ChunkKey&) const = default;
};

namespace wire {

static_assert(std::endian::native == std::endian::little, "the shared memory is little-endian");

inline constexpr uint64_t KiB = 1024;
inline constexpr uint64_t MiB = 1024 * KiB;
inline constexpr uint64_t GiB = 1024 * MiB;

inline constexpr uint32_t kProtocolVersion = 1;
inline constexpr uint32_t kPageBytes = 4096;
inline constexpr uint32_t kCacheLineBytes = 64;

// Limits of the protocol; the configuration may set lower ones.
inline constexpr uint64_t kChunkBytesMax = 128 * MiB;  // payload
inline constexpr uint32_t kTokensPerChunkMax = 16384;
inline constexpr uint32_t kExtraIdsMax = 64;        // per chunk
inline constexpr uint32_t kBatchChunksMax = 64;     // per request on the ring
inline constexpr uint32_t kSegmentsMax = 1u << 14;  // per tenant
inline constexpr uint32_t kSlotsPerSegmentMax = 1u << 20;
inline constexpr uint32_t kSpacesMax = 256;  // per tenant
inline constexpr uint32_t kShardsMax = 64;
inline constexpr uint32_t kLeaseCellsMax = 1u << 16;  // per session
inline constexpr uint32_t kNameBytes = 64;            // names in messages, zero-terminated

enum class Tier : uint8_t { kHost = 0, kDevice = 1, kNvme = 2, kRemote = 3 };
inline constexpr uint32_t kTierCount = 4;

constexpr const char* tier_name(Tier tier) {
  constexpr std::array<const char*, kTierCount> kNames = {"host", "device", "nvme", "remote"};
  return kNames[static_cast<size_t>(tier) % kTierCount];
}

// Where a chunk lies: {generation:28, tier:2, segment:14, slot:20} from the high bits down.
// The generation counts the uses of one slot and starts at 1, so no place is ever 0, and two
// equal places name the same use of the same slot.
class Place {
 public:
  static constexpr uint32_t kGenerationMax = (1u << 28) - 1;

  constexpr Place() = default;
  constexpr explicit Place(uint64_t word) : word_(word) {}
  static constexpr Place make(Tier tier, uint32_t segment, uint32_t slot, uint32_t generation) {
    return Place((uint64_t{generation & kGenerationMax} << 36) |
                 (static_cast<uint64_t>(tier) << 34) | (uint64_t{segment & 0x3fffu} << 20) |
                 (slot & 0xfffffu));
  }
  constexpr uint64_t word() const { return word_; }
  constexpr bool empty() const { return word_ == 0; }
  constexpr uint32_t generation() const { return static_cast<uint32_t>(word_ >> 36); }
  constexpr Tier tier() const { return static_cast<Tier>((word_ >> 34) & 3); }
  constexpr uint32_t segment() const { return static_cast<uint32_t>((word_ >> 20) & 0x3fff); }
  constexpr uint32_t slot() const { return static_cast<uint32_t>(word_ & 0xfffff); }
  // The slot without the generation: what a lease holds and what a reclaim looks for.
  constexpr uint64_t slot_name() const { return word_ & ((uint64_t{1} << 36) - 1); }
  constexpr bool operator==(const Place&) const = default;

 private:
  uint64_t word_ = 0;
};
static_assert(sizeof(Place) == 8);

// How a payload may be treated: opaque bytes, or a typed tensor that a codec understands.
enum class PayloadKind : uint32_t { kOpaque = 0, kTyped = 1 };

// Codecs of a payload (docs/kernels.md). 0 is the engine's own bytes; 1 to 4 (fp8, fp8 by tensor,
// int8, int4) are for typed payloads; 5 is lossless, for any payload of 2-byte floats.
inline constexpr uint32_t kCodecNone = 0;
inline constexpr uint32_t kCodecLossless = 5;

// Whether chunks of such a space may be stored in the codec.
constexpr bool codec_fits(uint32_t codec, PayloadKind kind) {
  return codec == kCodecNone || codec == kCodecLossless ||
         (codec < kCodecLossless && kind == PayloadKind::kTyped);
}

constexpr uint64_t round_up(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

}  // namespace wire
}  // namespace kvtier
