// The bytes of docs/format.md, and refusals of every other.
#include "daemon/tiers/nvme_format.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <sstream>

namespace kvtier::daemon::nvme {
namespace {

Superblock example_superblock() {
  Superblock superblock = *plan_slab(10 * wire::MiB, 2 * wire::MiB);
  for (size_t i = 0; i < 16; ++i) superblock.uuid[i] = static_cast<uint8_t>(0xa0 + i);
  return superblock;
}

SegmentDescriptor example_descriptor() {
  SegmentDescriptor descriptor;
  descriptor.uuid = example_superblock().uuid;
  descriptor.segment = 2;
  descriptor.sequence = 1001;
  descriptor.slot_bytes = 72 * wire::KiB;
  descriptor.prepared = true;
  descriptor.tenant = "chat";
  return descriptor;
}

ChunkRecord example_record() {
  ChunkRecord record;
  record.segment = 2;
  record.slot = 5;
  record.sequence = 1001;
  record.chunk.key = {0x1111111111111111, 0x2222222222222222};
  record.chunk.space = {0x3333333333333333, 0x4444444444444444};
  record.chunk.payload_bytes = 65536;
  record.chunk.checksum = 0x5555555555555555;
  record.chunk.header_bytes = 4096;
  record.chunk.tokens = 256;
  record.chunk.position = 7;
  return record;
}

// As in the document: 16 bytes a line, the offset in front, runs of zero lines as "*".
std::string dump(std::span<const std::byte> bytes) {
  std::string text;
  bool skipped = false;
  for (size_t at = 0; at < bytes.size(); at += 16) {
    const auto line = bytes.subspan(at, std::min<size_t>(16, bytes.size() - at));
    const bool zero =
        std::all_of(line.begin(), line.end(), [](std::byte b) { return b == std::byte{0}; });
    if (zero) {
      if (!skipped) text += "*\n";
      skipped = true;
      continue;
    }
    skipped = false;
    char part[32];
    std::snprintf(part, sizeof part, "%04zx ", at);
    text += part;
    for (const std::byte b : line) {
      std::snprintf(part, sizeof part, " %02x", std::to_integer<unsigned>(b));
      text += part;
    }
    text += '\n';
  }
  return text;
}
std::string dump(const std::string& bytes) {
  return dump(std::as_bytes(std::span(bytes)));
}

TEST(NvmeFormat, TheWorkedExampleOfTheDocumentIsWhatIsWritten) {
  Page superblock, descriptor;
  encode(example_superblock(), superblock);
  encode(example_descriptor(), descriptor);
  const ChunkRecord record = example_record();
  const Uuid uuid = example_superblock().uuid;
  std::ifstream file(std::string(KVTIER_SOURCE_DIR) + "/docs/format.md");
  const std::string document{std::istreambuf_iterator<char>(file), {}};
  for (const auto& [what, bytes] : std::initializer_list<std::pair<std::string, std::string>>{
           {"superblock", dump(superblock)},
           {"descriptor", dump(descriptor)},
           {"record key", dump(record_key(uuid, record.segment, record.slot))},
           {"record value", dump(encode(record, uuid))}}) {
    EXPECT_NE(document.find("```\n" + bytes + "```"), std::string::npos)
        << "docs/format.md lacks this " << what << ":\n"
        << bytes;
  }
}

TEST(NvmeFormat, WhatIsEncodedIsDecoded) {
  Page page;
  encode(example_superblock(), page);
  Superblock superblock;
  EXPECT_EQ(decode(page, superblock), PageState::kValid);
  EXPECT_EQ(superblock, example_superblock());
  encode(example_descriptor(), page);
  SegmentDescriptor descriptor;
  EXPECT_EQ(decode(page, superblock, 2, descriptor), PageState::kValid);
  EXPECT_EQ(descriptor, example_descriptor());
  EXPECT_EQ(decode(page, superblock, 1, descriptor), PageState::kDamaged) << "of another segment";
  ChunkRecord record;
  const std::string key = record_key(superblock.uuid, 2, 5);
  ASSERT_TRUE(decode(key, encode(example_record(), superblock.uuid), superblock.uuid, record));
  EXPECT_EQ(record, example_record());
  DeviceRecord device, found;
  device.wall_seconds = 9;
  device.hours[3] = 77;
  ASSERT_TRUE(decode(device_record_key(superblock.uuid), encode(device, superblock.uuid),
                     superblock.uuid, found));
  EXPECT_EQ(found, device);
}

TEST(NvmeFormat, AnyFlippedBitIsSeen) {
  Page page;
  encode(example_superblock(), page);
  Superblock superblock;
  for (size_t bit = 0; bit < page.size() * 8; ++bit) {
    Page damaged = page;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_NE(decode(damaged, superblock), PageState::kValid) << "bit " << bit;
  }
  const Uuid uuid = example_superblock().uuid;
  const std::string key = record_key(uuid, 2, 5), value = encode(example_record(), uuid);
  ChunkRecord record;
  for (size_t bit = 0; bit < value.size() * 8; ++bit) {
    std::string damaged = value;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    ASSERT_FALSE(decode(key, damaged, uuid, record)) << "bit " << bit;
  }
  EXPECT_FALSE(decode(record_key(uuid, 2, 6), value, uuid, record)) << "under another key";
}

TEST(NvmeFormat, AnotherVersionIsNewerWhateverElseItHas) {
  Page page;
  page.fill(std::byte{0xee});
  std::memcpy(page.data(), &kSuperblockMagic, 8);
  const uint32_t version = 2;
  std::memcpy(page.data() + 8, &version, 4);
  Superblock superblock;
  EXPECT_EQ(decode(page, superblock), PageState::kNewer);
  page.fill(std::byte{0});
  EXPECT_EQ(decode(page, superblock), PageState::kBlank);
  page[4000] = std::byte{1};
  EXPECT_EQ(decode(page, superblock), PageState::kForeign);
}

TEST(NvmeFormat, APlanFillsTheSlabAndNoMore) {
  for (const uint64_t capacity :
       {wire::MiB + 3 * kPage, 10 * wire::MiB, 3 * wire::GiB, uint64_t{60} << 40}) {
    const Result<Superblock> plan = plan_slab(capacity, 0);
    ASSERT_TRUE(plan.ok()) << capacity;
    EXPECT_LE(plan->segment_offset(plan->segments), capacity);
    EXPECT_GT(plan->segment_offset(plan->segments) + plan->segment_bytes + kPage, capacity);
  }
  EXPECT_EQ(plan_slab(wire::MiB, 0).code(), Code::kInvalidArgument);
  EXPECT_EQ(plan_slab(0, 0).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace kvtier::daemon::nvme
