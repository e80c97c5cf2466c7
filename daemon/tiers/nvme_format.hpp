// Every byte that the nvme tier writes besides chunks: superblock, segment descriptors, metadata
// records; and what a slot's header must say. docs/format.md is the specification. Pure functions
// over bytes that may be anything: they check before they believe, and never crash. Any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "daemon/tiers/tier.hpp"
#include "kvtier/result.hpp"
#include "kvtier/wire/chunk_header.hpp"
#include "kvtier/wire/types.hpp"

namespace kvtier::daemon::nvme {

inline constexpr uint64_t kSuperblockMagic = 0x3130'4241'4c53'564bULL;  // "KVSLAB01"
inline constexpr uint64_t kSegmentMagic = 0x3130'4d47'4553'564bULL;     // "KVSEGM01"
inline constexpr uint32_t kFormatVersion = 1;
inline constexpr uint64_t kPage = wire::kPageBytes;
inline constexpr uint64_t kSuperblocks = 2;  // pages 0 and 1; descriptors follow
inline constexpr uint64_t kSegmentBytesMin = wire::MiB;
inline constexpr uint64_t kSegmentBytesMax = 16 * wire::GiB;
inline constexpr uint32_t kSegmentsMax = 1u << 20;  // of one device
inline constexpr size_t kRecordBytes = 88;
inline constexpr size_t kRecordKeyBytes = 25;
inline constexpr size_t kDayBuckets = 25;  // whole hours that a day can touch
inline constexpr size_t kDeviceRecordBytes = 40 + kDayBuckets * 8;

using Page = std::array<std::byte, kPage>;
using Uuid = std::array<uint8_t, 16>;

std::string uuid_text(const Uuid& uuid);

struct Superblock {
  Uuid uuid = {};
  uint64_t capacity_bytes = 0;  // of the slab, everything included
  uint64_t segment_bytes = 0;
  uint64_t data_offset = 0;  // of segment 0
  uint32_t segments = 0;
  uint64_t sequence = 0;  // the higher of two valid copies counts
  bool operator==(const Superblock&) const = default;

  uint64_t descriptor_offset(uint32_t segment) const { return (kSuperblocks + segment) * kPage; }
  uint64_t segment_offset(uint32_t segment) const {
    return data_offset + uint64_t{segment} * segment_bytes;
  }
};

// The layout for a slab of that size; segment_bytes 0: derived. Errors: invalid_argument when not
// one segment fits.
Result<Superblock> plan_slab(uint64_t capacity_bytes, uint64_t segment_bytes);

enum class PageState : uint8_t {
  kValid,
  kBlank,    // nothing but zeros
  kNewer,    // ours, of a version this build does not know
  kDamaged,  // ours, and its checksum or a field is wrong
  kForeign,  // not ours
};

void encode(const Superblock& superblock, Page& page);
PageState decode(const Page& page, Superblock& superblock);

struct SegmentDescriptor {
  Uuid uuid = {};  // of the device
  uint32_t segment = 0;
  uint32_t sequence = 0;    // of this assignment; records of earlier ones are stale
  uint64_t slot_bytes = 0;  // 0: not assigned
  bool prepared = false;    // every byte of the segment was written at least once
  bool mixed = false;  // held chunks of another tenant: nothing may be concluded from slot headers
  std::string tenant;
  bool operator==(const SegmentDescriptor&) const = default;
};

void encode(const SegmentDescriptor& descriptor, Page& page);
PageState decode(const Page& page, const Superblock& superblock, uint32_t segment,
                 SegmentDescriptor& descriptor);

// What is recorded of a chunk in slot `slot` of segment `segment`.
struct ChunkRecord {
  uint32_t segment = 0;
  uint32_t slot = 0;
  uint32_t sequence = 0;  // of the segment's assignment
  TierChunk chunk;
  bool operator==(const ChunkRecord&) const = default;
};

std::string record_prefix(const Uuid& uuid);
std::string record_key(const Uuid& uuid, uint32_t segment, uint32_t slot);
std::string encode(const ChunkRecord& record, const Uuid& uuid);
// False: not a record of that device, damaged, of another version, or with fields out of range.
bool decode(std::string_view key, std::string_view value, const Uuid& uuid, ChunkRecord& record);

// What is recorded of a device: that its records are complete, and what it was written lately.
struct DeviceRecord {
  uint64_t wall_seconds = 0;                     // when, since 1970
  uint64_t written_bytes = 0;                    // in all
  std::array<uint64_t, kDayBuckets> hours = {};  // charged to the write budget, newest first
  bool operator==(const DeviceRecord&) const = default;
};

std::string device_record_key(const Uuid& uuid);
inline constexpr std::string_view kDeviceRecordPrefix = "s";
std::string encode(const DeviceRecord& record, const Uuid& uuid);
bool decode(std::string_view key, std::string_view value, const Uuid& uuid, DeviceRecord& record);

// What the header of a slot says of its chunk. `bytes` begins with the header. header_needs():
// bytes that must be there to judge it, 0 when the first page already says that it is none.
uint32_t header_needs(std::span<const std::byte> bytes);
bool decode_header(std::span<const std::byte> bytes, TierChunk& chunk);

}  // namespace kvtier::daemon::nvme
