// The piece hashes of a payload's checksum on a device, as a block program: a block is one piece of
// 64 KiB. The host makes the root of them (kernels/checksum.hpp, root_of): it has to take the
// commit to the daemon anyway. Works on both sides, as kernels/cuda/block_programs.hpp does.
//
// What XXH3 adds to its lanes between two scrambles is a sum, so a block's sixteen stripes are
// added up by any threads in any order; only the scrambles are in sequence.
#pragma once

#include "kernels/checksum.hpp"
#include "kernels/cuda/block_programs.hpp"

namespace kvtier::kernels::cuda {

// XXH3's default secret, from the library, by value.
struct Secret {
  unsigned char bytes[192];
};

struct HashProgram {
  static constexpr int kPhases = 2;
  static constexpr uint32_t kBlockBytes = 1024;
  static constexpr uint32_t kShortBytesMax = 240;  // such a last piece is left to the host: 0
  const std::byte* payload;                        // at a multiple of 8
  uint64_t payload_bytes;
  uint64_t* piece_hashes;
  Secret secret;

  KVTIER_BOTH static uint32_t shared_bytes() { return kPieceBytes / kBlockBytes * 8 * 8; }

  KVTIER_BOTH void phase(int number, Who who, std::byte* shared) const {
    auto* sums = reinterpret_cast<uint64_t*>(shared);  // [block][lane]
    const uint64_t start = who.block * uint64_t{kPieceBytes};
    const uint64_t left = payload_bytes - start;
    const auto bytes = static_cast<uint32_t>(left < kPieceBytes ? left : kPieceBytes);
    const std::byte* piece = payload + start;
    if (bytes <= kShortBytesMax) {
      if (who.thread == 0) piece_hashes[who.block] = 0;
      return;
    }
    const uint32_t stripes = (bytes - 1) / 64;
    const uint32_t blocks = (stripes + 15) / 16;
    if (number == 0) {
      for (uint32_t i = who.thread; i < blocks * 8; i += kThreads) {
        const uint32_t first = i / 8 * 16;
        const uint32_t end = first + 16 < stripes ? first + 16 : stripes;
        uint64_t sum = 0;
        for (uint32_t stripe = first; stripe < end; ++stripe) {
          sum += contribution(piece + stripe * 64, i % 8, 8 * (stripe - first));
        }
        sums[i] = sum;
      }
      return;
    }
    if (who.thread == 0) piece_hashes[who.block] = merged(piece, bytes, stripes, sums);
  }

 private:
  KVTIER_BOTH uint64_t secret_at(uint32_t at) const {
    uint64_t value = 0;
    for (uint32_t k = 0; k < 8; ++k) value |= uint64_t{secret.bytes[at + k]} << (8 * k);
    return value;
  }
  KVTIER_BOTH static uint64_t load(const std::byte* at) {  // at any address
    uint64_t value = 0;
    for (uint32_t k = 0; k < 8; ++k) {
      value |= static_cast<uint64_t>(static_cast<unsigned char>(at[k])) << (8 * k);
    }
    return value;
  }
  KVTIER_BOTH uint64_t keyed_product(uint64_t data, uint32_t secret_offset) const {
    const uint64_t keyed = data ^ secret_at(secret_offset);
    return (keyed & 0xffffffff) * (keyed >> 32);
  }
  // What one stripe adds to one lane.
  KVTIER_BOTH uint64_t contribution(const std::byte* stripe, uint32_t lane,
                                    uint32_t secret_offset) const {
    return get<uint64_t>(stripe + 8 * (lane ^ 1)) +
           keyed_product(get<uint64_t>(stripe + 8 * lane), secret_offset + 8 * lane);
  }

  KVTIER_BOTH static uint64_t folded_product(uint64_t a, uint64_t b) {
    const uint64_t a0 = a & 0xffffffff, a1 = a >> 32, b0 = b & 0xffffffff, b1 = b >> 32;
    const uint64_t low = a0 * b0;
    const uint64_t middle = a1 * b0 + (low >> 32);
    const uint64_t other = a0 * b1 + (middle & 0xffffffff);
    const uint64_t high = a1 * b1 + (middle >> 32) + (other >> 32);
    return high ^ (a * b);
  }

  KVTIER_BOTH uint64_t merged(const std::byte* piece, uint32_t bytes, uint32_t stripes,
                              const uint64_t* sums) const {
    uint64_t lanes[8] = {0xC2B2AE3DULL,         0x9E3779B185EBCA87ULL, 0xC2B2AE3D27D4EB4FULL,
                         0x165667B19E3779F9ULL, 0x85EBCA77C2B2AE63ULL, 0x85EBCA77ULL,
                         0x27D4EB2F165667C5ULL, 0x9E3779B1ULL};  // XXH3's initial lanes
    for (uint32_t i = 0; i < 8; ++i) {
      for (uint32_t block = 0; block * 16 < stripes; ++block) {
        lanes[i] += sums[block * 8 + i];
        if (block * 16 + 16 > stripes) break;  // not a whole block: not scrambled
        lanes[i] = (lanes[i] ^ (lanes[i] >> 47) ^ secret_at(128 + 8 * i)) * 0x9E3779B1ULL;
      }
    }
    const std::byte* last = piece + bytes - 64;
    for (uint32_t i = 0; i < 8; ++i) {
      lanes[i] += load(last + 8 * (i ^ 1)) + keyed_product(load(last + 8 * i), 121 + 8 * i);
    }
    uint64_t result = bytes * 0x9E3779B185EBCA87ULL;
    for (uint32_t i = 0; i < 4; ++i) {
      result += folded_product(lanes[2 * i] ^ secret_at(11 + 16 * i),
                               lanes[2 * i + 1] ^ secret_at(19 + 16 * i));
    }
    result ^= result >> 37;
    result *= 0x165667919E3779F9ULL;
    return result ^ (result >> 32);
  }
};

}  // namespace kvtier::kernels::cuda
