// The vector operations with 16-byte vectors, for every x86-64-v2 processor.
#include "kernels/vector_kernels.hpp"

#if XXH_VECTOR != XXH_SSE2
#error "this file must be compiled for the baseline"
#endif

namespace kvtier::kernels::detail {
namespace {

struct Vector128 {
  static constexpr size_t kParts = 4;  // of 16 bytes
  struct Stripe {
    __m128i v[kParts];
  };
  struct Lanes {
    __m128i v[kParts];
  };

  KVTIER_IN_REGISTERS static Stripe load(const std::byte* from) {
    Stripe stripe;
    for (size_t i = 0; i < kParts; ++i) {
      stripe.v[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from) + i);
      __asm__ volatile("" : "+x"(stripe.v[i]));
    }
    return stripe;
  }
  KVTIER_IN_REGISTERS static void store(std::byte* to, Stripe stripe) {
    for (size_t i = 0; i < kParts; ++i) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to) + i, stripe.v[i]);
    }
  }
  KVTIER_IN_REGISTERS static void stream(std::byte* to, Stripe stripe) {
    for (size_t i = 0; i < kParts; ++i) {
      _mm_stream_si128(reinterpret_cast<__m128i*>(to) + i, stripe.v[i]);
    }
  }
  KVTIER_IN_REGISTERS static Lanes load_lanes(const uint64_t* from) {
    Lanes lanes;
    for (size_t i = 0; i < kParts; ++i) {
      lanes.v[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from) + i);
    }
    return lanes;
  }
  KVTIER_IN_REGISTERS static void store_lanes(uint64_t* to, Lanes lanes) {
    for (size_t i = 0; i < kParts; ++i) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to) + i, lanes.v[i]);
    }
  }

  KVTIER_IN_REGISTERS static Lanes accumulate(Lanes lanes, Stripe stripe,
                                              const unsigned char* secret) {
    for (size_t i = 0; i < kParts; ++i) {
      const __m128i keyed = _mm_xor_si128(stripe.v[i], part(secret, i));
      const __m128i product = _mm_mul_epu32(keyed, _mm_srli_epi64(keyed, 32));
      // Data goes to the neighbour lane: the halves of each 16 bytes change places.
      const __m128i swapped = _mm_shuffle_epi32(stripe.v[i], 0x4E);
      lanes.v[i] = _mm_add_epi64(product, _mm_add_epi64(lanes.v[i], swapped));
    }
    return lanes;
  }

  KVTIER_IN_REGISTERS static Lanes scramble(Lanes lanes, const unsigned char* secret) {
    const __m128i prime = _mm_set1_epi32(static_cast<int>(0x9E3779B1U));
    for (size_t i = 0; i < kParts; ++i) {
      __m128i x = _mm_xor_si128(lanes.v[i], _mm_srli_epi64(lanes.v[i], 47));
      x = _mm_xor_si128(x, part(secret, i));
      const __m128i high = _mm_mul_epu32(_mm_srli_epi64(x, 32), prime);
      lanes.v[i] = _mm_add_epi64(_mm_mul_epu32(x, prime), _mm_slli_epi64(high, 32));
    }
    return lanes;
  }

 private:
  KVTIER_IN_REGISTERS static __m128i part(const unsigned char* secret, size_t i) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(secret) + i);
  }
};

}  // namespace

constinit const Operations kOperationsBaseline = make_operations<Vector128>(Isa::kBaseline);

}  // namespace kvtier::kernels::detail
