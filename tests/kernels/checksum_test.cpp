// The checksum tree: the definition, a worked example in bytes, parts of any size, refusals.
#include "kernels/checksum.hpp"

#include <array>
#include <thread>

#include "tests/kernels/reference.hpp"

namespace kvtier::kernels::testing {
namespace {

class KernelChecksum : public OnEveryIsa {};

uint64_t stream(const std::byte* data, size_t bytes, size_t part_bytes_max,
                std::mt19937_64& random) {
  ChecksumTree tree(bytes);
  size_t done = 0;
  while (done < bytes) {
    const size_t part = std::min(bytes - done, 1 + below(random, part_bytes_max));
    EXPECT_TRUE(tree.update(data + done, part));
    done += part;
    EXPECT_EQ(tree.missing_bytes(), bytes - done);
  }
  uint64_t root = 0;
  EXPECT_TRUE(tree.root(&root));
  return root;
}

// docs/kernels.md, "Worked example". These bytes are the format: they never change.
TEST_P(KernelChecksum, WorkedExample) {
  EXPECT_EQ(hash_only(nullptr, 0), 0xc77b3abb6f87acd9ULL);

  const char text[] = "kvtier";
  const auto* short_payload = reinterpret_cast<const std::byte*>(text);
  EXPECT_EQ(piece_hash(short_payload, 6), 0xa1669530aa735bceULL);
  EXPECT_EQ(hash_only(short_payload, 6), 0x49b99d816c8eac25ULL);

  std::vector<std::byte> payload(100000);
  for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<std::byte>(i * 31 + i / 256);
  const std::array<uint64_t, 2> pieces = {piece_hash(payload.data(), 65536),
                                          piece_hash(payload.data() + 65536, 34464)};
  EXPECT_EQ(pieces[0], 0x4337fbce6c5dd9edULL);
  EXPECT_EQ(pieces[1], 0xee8136f0309b27a9ULL);
  uint64_t root = 0;
  EXPECT_TRUE(root_of(pieces, 100000, &root));
  EXPECT_EQ(root, 0x13dd9ff9020902fbULL);
  EXPECT_EQ(hash_only(payload.data(), 100000), root);

  // The message that the root is the hash of.
  constexpr unsigned char kMessage[24] = {0xed, 0xd9, 0x5d, 0x6c, 0xce, 0xfb, 0x37, 0x43,
                                          0xa9, 0x27, 0x9b, 0x30, 0xf0, 0x36, 0x81, 0xee,
                                          0xa0, 0x86, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00};
  EXPECT_EQ(XXH3_64bits(kMessage, sizeof kMessage), root);
}

TEST_P(KernelChecksum, PieceHashEqualsTheLibraryForEveryLength) {
  for (size_t bytes = 0; bytes <= kPieceBytes; bytes += bytes < 3300 ? 1 : 997) {
    GuardedBuffer data(bytes, bytes % 64);
    data.fill(bytes);
    ASSERT_EQ(piece_hash(data.data(), bytes), XXH3_64bits(data.data(), bytes)) << bytes;
  }
  GuardedBuffer data(kPieceBytes);
  data.fill(1);
  for (size_t bytes = kPieceBytes - 200; bytes <= kPieceBytes; ++bytes) {
    ASSERT_EQ(piece_hash(data.data(), bytes), XXH3_64bits(data.data(), bytes)) << bytes;
  }
}

TEST_P(KernelChecksum, RootIsTheSameHoweverThePayloadIsCut) {
  std::mt19937_64 random = seeded_random();
  for (int round = 0; round < 40; ++round) {
    // 31 and more pieces make the root's own message longer than the short form of XXH3.
    const size_t bytes = below(random, round % 4 == 0 ? 3000000 : 200000);
    GuardedBuffer data(bytes, below(random, 64));
    data.fill(random());
    const uint64_t expected = reference_root(data.data(), bytes);
    ASSERT_EQ(hash_only(data.data(), bytes), expected) << bytes;
    for (size_t part : {size_t{1000}, size_t{64}, size_t{100000}, size_t{5000000}}) {
      ASSERT_EQ(stream(data.data(), bytes, part, random), expected) << bytes << " by " << part;
    }
  }
}

TEST_P(KernelChecksum, ByteByByteAroundEveryEdge) {
  GuardedBuffer data(kPieceBytes + 300);
  data.fill(6);
  std::mt19937_64 one(1);
  for (size_t bytes : {1U, 63U, 64U, 65U, 240U, 241U, 255U, 256U, 1024U, 1025U, 1087U, 1088U}) {
    ASSERT_EQ(stream(data.data(), bytes, 1, one), reference_root(data.data(), bytes)) << bytes;
  }
  for (size_t bytes : {kPieceBytes - 1, kPieceBytes, kPieceBytes + 1, kPieceBytes + 300}) {
    ASSERT_EQ(stream(data.data(), bytes, 3, one), reference_root(data.data(), bytes)) << bytes;
  }
}

TEST_P(KernelChecksum, TheLengthIsPartOfTheRoot) {
  const std::array<uint64_t, 1> hashes = {42};
  uint64_t one = 0, other = 0;
  ASSERT_TRUE(root_of(hashes, 100, &one));
  ASSERT_TRUE(root_of(hashes, 101, &other));
  EXPECT_NE(one, other);
}

TEST_P(KernelChecksum, EveryFlippedBitChangesTheRoot) {
  constexpr size_t kBytes = kPieceBytes + 777;
  GuardedBuffer data(kBytes);
  data.fill(8);
  const uint64_t right = hash_only(data.data(), kBytes);
  std::mt19937_64 random = seeded_random();
  for (int round = 0; round < 300; ++round) {
    const size_t at = round < 100 ? kBytes - 1 - static_cast<size_t>(round) : below(random, kBytes);
    const std::byte bit{static_cast<unsigned char>(1U << below(random, 8))};
    data[at] ^= bit;
    ASSERT_NE(hash_only(data.data(), kBytes), right) << at;
    data[at] ^= bit;
  }
}

TEST_P(KernelChecksum, RefusesWhatDoesNotAddUp) {
  std::byte data[100] = {};
  ChecksumTree tree(99);
  uint64_t root = 7;
  EXPECT_FALSE(tree.update(data, 100));
  EXPECT_TRUE(tree.update(data, 98));
  EXPECT_FALSE(tree.root(&root)) << "one byte is missing";
  EXPECT_FALSE(tree.update(data, 2));
  EXPECT_FALSE(tree.copy_update(data, data, 2, StoreKind::kTemporal));
  EXPECT_EQ(root, 7U);
  EXPECT_TRUE(tree.update(data, 1));
  EXPECT_TRUE(tree.root(&root));
  EXPECT_EQ(root, reference_root(data, 99));

  const std::array<uint64_t, 2> two = {1, 2};
  root = 7;
  EXPECT_FALSE(root_of(two, 65536, &root));
  EXPECT_FALSE(root_of(two, 131073, &root));
  EXPECT_FALSE(root_of(two, 0, &root));
  EXPECT_EQ(root, 7U);
  EXPECT_TRUE(root_of(two, 65537, &root));
  EXPECT_TRUE(root_of(two, 131072, &root));
}

KVTIER_ON_EVERY_ISA(KernelChecksum);

TEST(KernelChecksum, CountsPieces) {
  EXPECT_EQ(piece_count(0), 0U);
  EXPECT_EQ(piece_count(1), 1U);
  EXPECT_EQ(piece_count(65536), 1U);
  EXPECT_EQ(piece_count(65537), 2U);
  EXPECT_EQ(piece_count(UINT64_MAX), uint64_t{1} << 48);
}

TEST(KernelChecksum, ThreadsMaySharePiecesOfOnePayload) {
  constexpr size_t kThreads = 4;
  constexpr size_t kShare = 3 * kPieceBytes;
  constexpr size_t kBytes = kThreads * kShare - 1000;
  GuardedBuffer source(kBytes, 3);
  source.fill(11);
  GuardedBuffer target(kBytes);
  std::vector<uint64_t> hashes(piece_count(kBytes));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      const size_t at = i * kShare;
      const size_t bytes = std::min(kShare, kBytes - at);
      EXPECT_TRUE(copy_and_hash_pieces(target.data() + at, source.data() + at, bytes,
                                       std::span(hashes).subspan(3 * i, 3)));
    });
  }
  for (std::thread& thread : threads) thread.join();
  uint64_t root = 0;
  ASSERT_TRUE(root_of(hashes, kBytes, &root));
  EXPECT_EQ(root, reference_root(source.data(), kBytes));
  EXPECT_EQ(std::memcmp(target.data(), source.data(), kBytes), 0);
}

}  // namespace
}  // namespace kvtier::kernels::testing
