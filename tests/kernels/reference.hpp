// Scalar references of the kernels, byte by byte, and what the tests of kernels/ share: buffers
// that notice a byte out of place, payloads that are a function of the index, printed seeds.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/checksum.hpp"
#include "kernels/copy.hpp"
#include "kernels/cpu.hpp"

namespace kvtier::kernels::testing {

// Byte i of test payload number `salt`. No short period.
inline std::byte pattern(uint64_t i, uint64_t salt = 0) {
  const uint64_t mixed = (i + salt * 0x10001) * 0x9E3779B97F4A7C15ULL;
  return static_cast<std::byte>(mixed >> 56);
}

inline constexpr std::byte kPoison{0xA5};

// `bytes` bytes at an address that is `skew` modulo 64, as near as that allows to a page that may
// not be touched (within 64 bytes), and poison all around. New buffers are all poison.
class GuardedBuffer {
 public:
  explicit GuardedBuffer(size_t bytes, size_t skew = 0) : bytes_(bytes) {
    const size_t room = (bytes + 256 + kPage - 1) / kPage * kPage;
    mapped_bytes_ = room + 2 * kPage;
    void* memory = mmap(nullptr, mapped_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    mapping_ = static_cast<std::byte*>(memory);
    first_ = mapping_ + kPage;
    end_ = first_ + room;
    if (mprotect(first_, room, PROT_READ | PROT_WRITE) != 0) std::abort();
    std::memset(first_, std::to_integer<int>(kPoison), room);
    data_ = end_ - bytes;
    data_ -= (reinterpret_cast<uintptr_t>(data_) - skew) % 64;
  }
  ~GuardedBuffer() { munmap(mapping_, mapped_bytes_); }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  std::byte* data() { return data_; }
  size_t size() const { return bytes_; }
  std::byte& operator[](size_t i) { return data_[i]; }

  void fill(uint64_t salt) {
    for (size_t i = 0; i < bytes_; ++i) data_[i] = pattern(i, salt);
  }
  void poison() {
    if (bytes_ > 0) std::memset(data_, std::to_integer<int>(kPoison), bytes_);
  }

  // Nothing outside [data, data + bytes) was written.
  bool surroundings_untouched() const {
    for (const std::byte* at = first_; at < data_; ++at) {
      if (*at != kPoison) return false;
    }
    for (const std::byte* at = data_ + bytes_; at < end_; ++at) {
      if (*at != kPoison) return false;
    }
    return true;
  }

 private:
  static constexpr size_t kPage = 4096;
  size_t bytes_;
  size_t mapped_bytes_ = 0;
  std::byte* mapping_ = nullptr;
  std::byte* first_ = nullptr;
  std::byte* end_ = nullptr;
  std::byte* data_ = nullptr;
};

inline void reference_copy(std::byte* target, const std::byte* source, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) target[i] = source[i];
}

// The definition in kernels/checksum.hpp, by the installed library and not by our own XXH3.
inline uint64_t reference_root(const std::byte* payload, uint64_t bytes) {
  std::vector<uint64_t> message;
  for (uint64_t at = 0; at < bytes; at += kPieceBytes) {
    message.push_back(XXH3_64bits(payload + at, std::min<uint64_t>(kPieceBytes, bytes - at)));
  }
  message.push_back(bytes);
  return XXH3_64bits(message.data(), message.size() * sizeof(uint64_t));
}

inline void reference_gather(std::byte* payload, const std::vector<ConstFragment>& sources) {
  for (const ConstFragment& source : sources) {
    for (size_t i = 0; i < source.bytes; ++i) *payload++ = source.data[i];
  }
}

inline void reference_scatter(const std::vector<Fragment>& targets, const std::byte* payload) {
  for (const Fragment& target : targets) {
    for (size_t i = 0; i < target.bytes; ++i) target.data[i] = *payload++;
  }
}

// From KVTIER_TEST_SEED when set; printed, so that a failure can be played again.
inline std::mt19937_64 seeded_random() {
  const char* given = std::getenv("KVTIER_TEST_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
  std::printf("seed: KVTIER_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  ::testing::Test::RecordProperty("seed", std::to_string(seed));
  return std::mt19937_64(seed);
}

inline size_t below(std::mt19937_64& random, size_t bound) {
  return static_cast<size_t>(random() % bound);
}

// Runs a test on each level; says which it could not run on.
class OnEveryIsa : public ::testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!force_isa(GetParam())) {
      GTEST_SKIP() << "not tested: this machine has no " << isa_name(GetParam());
    }
  }
};

inline std::string isa_test_name(const ::testing::TestParamInfo<Isa>& info) {
  return isa_name(info.param);
}

}  // namespace kvtier::kernels::testing

#define KVTIER_ON_EVERY_ISA(Suite)                                                             \
  INSTANTIATE_TEST_SUITE_P(                                                                    \
      Isa, Suite,                                                                              \
      ::testing::Values(::kvtier::kernels::Isa::kBaseline, ::kvtier::kernels::Isa::kAvx2,      \
                        ::kvtier::kernels::Isa::kAvx512, ::kvtier::kernels::Isa::kAvx512Bf16), \
      ::kvtier::kernels::testing::isa_test_name)
