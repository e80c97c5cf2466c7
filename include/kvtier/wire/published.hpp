// The memory that the daemon publishes, one per tenant: the daemon's core thread writes it, clients
// map it read-only. Header, cost board, space table, segment table, buckets, entries, in this
// order. Offsets, memory orders and why they suffice: docs/protocol.md, sections 2 and 3.
#pragma once

#include <atomic>

#include "kvtier/wire/types.hpp"

namespace kvtier::wire {

inline constexpr uint64_t kPublishedMagic = 0x3130'4255'5056'4bULL;  // "KVPUB01"

// One line: eight candidates by 16-bit tag. A tag of 0 marks an empty position.
// There is no sequence: the entry's own key and place decide, so a torn reading is only a miss.
inline constexpr uint32_t kBucketWidth = 8;
struct alignas(64) Bucket {
  std::atomic<uint64_t> tags[2];                // 8 x 16 bits, position i in word i/4
  std::atomic<uint32_t> entries[kBucketWidth];  // entry numbers
  uint32_t reserved[4];
};
static_assert(sizeof(Bucket) == 64);

// Where else the chunk lies (Entry::lower), and what is known of it (Entry::flags).
inline constexpr uint32_t kOnNvme = 1u << 0;
inline constexpr uint32_t kOnRemote = 1u << 1;
inline constexpr uint32_t kPromoting = 1u << 2;   // being read into host memory
inline constexpr uint32_t kPromoted = 1u << 3;    // read into host memory, and not used since
inline constexpr uint32_t kUnverified = 1u << 0;  // no checksum yet
inline constexpr uint32_t kCheckOnLoad = 1u
                                         << 1;  // from before a restart: verify whatever the mode

// One chunk of one shard. Key, space and sizes change only while both places are empty and a
// seq_cst fence of the daemon lies between the emptying and the change.
struct alignas(64) Entry {
  std::atomic<uint64_t> host_place;  // Place::word(); 0 is none
  std::atomic<uint64_t> device_place;
  std::atomic<uint64_t> key_lo;
  std::atomic<uint64_t> key_hi;
  std::atomic<uint32_t> space;  // space id
  std::atomic<uint32_t> lower;  // kOn*
  std::atomic<uint32_t> flags;
  std::atomic<uint32_t> payload_bytes;  // stored bytes, <= kChunkBytesMax
  std::atomic<uint32_t> tokens;
  uint32_t reserved[3];
};
static_assert(sizeof(Entry) == 64);

// A segment of this tenant. `uid` is unique within an epoch; 0 means the number is free. A client
// whose mapping has another uid must drop it. Written uid last (release), cleared uid first.
struct alignas(64) SegmentDescriptor {
  std::atomic<uint64_t> uid;
  std::atomic<uint64_t> bytes;
  std::atomic<uint64_t> slot_bytes;
  std::atomic<uint32_t> slots;
  std::atomic<uint32_t> tier;
  uint64_t reserved[4];
};
static_assert(sizeof(SegmentDescriptor) == 64);

// A space of this tenant; the id is 1 + its number in the table until ids outgrow the table.
struct alignas(64) SpaceDescriptor {
  std::atomic<uint32_t> id;     // 0: free. Written last (release)
  std::atomic<uint32_t> group;  // equal for the shards of one model
  std::atomic<uint32_t> shard;
  std::atomic<uint32_t> shards;
  std::atomic<uint32_t> tokens_per_chunk;
  std::atomic<uint32_t> header_bytes;  // multiple of 4096; the payload follows in the slot
  std::atomic<uint64_t> chunk_bytes_max;
  std::atomic<uint64_t> fingerprint_lo;  // of the whole spec, shard included
  std::atomic<uint64_t> fingerprint_hi;
  std::atomic<uint32_t> codec;  // that stores are asked to use; changes while clients are attached
  uint32_t reserved0;
  uint64_t reserved1;
};
static_assert(sizeof(SpaceDescriptor) == 64);

// What a load from a tier costs now. Doubles travel as bits in 64-bit words.
struct TierCost {
  std::atomic<uint64_t> bandwidth_bytes_per_s;  // double
  std::atomic<uint64_t> latency_s;              // double, first byte
  std::atomic<uint64_t> queued_bytes;           // integer
  std::atomic<uint64_t> samples;                // integer; 0: an assumption, not a measurement
};
// What computing costs in a space: seconds = g + a*n + b*(n^2 - c^2)/2 for tokens c..n.
struct SpaceCost {
  std::atomic<uint64_t> a;  // double, s per token
  std::atomic<uint64_t> b;  // double, s per token^2
  std::atomic<uint64_t> g;  // double, s
  std::atomic<uint64_t> samples;
};
// Under one sequence lock: `sequence` is odd while the daemon writes.
struct alignas(64) CostBoard {
  std::atomic<uint64_t> sequence;
  std::atomic<uint64_t> heartbeat_ns;  // CLOCK_MONOTONIC, coarse
  std::atomic<uint64_t> health;        // 0 good, 1 degraded, 2 draining
  std::atomic<uint64_t> tiers_down;    // bit by Tier: out of service, what it holds is a miss now
  // When each tier was measured last, CLOCK_MONOTONIC; 0: never, or a daemon that does not tell.
  std::atomic<uint64_t> measured_ns[kTierCount];
  TierCost tiers[kTierCount];
  SpaceCost spaces[kSpacesMax];  // by number in the space table
};
static_assert(sizeof(CostBoard) == 64 + 32 * kTierCount + 32 * kSpacesMax);
static_assert(offsetof(CostBoard, tiers) == 64);

struct alignas(64) PublishedHeader {
  uint64_t magic;
  uint32_t version;       // kProtocolVersion of the writer
  uint32_t header_bytes;  // sizeof(PublishedHeader)
  uint64_t bytes;         // of the whole memory
  uint64_t board_offset;
  uint64_t spaces_offset;    // SpaceDescriptor[spaces_max]
  uint64_t segments_offset;  // SegmentDescriptor[segments_max]
  uint64_t buckets_offset;   // Bucket[bucket_mask + 1]
  uint64_t entries_offset;   // Entry[entries_max]
  uint32_t spaces_max;
  uint32_t segments_max;
  uint32_t bucket_mask;  // bucket count - 1, a power of two minus 1
  uint32_t entries_max;
  uint64_t tenant;
  uint64_t reserved0[4];
  // The epoch this memory is served under; 0 when closed. Own line: every lease reads it.
  alignas(64) std::atomic<uint64_t> epoch;
  std::atomic<uint32_t> entries_high_water;  // entries below it have been used
  uint32_t reserved1[13];
};
static_assert(sizeof(PublishedHeader) == 192);
static_assert(offsetof(PublishedHeader, epoch) == 128);

// Where to look for a chunk: mixed from its key and its space, so that shards of one key spread.
struct IndexHash {
  uint32_t first;  // before masking
  uint32_t second;
  uint16_t tag;  // never 0
};
constexpr IndexHash index_hash(ChunkKey key, uint32_t space) {
  const uint64_t mixed = key.lo ^ (uint64_t{space} * 0x9e37'79b9'7f4a'7c15ULL);
  const auto tag = static_cast<uint16_t>(key.hi >> 48);
  return {static_cast<uint32_t>(mixed), static_cast<uint32_t>(mixed >> 32),
          static_cast<uint16_t>(tag == 0 ? 1 : tag)};
}

inline uint64_t double_bits(double value) {
  return std::bit_cast<uint64_t>(value);
}
inline double bits_double(uint64_t bits) {
  return std::bit_cast<double>(bits);
}

}  // namespace kvtier::wire
