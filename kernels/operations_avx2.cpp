// The vector operations with 32-byte vectors. Compiled for x86-64-v3; called only after dispatch.
#include "kernels/vector_kernels.hpp"

#if XXH_VECTOR != XXH_AVX2
#error "this file must be compiled with AVX2"
#endif

namespace kvtier::kernels::detail {
namespace {

struct Vector256 {
  static constexpr size_t kParts = 2;  // of 32 bytes
  struct Stripe {
    __m256i v[kParts];
  };
  struct Lanes {
    __m256i v[kParts];
  };

  KVTIER_IN_REGISTERS static Stripe load(const std::byte* from) {
    Stripe stripe;
    for (size_t i = 0; i < kParts; ++i) {
      stripe.v[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from) + i);
      __asm__ volatile("" : "+x"(stripe.v[i]));
    }
    return stripe;
  }
  KVTIER_IN_REGISTERS static void store(std::byte* to, Stripe stripe) {
    for (size_t i = 0; i < kParts; ++i) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to) + i, stripe.v[i]);
    }
  }
  KVTIER_IN_REGISTERS static void stream(std::byte* to, Stripe stripe) {
    for (size_t i = 0; i < kParts; ++i) {
      _mm256_stream_si256(reinterpret_cast<__m256i*>(to) + i, stripe.v[i]);
    }
  }
  KVTIER_IN_REGISTERS static Lanes load_lanes(const uint64_t* from) {
    Lanes lanes;
    for (size_t i = 0; i < kParts; ++i) {
      lanes.v[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from) + i);
    }
    return lanes;
  }
  KVTIER_IN_REGISTERS static void store_lanes(uint64_t* to, Lanes lanes) {
    for (size_t i = 0; i < kParts; ++i) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to) + i, lanes.v[i]);
    }
  }

  KVTIER_IN_REGISTERS static Lanes accumulate(Lanes lanes, Stripe stripe,
                                              const unsigned char* secret) {
    for (size_t i = 0; i < kParts; ++i) {
      const __m256i keyed = _mm256_xor_si256(stripe.v[i], part(secret, i));
      const __m256i product = _mm256_mul_epu32(keyed, _mm256_srli_epi64(keyed, 32));
      // Data goes to the neighbour lane: the halves of each 16 bytes change places.
      const __m256i swapped = _mm256_shuffle_epi32(stripe.v[i], 0x4E);
      lanes.v[i] = _mm256_add_epi64(product, _mm256_add_epi64(lanes.v[i], swapped));
    }
    return lanes;
  }

  KVTIER_IN_REGISTERS static Lanes scramble(Lanes lanes, const unsigned char* secret) {
    const __m256i prime = _mm256_set1_epi32(static_cast<int>(0x9E3779B1U));
    for (size_t i = 0; i < kParts; ++i) {
      __m256i x = _mm256_xor_si256(lanes.v[i], _mm256_srli_epi64(lanes.v[i], 47));
      x = _mm256_xor_si256(x, part(secret, i));
      const __m256i high = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), prime);
      lanes.v[i] = _mm256_add_epi64(_mm256_mul_epu32(x, prime), _mm256_slli_epi64(high, 32));
    }
    return lanes;
  }

 private:
  KVTIER_IN_REGISTERS static __m256i part(const unsigned char* secret, size_t i) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(secret) + i);
  }
};

}  // namespace

constinit const Operations kOperationsAvx2 = make_operations<Vector256>(Isa::kAvx2);

}  // namespace kvtier::kernels::detail
