// XXH3-64 (seed 0, default secret) of a message whose length is known at its start, for the copies
// that hash while they move bytes. Internal to kernels/. No thread of its own, no allocation.
//
// Why not the library's streaming form: that one buffers and reads the message from memory again,
// while here a stripe is loaded once and both hashed and stored from the register. The arithmetic
// is that of the XXH3 specification; the tests compare it with the library for every length.
//
// A message is cut in stripes of 64 bytes, 16 stripes to a block. With L = length, S = L / 64
// (whole stripes) and r = L % 64:
//   * L <= 240: all bytes are collected in carry[0, L); finish() calls the library.
//   * L > 240: stripes 0 .. S-2 go through the lanes from wherever they lie. Stripe S-1 (the last
//     whole one) passes through carry[0, 64), as the message's last 64 bytes begin in it: they are
//     carry[r, r + 64) once all has arrived. A stripe that arrives in parts is put together in
//     carry[64, 128), where the r bytes of the rest end up too.
//   * Stripe i < (L - 1) / 64 is accumulated with secret bytes from 8 * (i % 16), and the lanes are
//     scrambled after i % 16 == 15. (So stripe S-1 is not accumulated when r == 0.)
//   * finish() accumulates the last 64 bytes with secret bytes from 121 and merges the lanes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/checksum.hpp"

namespace kvtier::kernels::detail {

inline constexpr size_t kStripeBytes = 64;
inline constexpr size_t kStripesPerBlock = 16;
inline constexpr uint64_t kShortBytesMax = 240;

// Begins a message of `length` bytes. carry is left as it is.
void xxh3_start(Xxh3State& state, uint64_t length);

// The hash, once position == length.
uint64_t xxh3_finish(const Xxh3State& state);

}  // namespace kvtier::kernels::detail
