// XXH3-128 with a secret: the same numbers as the installed library on every level.
#include "kernels/hash.hpp"

#include <thread>

#include "tests/kernels/reference.hpp"

namespace kvtier::kernels::testing {
namespace {

class KernelHash : public OnEveryIsa {};

Hash128 library(const void* data, size_t bytes, const void* secret, size_t secret_bytes) {
  const XXH128_hash_t hash = XXH3_128bits_withSecret(data, bytes, secret, secret_bytes);
  return {hash.low64, hash.high64};
}

TEST_P(KernelHash, EqualsTheLibraryForEveryLengthUpToSomeKiB) {
  GuardedBuffer secret(kSecretBytes, 1);
  secret.fill(9);
  for (size_t bytes = 0; bytes <= 4200; bytes += bytes < 1100 ? 1 : 61) {
    GuardedBuffer data(bytes, bytes % 64);
    data.fill(4);
    for (size_t secret_bytes : {kSecretBytesMin, kSecretBytesMin + 1, kSecretBytes}) {
      ASSERT_EQ(hash128_with_secret(data.data(), bytes, secret.data(), secret_bytes),
                library(data.data(), bytes, secret.data(), secret_bytes))
          << bytes << " bytes, secret of " << secret_bytes;
    }
  }
}

TEST_P(KernelHash, SecretMatters) {
  GuardedBuffer data(1040);
  data.fill(4);
  GuardedBuffer secret(kSecretBytes);
  secret.fill(9);
  const Hash128 one = hash128_with_secret(data.data(), 1040, secret.data(), kSecretBytes);
  secret.fill(10);
  EXPECT_FALSE(hash128_with_secret(data.data(), 1040, secret.data(), kSecretBytes) == one);
}

TEST_P(KernelHash, BatchIsOneHashPerInputAtItsStride) {
  GuardedBuffer secret(kSecretBytes);
  secret.fill(9);
  GuardedBuffer data(5000, 3);
  data.fill(5);
  constexpr size_t kStrides[] = {0, 16, 100, 128};  // 0, 16: inputs overlap
  for (size_t stride : kStrides) {
    Hash128 out[31];
    for (Hash128& hash : out) hash = {1, 1};
    hash128_batch({data.data(), stride, 100, 30}, secret.data(), kSecretBytes, out);
    for (size_t i = 0; i < 30; ++i) {
      ASSERT_EQ(out[i], library(data.data() + i * stride, 100, secret.data(), kSecretBytes));
    }
    EXPECT_EQ(out[30], (Hash128{1, 1})) << "written past the count";
  }
  hash128_batch({nullptr, 64, 64, 0}, secret.data(), kSecretBytes, nullptr);
}

// On a stack that is not the main thread's, which sanitizers lay out differently.
TEST_P(KernelHash, WorksInAnyThread) {
  GuardedBuffer secret(kSecretBytes);
  secret.fill(9);
  GuardedBuffer data(1040, 8);
  data.fill(6);
  Hash128 found{};
  std::thread([&] {
    found = hash128_with_secret(data.data(), 1040, secret.data(), kSecretBytes);
  }).join();
  EXPECT_EQ(found, library(data.data(), 1040, secret.data(), kSecretBytes));
}

KVTIER_ON_EVERY_ISA(KernelHash);

TEST(KernelHashDeathTest, ShortSecretIsAProgrammingError) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const char bytes[kSecretBytes] = {};
  Hash128 out;
  EXPECT_DEATH((void)hash128_with_secret(bytes, 10, bytes, kSecretBytesMin - 1), "");
  EXPECT_DEATH(hash128_batch({bytes, 1, 1, 1}, bytes, 0, &out), "");
}

}  // namespace
}  // namespace kvtier::kernels::testing
