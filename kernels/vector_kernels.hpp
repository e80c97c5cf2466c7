// The bodies of the vector operations, written once over a `Vector` of 64 bytes and compiled in
// operations_baseline.cpp, operations_avx2.cpp and operations_avx512.cpp. Internal to these three.
//
// Everything is in an unnamed namespace, and nothing inline of the standard library is called: the
// linker must never use code compiled here for a higher level in place of the baseline's.
//
// A Vector type has, all static:
//   Stripe load(p)           64 bytes from any address, made opaque to the compiler so that it can
//                            never read the source a second time
//   store(p, stripe)         any address            stream(p, stripe)   64-byte aligned address
//   Lanes load_lanes(p), store_lanes(p, lanes)   any address
//   Lanes accumulate(lanes, stripe, secret), scramble(lanes, secret)   steps of XXH3
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/dispatch.hpp"
#include "kernels/xxh3_stream.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

// A call per stripe would cost more than the hash.
#define KVTIER_IN_REGISTERS [[gnu::always_inline]] inline

namespace kvtier::kernels::detail {
namespace {

enum class Store { kNone, kTemporal, kStreaming };

constexpr size_t kBlockBytes = kStripeBytes * kStripesPerBlock;
// A target that streaming stores cannot reach directly gets its bytes through a buffer of this
// size.
constexpr size_t kBounceBytes = 4096;

size_t smaller(uint64_t a, uint64_t b) {
  return static_cast<size_t>(a < b ? a : b);
}

size_t misalignment(const void* address) {
  return reinterpret_cast<uintptr_t>(address) % kStripeBytes;
}

// Where to prefetch from while the bytes at `source` are read and `left` remain from there. May be
// past the end of what exists: a prefetch of such an address does nothing.
const char* prefetch_from(const std::byte* source, uint64_t left, const std::byte* next) {
  uintptr_t at = reinterpret_cast<uintptr_t>(source);
  if (left > kPrefetchBytes) {
    at += kPrefetchBytes;
  } else if (next != nullptr) {
    at = reinterpret_cast<uintptr_t>(next) + (kPrefetchBytes - left);
  }
  return reinterpret_cast<const char*>(at);
}

// Stripes [first, first + count) of a block through the lanes. None of them is the message's last.
template <typename Vector, Store kStore>
KVTIER_IN_REGISTERS typename Vector::Lanes run_stripes(typename Vector::Lanes lanes,
                                                       std::byte* target, const std::byte* source,
                                                       size_t first, size_t count,
                                                       const char* ahead) {
  for (size_t i = 0; i < count; ++i) {
    _mm_prefetch(ahead + i * kStripeBytes, _MM_HINT_T0);
    const typename Vector::Stripe stripe = Vector::load(source + i * kStripeBytes);
    if constexpr (kStore == Store::kTemporal) Vector::store(target + i * kStripeBytes, stripe);
    if constexpr (kStore == Store::kStreaming) Vector::stream(target + i * kStripeBytes, stripe);
    lanes = Vector::accumulate(lanes, stripe, XXH3_kSecret + 8 * (first + i));
  }
  return lanes;
}

// `count` whole stripes, the first of which has the number `stripe` in the message.
template <typename Vector, Store kStore>
void absorb_stripes(Xxh3State& state, std::byte* target, const std::byte* source, uint64_t stripe,
                    uint64_t count, const std::byte* next) {
  typename Vector::Lanes lanes = Vector::load_lanes(state.lanes);
  size_t first = stripe % kStripesPerBlock;
  while (count > 0) {
    const char* ahead = prefetch_from(source, count * kStripeBytes, next);
    const size_t run = smaller(kStripesPerBlock - first, count);
    if (run == kStripesPerBlock) {
      lanes = run_stripes<Vector, kStore>(lanes, target, source, 0, kStripesPerBlock, ahead);
    } else {
      lanes = run_stripes<Vector, kStore>(lanes, target, source, first, run, ahead);
    }
    first += run;
    if (first == kStripesPerBlock) {
      lanes = Vector::scramble(lanes, XXH3_kSecret + sizeof XXH3_kSecret - kStripeBytes);
      first = 0;
    }
    source += run * kStripeBytes;
    if constexpr (kStore != Store::kNone) target += run * kStripeBytes;
    count -= run;
  }
  Vector::store_lanes(state.lanes, lanes);
}

// Takes the next bytes up to the end of a stripe (at most `bytes`) into carry, from where they are
// stored and, when the stripe is whole, hashed. Gives the number taken.
template <typename Vector, Store kStore>
size_t absorb_by_carry(Xxh3State& state, std::byte* target, const std::byte* source, size_t bytes) {
  const uint64_t stripe = state.position / kStripeBytes;
  const size_t offset = state.position % kStripeBytes;
  const size_t taken = smaller(kStripeBytes - offset, bytes);
  std::byte* part = state.carry + kStripeBytes + offset;
  std::memcpy(part, source, taken);
  // What was hashed is what is stored: no second read of the source.
  __asm__ volatile("" : : : "memory");
  if constexpr (kStore != Store::kNone) {
    // A temporal store would fetch a line that the next streaming stores would wait for.
    if (kStore == Store::kStreaming && taken == kStripeBytes && misalignment(target) == 0) {
      Vector::stream(target, Vector::load(part));
    } else {
      std::memcpy(target, part, taken);
    }
  }
  state.position += taken;
  if (offset + taken < kStripeBytes) return taken;
  if (stripe + 1 == state.length / kStripeBytes) {
    std::memcpy(state.carry, state.carry + kStripeBytes, kStripeBytes);
  }
  if (stripe < (state.length - 1) / kStripeBytes) {
    absorb_stripes<Vector, Store::kNone>(state, nullptr, state.carry + kStripeBytes, stripe, 1,
                                         nullptr);
  }
  return taken;
}

template <typename Vector>
void copy_stream(std::byte* target, const std::byte* source, size_t bytes, const std::byte* next) {
  const size_t skew = misalignment(target);
  if (skew != 0) {
    const size_t head = smaller(kStripeBytes - skew, bytes);
    std::memcpy(target, source, head);
    target += head;
    source += head;
    bytes -= head;
  }
  while (bytes >= kStripeBytes) {
    const char* ahead = prefetch_from(source, bytes, next);
    const size_t run = smaller(kBlockBytes, bytes - bytes % kStripeBytes);
    for (size_t i = 0; i < run; i += kStripeBytes) {
      _mm_prefetch(ahead + i, _MM_HINT_T0);
      Vector::stream(target + i, Vector::load(source + i));
    }
    target += run;
    source += run;
    bytes -= run;
  }
  if (bytes > 0) std::memcpy(target, source, bytes);
}

// Whole stripes to a target that is not aligned for streaming stores: hashed into a private buffer,
// and from there.
template <typename Vector>
void absorb_stripes_bounced(Xxh3State& state, std::byte* target, const std::byte* source,
                            uint64_t stripe, uint64_t count, const std::byte* next) {
  alignas(kStripeBytes) std::byte bounce[kBounceBytes];
  while (count > 0) {
    const size_t run = smaller(kBounceBytes / kStripeBytes, count);
    const size_t bytes = run * kStripeBytes;
    const std::byte* after = count > run ? source + bytes : next;
    absorb_stripes<Vector, Store::kTemporal>(state, bounce, source, stripe, run, after);
    copy_stream<Vector>(target, bounce, bytes, nullptr);
    target += bytes;
    source += bytes;
    stripe += run;
    count -= run;
  }
}

template <typename Vector, Store kStore>
void absorb_any(Xxh3State& state, std::byte* target, const std::byte* source, size_t bytes,
                const std::byte* next) {
  if (bytes == 0) return;
  if (state.length <= kShortBytesMax) {
    std::byte* part = state.carry + state.position;
    std::memcpy(part, source, bytes);
    __asm__ volatile("" : : : "memory");
    if constexpr (kStore != Store::kNone) std::memcpy(target, part, bytes);
    state.position += bytes;
    return;
  }
  const auto by_carry = [&] {
    const size_t taken = absorb_by_carry<Vector, kStore>(state, target, source, bytes);
    source += taken;
    if constexpr (kStore != Store::kNone) target += taken;
    bytes -= taken;
  };
  if (state.position % kStripeBytes != 0) by_carry();
  const uint64_t stripe = state.position / kStripeBytes;
  const uint64_t last_whole = state.length / kStripeBytes - 1;
  if (stripe < last_whole && bytes >= kStripeBytes) {
    const size_t count = smaller(bytes / kStripeBytes, last_whole - stripe);
    const size_t direct = count * kStripeBytes;
    const std::byte* after = direct < bytes ? source + direct : next;
    if (kStore == Store::kStreaming && misalignment(target) != 0) {
      absorb_stripes_bounced<Vector>(state, target, source, stripe, count, after);
    } else {
      absorb_stripes<Vector, kStore>(state, target, source, stripe, count, after);
    }
    state.position += direct;
    source += direct;
    if constexpr (kStore != Store::kNone) target += direct;
    bytes -= direct;
  }
  while (bytes > 0) by_carry();
}

template <typename Vector>
void absorb(Xxh3State& state, const std::byte* data, size_t bytes, const std::byte* next) {
  absorb_any<Vector, Store::kNone>(state, nullptr, data, bytes, next);
}

Hash128 hash128(const void* data, size_t bytes, const void* secret, size_t secret_bytes) {
  const XXH128_hash_t hash = XXH3_128bits_withSecret(data, bytes, secret, secret_bytes);
  return {hash.low64, hash.high64};
}

void hash128_batch(const HashBatch& batch, const void* secret, size_t secret_bytes, Hash128* out) {
  const char* input = static_cast<const char*>(batch.base);
  for (size_t i = 0; i < batch.count; ++i) {
    out[i] = hash128(input, batch.bytes_each, secret, secret_bytes);
    input += batch.stride_bytes;
  }
}

template <typename Vector>
constexpr Operations make_operations(Isa isa) {
  return {isa,
          copy_stream<Vector>,
          absorb<Vector>,
          absorb_any<Vector, Store::kTemporal>,
          absorb_any<Vector, Store::kStreaming>,
          hash128,
          hash128_batch};
}

}  // namespace
}  // namespace kvtier::kernels::detail
