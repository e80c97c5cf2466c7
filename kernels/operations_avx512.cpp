// The vector operations with 64-byte vectors. Compiled for x86-64-v4; called only after dispatch.
#include "kernels/vector_kernels.hpp"

#if XXH_VECTOR != XXH_AVX512
#error "this file must be compiled with AVX-512"
#endif

namespace kvtier::kernels::detail {
namespace {

struct Vector512 {
  struct Stripe {
    __m512i v;
  };
  struct Lanes {
    __m512i v;
  };

  KVTIER_IN_REGISTERS static Stripe load(const std::byte* from) {
    __m512i v = _mm512_loadu_si512(from);
    __asm__ volatile("" : "+v"(v));
    return {v};
  }
  KVTIER_IN_REGISTERS static void store(std::byte* to, Stripe stripe) {
    _mm512_storeu_si512(to, stripe.v);
  }
  KVTIER_IN_REGISTERS static void stream(std::byte* to, Stripe stripe) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), stripe.v);
  }
  KVTIER_IN_REGISTERS static Lanes load_lanes(const uint64_t* from) {
    return {_mm512_loadu_si512(from)};
  }
  KVTIER_IN_REGISTERS static void store_lanes(uint64_t* to, Lanes lanes) {
    _mm512_storeu_si512(to, lanes.v);
  }

  KVTIER_IN_REGISTERS static Lanes accumulate(Lanes lanes, Stripe stripe,
                                              const unsigned char* secret) {
    const __m512i keyed = _mm512_xor_si512(stripe.v, _mm512_loadu_si512(secret));
    const __m512i product = _mm512_mul_epu32(keyed, _mm512_srli_epi64(keyed, 32));
    // Data goes to the neighbour lane: the halves of each 16 bytes change places.
    const __m512i swapped = _mm512_shuffle_epi32(stripe.v, _MM_PERM_BADC);
    return {_mm512_add_epi64(product, _mm512_add_epi64(lanes.v, swapped))};
  }

  KVTIER_IN_REGISTERS static Lanes scramble(Lanes lanes, const unsigned char* secret) {
    const __m512i prime = _mm512_set1_epi32(static_cast<int>(0x9E3779B1U));
    __m512i x = _mm512_xor_si512(lanes.v, _mm512_srli_epi64(lanes.v, 47));
    x = _mm512_xor_si512(x, _mm512_loadu_si512(secret));
    const __m512i high = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), prime);
    return {_mm512_add_epi64(_mm512_mul_epu32(x, prime), _mm512_slli_epi64(high, 32))};
  }
};

}  // namespace

constinit const Operations kOperationsAvx512 = make_operations<Vector512>(Isa::kAvx512);
constinit const Operations kOperationsAvx512Bf16 = make_operations<Vector512>(Isa::kAvx512Bf16);

}  // namespace kvtier::kernels::detail
