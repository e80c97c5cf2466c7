// Contiguous copies: exact bytes at every alignment, nothing outside the target, and a checksum of
// what was stored.
#include "kernels/copy.hpp"

#include <atomic>
#include <functional>
#include <thread>

#include "kernels/limits.hpp"
#include "tests/kernels/reference.hpp"

namespace kvtier::kernels::testing {
namespace {

class KernelCopy : public OnEveryIsa {};

using Copier = std::function<void(std::byte*, const std::byte*, size_t)>;

// The root of what a checksummed copier copied is compared where it is made.
std::vector<std::pair<const char*, Copier>> copiers() {
  const auto hashed = [](StoreKind store) {
    return [store](std::byte* target, const std::byte* source, size_t bytes) {
      const uint64_t expected = reference_root(source, bytes);
      EXPECT_EQ(copy_and_hash(target, source, bytes, {.store = store}), expected);
    };
  };
  const auto pieces = [](std::byte* target, const std::byte* source, size_t bytes) {
    std::vector<uint64_t> hashes(piece_count(bytes));
    uint64_t root = 0;
    EXPECT_TRUE(
        copy_and_hash_pieces(target, source, bytes, hashes, {.store = StoreKind::kStreaming}));
    EXPECT_TRUE(root_of(hashes, bytes, &root));
    EXPECT_EQ(root, reference_root(source, bytes));
  };
  const auto limit = [](CopyLimit kind) {
    return [kind](std::byte* target, const std::byte* source, size_t bytes) {
      copy_block_limit(kind, target, source, bytes);
    };
  };
  const auto by_size = [](std::byte* target, const std::byte* source, size_t bytes) {
    copy(target, source, bytes, {.temporal_bytes_max = 1000});
  };
  return {{"plain", copy_plain},
          {"stream", copy_stream},
          {"by size", by_size},
          {"hashed, temporal", hashed(StoreKind::kTemporal)},
          {"hashed, streaming", hashed(StoreKind::kStreaming)},
          {"hashed, by size", hashed(StoreKind::kBySize)},
          {"pieces", pieces},
          {"limit memcpy", limit(CopyLimit::kMemcpy)},
          {"limit non-temporal", limit(CopyLimit::kNonTemporal)}};
}

void check_copy(size_t bytes, size_t source_skew, size_t target_skew) {
  GuardedBuffer source(bytes, source_skew);
  source.fill(bytes);
  GuardedBuffer expected(bytes);
  reference_copy(expected.data(), source.data(), bytes);
  GuardedBuffer target(bytes, target_skew);
  for (const auto& [name, copier] : copiers()) {
    SCOPED_TRACE(name);
    target.poison();
    copier(target.data(), source.data(), bytes);
    ASSERT_TRUE(bytes == 0 || std::memcmp(target.data(), expected.data(), bytes) == 0);
    ASSERT_TRUE(target.surroundings_untouched());
  }
}

TEST_P(KernelCopy, EveryShortLengthAtSomeAlignments) {
  for (size_t bytes = 0; bytes <= 400; ++bytes) {
    SCOPED_TRACE(bytes);
    check_copy(bytes, bytes * 7 % 64, bytes * 13 % 64);
    if (HasFatalFailure()) return;
  }
}

TEST_P(KernelCopy, EveryAlignmentOfSourceAndTarget) {
  for (size_t skew = 0; skew < 64; ++skew) {
    SCOPED_TRACE(skew);
    check_copy(5000 + skew, skew, 0);
    check_copy(5000 + skew, 0, skew);
    check_copy(5000, skew, (skew * 5 + 1) % 64);
    if (HasFatalFailure()) return;
  }
}

TEST_P(KernelCopy, LengthsAroundStepsAndPieces) {
  for (size_t edge : {size_t{1024}, size_t{4096}, kPieceBytes, 3 * kPieceBytes}) {
    for (size_t bytes : {edge - 65, edge - 64, edge - 1, edge, edge + 1, edge + 64, edge + 65}) {
      SCOPED_TRACE(bytes);
      check_copy(bytes, 0, 0);
      check_copy(bytes, 8, 40);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(KernelCopy, RandomLengthsAndAlignments) {
  std::mt19937_64 random = seeded_random();
  for (int round = 0; round < 60; ++round) {
    const size_t bytes = below(random, 1 + (size_t{1} << (4 + below(random, 16))));
    SCOPED_TRACE(bytes);
    check_copy(bytes, below(random, 64), below(random, 64));
    if (HasFatalFailure()) return;
  }
}

TEST_P(KernelCopy, NothingToCopyMayBeNull) {
  for (const auto& [name, copier] : copiers()) {
    if (std::string(name).starts_with("hashed") || std::string(name) == "pieces") continue;
    copier(nullptr, nullptr, 0);
  }
  EXPECT_EQ(copy_and_hash(nullptr, nullptr, 0), reference_root(nullptr, 0));
  EXPECT_TRUE(copy_and_hash_pieces(nullptr, nullptr, 0, {}));
}

TEST_P(KernelCopy, PiecesRefuseAWrongNumberOfHashes) {
  GuardedBuffer source(kPieceBytes + 1);
  GuardedBuffer target(kPieceBytes + 1);
  source.fill(1);
  std::vector<uint64_t> hashes(3);
  EXPECT_FALSE(copy_and_hash_pieces(target.data(), source.data(), kPieceBytes + 1, hashes));
  EXPECT_FALSE(copy_and_hash_pieces(target.data(), source.data(), kPieceBytes + 1,
                                    std::span(hashes).first(1)));
  EXPECT_EQ(target[0], kPoison);
}

// The promise of copy.hpp: a source that changes under the copy gives some mixture, but the root is
// the root of the mixture that was stored. Not under TSan, which would rightly call it a race.
#if !defined(__SANITIZE_THREAD__)
TEST_P(KernelCopy, TheRootIsOfTheBytesStoredEvenWhileTheSourceChanges) {
  constexpr size_t kBytes = 2 * kPieceBytes + 1234;
  for (size_t target_skew : {size_t{0}, size_t{24}}) {
    GuardedBuffer source(kBytes, 8);
    source.fill(1);
    GuardedBuffer target(kBytes, target_skew);
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> passes{0};
    std::thread writer([&] {
      for (unsigned char value = 0; !stop.load(std::memory_order_relaxed); ++value) {
        volatile unsigned char* bytes = reinterpret_cast<unsigned char*>(source.data());
        for (size_t i = 0; i < kBytes; i += 61) bytes[i] = value;
        passes.fetch_add(1, std::memory_order_relaxed);
      }
    });
    while (passes.load(std::memory_order_relaxed) == 0) std::this_thread::yield();
    for (int round = 0; round < 150; ++round) {
      const StoreKind store = round % 2 == 0 ? StoreKind::kStreaming : StoreKind::kTemporal;
      const uint64_t root = copy_and_hash(target.data(), source.data(), kBytes, {.store = store});
      EXPECT_EQ(root, reference_root(target.data(), kBytes));
      uint64_t scattered = 0;
      // Alternately two large fragments and many that are smaller than a stripe.
      const size_t fragment_bytes = round % 4 < 2 ? 70001 : 40;
      std::vector<Fragment> parts;
      for (size_t at = 0; at < kBytes; at += fragment_bytes) {
        parts.push_back({target.data() + at, std::min(fragment_bytes, kBytes - at)});
      }
      EXPECT_TRUE(scatter_and_hash(parts, source.data(), kBytes, &scattered, {.store = store}));
      EXPECT_EQ(scattered, reference_root(target.data(), kBytes));
      if (HasFailure()) break;
    }
    stop.store(true, std::memory_order_relaxed);
    writer.join();
  }
}
#endif

KVTIER_ON_EVERY_ISA(KernelCopy);

TEST(KernelLimits, HaveNames) {
  EXPECT_STREQ(copy_limit_name(CopyLimit::kMemcpy), "memcpy");
  EXPECT_STREQ(copy_limit_name(CopyLimit::kNonTemporal), "non_temporal");
}

}  // namespace
}  // namespace kvtier::kernels::testing
