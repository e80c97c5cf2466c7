// Fuzz targets: what the nvme tier reads from its devices and its database, which may be anything.
// One of them per build: KVTIER_FUZZ_SUPERBLOCK, _SEGMENT, _RECORD, _HEADER. The first byte says
// whether checksums are made right first, so that what lies behind them is reached.
#include <cstdlib>
#include <cstring>

#include "daemon/tiers/nvme_format.hpp"

namespace kvtier::daemon::nvme {
namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

[[maybe_unused]] Page page_of(const uint8_t* data, size_t bytes, bool seal) {
  Page page = {};
  if (bytes > 0) std::memcpy(page.data(), data, std::min(bytes, page.size()));
  if (seal) {
    const uint64_t checksum = XXH3_64bits(page.data(), page.size() - 8);
    std::memcpy(page.data() + page.size() - 8, &checksum, 8);
  }
  return page;
}

[[maybe_unused]] void try_superblock(const Page& page) {
  Superblock found;
  if (decode(page, found) != PageState::kValid) return;
  // Every byte that it leads to lies inside the slab.
  require(found.segments > 0 && found.segment_bytes > 0);
  require(found.descriptor_offset(found.segments - 1) + kPage <= found.data_offset);
  require(found.segment_offset(found.segments) <= found.capacity_bytes);
  Page again;
  encode(found, again);
  Superblock twice;
  require(decode(again, twice) == PageState::kValid && twice == found);
}

[[maybe_unused]] void try_segment(const Page& page) {
  Superblock superblock;
  superblock.segments = 4;
  superblock.segment_bytes = wire::MiB;
  superblock.data_offset = 6 * kPage;
  superblock.capacity_bytes = 8 * wire::MiB;
  SegmentDescriptor found;
  if (decode(page, superblock, 2, found) != PageState::kValid) return;
  require(found.slot_bytes <= superblock.segment_bytes && found.slot_bytes % kPage == 0);
  require(found.tenant.size() < wire::kNameBytes && found.segment == 2);
}

[[maybe_unused]] void try_record(const uint8_t* data, size_t bytes, bool seal) {
  const Uuid uuid = {};
  std::string key = record_key(uuid, 3, 4), device_key = device_record_key(uuid);
  std::string value(reinterpret_cast<const char*>(data), bytes);
  const auto sealed = [&](const std::string& of, size_t size) {
    std::string whole = value;
    whole.resize(size);
    const uint64_t checksum =
        XXH3_64bits_withSeed(whole.data(), size - 8, XXH3_64bits(of.data(), of.size()));
    std::memcpy(whole.data() + size - 8, &checksum, 8);
    return whole;
  };
  ChunkRecord record;
  if (decode(key, seal ? sealed(key, kRecordBytes) : value, uuid, record)) {
    require(record.segment == 3 && record.slot == 4);
    require(record.chunk.bytes() >= record.chunk.payload_bytes);
    require(record.chunk.payload_bytes <= wire::kChunkBytesMax);
  }
  DeviceRecord device;
  static_cast<void>(
      decode(device_key, seal ? sealed(device_key, kDeviceRecordBytes) : value, uuid, device));
  // The key is as untrusted as the value.
  static_cast<void>(decode(value, value, uuid, record));
}

[[maybe_unused]] void try_header(const uint8_t* data, size_t bytes, bool seal) {
  std::vector<std::byte> slot(std::max<size_t>(bytes, sizeof(wire::ChunkHeader)));
  if (bytes > 0) std::memcpy(slot.data(), data, bytes);
  if (seal) {
    wire::ChunkHeader header;
    std::memcpy(&header, slot.data(), sizeof header);
    header.magic = wire::kChunkMagic;
    header.version = 1;
    header.header_bytes = header.header_bytes % 4 * 4096;
    slot.resize(std::max<size_t>(header.header_bytes, sizeof header));
    header.flags = 0;
    header.checksum = header.header_checksum = 0;
    std::memcpy(slot.data(), &header, sizeof header);
    header.header_checksum = XXH3_64bits(slot.data(), header.header_bytes);
    header.flags = wire::kHeaderHasChecksum;
    std::memcpy(slot.data(), &header, sizeof header);
  }
  TierChunk chunk;
  require(header_needs(slot) % kPage == 0);
  if (!decode_header(slot, chunk)) return;
  require(chunk.header_bytes <= slot.size() && chunk.payload_bytes <= wire::kChunkBytesMax);
  require(chunk.bytes() >= chunk.header_bytes + chunk.payload_bytes);
}

}  // namespace
}  // namespace kvtier::daemon::nvme

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  namespace nvme = kvtier::daemon::nvme;
  const bool seal = bytes > 0 && (data[0] & 1) != 0;
  if (bytes > 0) ++data, --bytes;
#if defined(KVTIER_FUZZ_SUPERBLOCK)
  nvme::try_superblock(nvme::page_of(data, bytes, seal));
#elif defined(KVTIER_FUZZ_SEGMENT)
  nvme::try_segment(nvme::page_of(data, bytes, seal));
#elif defined(KVTIER_FUZZ_RECORD)
  nvme::try_record(data, bytes, seal);
#else
  nvme::try_header(data, bytes, seal);
#endif
  return 0;
}
