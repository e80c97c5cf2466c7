#include "daemon/tiers/nvme_format.hpp"

#include <algorithm>
#include <cstring>

namespace kvtier::daemon::nvme {
namespace {

constexpr size_t kPageChecksumOffset = kPage - 8;
constexpr size_t kTenantOffset = 64;
constexpr uint32_t kFlagPrepared = 1;
constexpr uint32_t kFlagMixed = 2;

template <typename T>
void put(std::span<std::byte> page, size_t offset, T value) {
  std::memcpy(page.data() + offset, &value, sizeof value);
}

template <typename T>
T get(std::span<const std::byte> page, size_t offset) {
  T value;
  std::memcpy(&value, page.data() + offset, sizeof value);
  return value;
}

template <typename T>
T get(std::string_view bytes, size_t offset) {
  return get<T>(std::as_bytes(std::span(bytes.data(), bytes.size())), offset);
}

void seal(Page& page) {
  put<uint64_t>(page, kPageChecksumOffset, XXH3_64bits(page.data(), kPageChecksumOffset));
}

bool is_blank(const Page& page) {
  return std::all_of(page.begin(), page.end(), [](std::byte b) { return b == std::byte{0}; });
}

// Magic and version are judged before the checksum: a newer version may have it elsewhere.
PageState judge(const Page& page, uint64_t magic) {
  if (get<uint64_t>(page, 0) != magic)
    return is_blank(page) ? PageState::kBlank : PageState::kForeign;
  const uint32_t version = get<uint32_t>(page, 8);
  const bool whole =
      get<uint64_t>(page, kPageChecksumOffset) == XXH3_64bits(page.data(), kPageChecksumOffset);
  if (version > kFormatVersion) return PageState::kNewer;
  return whole && version == kFormatVersion ? PageState::kValid : PageState::kDamaged;
}

void append(std::string& bytes, const void* data, size_t count) {
  bytes.append(static_cast<const char*>(data), count);
}

template <typename T>
void append(std::string& bytes, T value) {
  append(bytes, &value, sizeof value);
}

// Big-endian, so that the order of keys is the order of slots.
void append_number(std::string& key, uint32_t value) {
  for (const unsigned shift : {24u, 16u, 8u, 0u}) {
    key.push_back(static_cast<char>((value >> shift) & 0xff));
  }
}

uint32_t key_number(std::string_view key, size_t offset) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = (value << 8) | static_cast<uint8_t>(key[offset + i]);
  return value;
}

uint64_t record_checksum(std::string_view key, std::string_view body) {
  return XXH3_64bits_withSeed(body.data(), body.size(), XXH3_64bits(key.data(), key.size()));
}

bool is_sealed(std::string_view key, std::string_view value, size_t bytes) {
  return value.size() == bytes && get<uint32_t>(value, 0) == kFormatVersion &&
         get<uint64_t>(value, bytes - 8) == record_checksum(key, value.substr(0, bytes - 8));
}

bool is_possible(const TierChunk& chunk) {
  return chunk.payload_bytes <= wire::kChunkBytesMax && chunk.header_bytes >= kPage &&
         chunk.header_bytes % kPage == 0 && chunk.tokens <= wire::kTokensPerChunkMax &&
         chunk.header_bytes <= wire::header_bytes_for(wire::kTokensPerChunkMax) + kPage;
}

}  // namespace

std::string uuid_text(const Uuid& uuid) {
  std::string text;
  for (size_t i = 0; i < uuid.size(); ++i) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", uuid[i]);
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += digits;
  }
  return text;
}

// 64 segments or more, so that tenants and slot sizes find some; at most 1 GiB, so that giving one
// to another tenant loses little.
Result<Superblock> plan_slab(uint64_t capacity_bytes, uint64_t segment_bytes) {
  Superblock plan;
  plan.segment_bytes = segment_bytes;
  if (segment_bytes == 0) {
    plan.segment_bytes =
        std::clamp(std::bit_floor(capacity_bytes / 64), kSegmentBytesMin, wire::GiB);
  }
  if (plan.segment_bytes % kPage != 0) {
    return Error(Code::kInvalidArgument, "a segment is in whole pages");
  }
  plan.capacity_bytes = capacity_bytes / kPage * kPage;
  const uint64_t pages =
      plan.capacity_bytes < kSuperblocks * kPage ? 0 : plan.capacity_bytes - kSuperblocks * kPage;
  plan.segments =
      static_cast<uint32_t>(std::min<uint64_t>(pages / (plan.segment_bytes + kPage), kSegmentsMax));
  if (plan.segments == 0) {
    return Error::format(Code::kInvalidArgument,
                         "a slab of %llu bytes does not hold one segment of %llu",
                         static_cast<unsigned long long>(capacity_bytes),
                         static_cast<unsigned long long>(plan.segment_bytes));
  }
  plan.data_offset = (kSuperblocks + plan.segments) * kPage;
  plan.sequence = 1;
  return plan;
}

void encode(const Superblock& superblock, Page& page) {
  page.fill(std::byte{0});
  put(page, 0, kSuperblockMagic);
  put(page, 8, kFormatVersion);
  put(page, 12, superblock.segments);
  std::memcpy(page.data() + 16, superblock.uuid.data(), superblock.uuid.size());
  put(page, 32, superblock.capacity_bytes);
  put(page, 40, superblock.segment_bytes);
  put(page, 48, superblock.data_offset);
  put(page, 56, superblock.sequence);
  seal(page);
}

PageState decode(const Page& page, Superblock& superblock) {
  const PageState state = judge(page, kSuperblockMagic);
  if (state != PageState::kValid) return state;
  Superblock found;
  found.segments = get<uint32_t>(page, 12);
  std::memcpy(found.uuid.data(), page.data() + 16, found.uuid.size());
  found.capacity_bytes = get<uint64_t>(page, 32);
  found.segment_bytes = get<uint64_t>(page, 40);
  found.data_offset = get<uint64_t>(page, 48);
  found.sequence = get<uint64_t>(page, 56);
  const bool possible =
      found.segments > 0 && found.segments <= kSegmentsMax && found.segment_bytes >= kPage &&
      found.segment_bytes <= kSegmentBytesMax && found.segment_bytes % kPage == 0 &&
      found.data_offset == (kSuperblocks + found.segments) * kPage &&
      found.capacity_bytes % kPage == 0 && found.capacity_bytes <= uint64_t{1} << 60 &&
      found.segment_offset(found.segments) <= found.capacity_bytes;
  if (!possible) return PageState::kDamaged;
  superblock = found;
  return PageState::kValid;
}

void encode(const SegmentDescriptor& descriptor, Page& page) {
  page.fill(std::byte{0});
  put(page, 0, kSegmentMagic);
  put(page, 8, kFormatVersion);
  put(page, 12, descriptor.segment);
  std::memcpy(page.data() + 16, descriptor.uuid.data(), descriptor.uuid.size());
  put(page, 32, descriptor.slot_bytes);
  put(page, 40, descriptor.sequence);
  put(page, 44, (descriptor.prepared ? kFlagPrepared : 0) | (descriptor.mixed ? kFlagMixed : 0));
  const size_t length = std::min<size_t>(descriptor.tenant.size(), wire::kNameBytes - 1);
  put(page, 48, static_cast<uint32_t>(length));
  std::memcpy(page.data() + kTenantOffset, descriptor.tenant.data(), length);
  seal(page);
}

PageState decode(const Page& page, const Superblock& superblock, uint32_t segment,
                 SegmentDescriptor& descriptor) {
  const PageState state = judge(page, kSegmentMagic);
  if (state != PageState::kValid) return state;
  SegmentDescriptor found;
  found.segment = get<uint32_t>(page, 12);
  std::memcpy(found.uuid.data(), page.data() + 16, found.uuid.size());
  found.slot_bytes = get<uint64_t>(page, 32);
  found.sequence = get<uint32_t>(page, 40);
  const uint32_t flags = get<uint32_t>(page, 44);
  found.prepared = (flags & kFlagPrepared) != 0;
  found.mixed = (flags & kFlagMixed) != 0;
  const uint32_t length = get<uint32_t>(page, 48);
  const bool possible = found.segment == segment && found.uuid == superblock.uuid &&
                        length < wire::kNameBytes && found.slot_bytes % kPage == 0 &&
                        found.slot_bytes <= superblock.segment_bytes &&
                        (found.slot_bytes == 0) == (length == 0);
  if (!possible) return PageState::kDamaged;
  found.tenant.assign(reinterpret_cast<const char*>(page.data() + kTenantOffset), length);
  descriptor = found;
  return PageState::kValid;
}

std::string record_prefix(const Uuid& uuid) {
  std::string key = "r";
  append(key, uuid.data(), uuid.size());
  return key;
}

std::string record_key(const Uuid& uuid, uint32_t segment, uint32_t slot) {
  std::string key = record_prefix(uuid);
  append_number(key, segment);
  append_number(key, slot);
  return key;
}

std::string encode(const ChunkRecord& record, const Uuid& uuid) {
  const TierChunk& chunk = record.chunk;
  std::string value;
  value.reserve(kRecordBytes);
  append(value, kFormatVersion);
  append(value, record.sequence);
  append(value, chunk.key.lo);
  append(value, chunk.key.hi);
  append(value, chunk.space.lo);
  append(value, chunk.space.hi);
  append(value, chunk.payload_bytes);
  append(value, chunk.checksum);
  append(value, chunk.header_bytes);
  append(value, chunk.tokens);
  append(value, chunk.position);
  append(value, uint32_t{0});
  append(value, uint64_t{0});
  append(value, record_checksum(record_key(uuid, record.segment, record.slot), value));
  return value;
}

bool decode(std::string_view key, std::string_view value, const Uuid& uuid, ChunkRecord& record) {
  if (key.size() != kRecordKeyBytes || !key.starts_with(record_prefix(uuid))) return false;
  if (!is_sealed(key, value, kRecordBytes)) return false;
  ChunkRecord found;
  found.segment = key_number(key, 17);
  found.slot = key_number(key, 21);
  found.sequence = get<uint32_t>(value, 4);
  found.chunk.key = {get<uint64_t>(value, 8), get<uint64_t>(value, 16)};
  found.chunk.space = {get<uint64_t>(value, 24), get<uint64_t>(value, 32)};
  found.chunk.payload_bytes = get<uint64_t>(value, 40);
  found.chunk.checksum = get<uint64_t>(value, 48);
  found.chunk.header_bytes = get<uint32_t>(value, 56);
  found.chunk.tokens = get<uint32_t>(value, 60);
  found.chunk.position = get<uint32_t>(value, 64);
  if (!is_possible(found.chunk)) return false;
  record = found;
  return true;
}

std::string device_record_key(const Uuid& uuid) {
  std::string key(kDeviceRecordPrefix);
  append(key, uuid.data(), uuid.size());
  return key;
}

std::string encode(const DeviceRecord& record, const Uuid& uuid) {
  std::string value;
  append(value, kFormatVersion);
  append(value, uint32_t{0});
  append(value, record.wall_seconds);
  append(value, record.written_bytes);
  for (const uint64_t bytes : record.hours) append(value, bytes);
  append(value, uint64_t{0});
  append(value, record_checksum(device_record_key(uuid), value));
  return value;
}

bool decode(std::string_view key, std::string_view value, const Uuid& uuid, DeviceRecord& record) {
  if (key != device_record_key(uuid) || !is_sealed(key, value, kDeviceRecordBytes)) return false;
  record.wall_seconds = get<uint64_t>(value, 8);
  record.written_bytes = get<uint64_t>(value, 16);
  for (size_t i = 0; i < kDayBuckets; ++i) record.hours[i] = get<uint64_t>(value, 24 + 8 * i);
  return true;
}

uint32_t header_needs(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(wire::ChunkHeader)) return 0;
  wire::ChunkHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  const bool possible =
      header.magic == wire::kChunkMagic && header.version == 1 && header.header_bytes >= kPage &&
      header.header_bytes % kPage == 0 &&
      header.header_bytes <= wire::header_bytes_for(wire::kTokensPerChunkMax) + kPage;
  return possible ? header.header_bytes : 0;
}

bool decode_header(std::span<const std::byte> bytes, TierChunk& chunk) {
  const uint32_t needs = header_needs(bytes);
  if (needs == 0 || bytes.size() < needs) return false;
  wire::ChunkHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  if ((header.flags & wire::kHeaderHasChecksum) == 0) return false;
  // As docs/protocol.md defines it: with checksum, flags and itself taken as 0.
  wire::ChunkHeader blank = header;
  blank.checksum = 0;
  blank.flags = 0;
  blank.header_checksum = 0;
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  XXH3_64bits_update(&state, &blank, sizeof blank);
  XXH3_64bits_update(&state, bytes.data() + sizeof blank, needs - sizeof blank);
  if (XXH3_64bits_digest(&state) != header.header_checksum) return false;
  TierChunk found;
  found.key = header.key;
  found.space = {header.fingerprint_lo, header.fingerprint_hi};
  found.payload_bytes = header.payload_bytes;
  found.checksum = header.checksum;
  found.header_bytes = header.header_bytes;
  found.tokens = header.tokens;
  found.position = header.position;
  if (!is_possible(found)) return false;
  chunk = found;
  return true;
}

}  // namespace kvtier::daemon::nvme
