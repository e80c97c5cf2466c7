// The bodies of the codec operations, for vectors of KVTIER_VECTOR_BYTES, compiled once per
// instruction set by codecs_*.cpp. Internal to kernels/.
#pragma once

#include "kernels/decode_vectors.hpp"
#include "kernels/encode_vectors.hpp"

namespace kvtier::kernels::detail {
namespace {

// ---- byte planes ----

void split_planes(const std::byte* raw, uint64_t elements, std::byte* exponents, std::byte* rest) {
  uint64_t i = 0;
  for (; elements - i >= kPartElements; i += kPartElements) {
    const U16 v = load<U16>(raw + 2 * i);
    const U16 rotated = (v << 1) | (v >> 15);
    store_bytes2(exponents + i, rotated >> 8);
    store_bytes2(rest + i, rotated);
  }
  for (; i < elements; ++i) {
    uint16_t v;
    std::memcpy(&v, raw + 2 * i, sizeof v);
    const uint32_t rotated = (uint32_t{v} << 1) | (uint32_t{v} >> 15);
    exponents[i] = static_cast<std::byte>(rotated >> 8);
    rest[i] = static_cast<std::byte>(rotated);
  }
}

void merge_planes(const std::byte* exponents, const std::byte* rest, uint64_t elements,
                  std::byte* raw) {
  uint64_t i = 0;
  for (; elements - i >= kPartElements; i += kPartElements) {
    const U16 rotated = (load_bytes2(exponents + i) << 8) | load_bytes2(rest + i);
    store(raw + 2 * i, (U16)((rotated >> 1) | (rotated << 15)));
  }
  for (; i < elements; ++i) {
    const uint32_t rotated =
        (std::to_integer<uint32_t>(exponents[i]) << 8) | std::to_integer<uint32_t>(rest[i]);
    const auto v = static_cast<uint16_t>((rotated >> 1) | (rotated << 15));
    std::memcpy(raw + 2 * i, &v, sizeof v);
  }
}

// ---- the limit ----

void read_write(std::byte* target, uint64_t target_lines, const std::byte* source,
                uint64_t source_lines) {
  constexpr uint64_t kAheadBytes = 3072;
  U16 mixed[kParts] = {};
  uint64_t read = 0;
  uint64_t due = 0;  // of source_lines * target_lines
  for (uint64_t i = 0; i < target_lines; ++i) {
    for (due += source_lines; due >= target_lines; due -= target_lines, ++read) {
      const std::byte* from = source + read * kLineBytes;
      _mm_prefetch(reinterpret_cast<const char*>(from) + kAheadBytes, _MM_HINT_T0);
      for (size_t part = 0; part < kParts; ++part) {
        mixed[part] ^= load<U16>(from + part * kBytes);
      }
    }
    for (size_t part = 0; part < kParts; ++part) {
      stream(target + i * kLineBytes + part * kBytes, mixed[part]);
    }
  }
}

// ---- the table ----

template <Element kElement>
constexpr CodecOperations make_codecs(Isa isa) {
  using format::kInt4GroupDims;
  using format::kInt8GroupDims;
  constexpr Element E = kElement;
  CodecOperations use = {};
  use.isa = isa;
  use.absmax_channels = absmax_channels;
  use.int8_scales = int8_scales<E>;
  use.int8_channels = int8_channels<E>;
  use.fp8_scaled = fp8_scaled<E>;
  use.int8_groups = int8_groups<E>;
  use.int4_channels = int4_channels<E>;
  use.int4_groups = int4_groups<E>;
  use.fp8_rows = fp8_rows<E>;
  use.scales_from = scales_from;
  use.least_from = least_from<E>;
  use.from_int8_channels = [](const std::byte* codes, const float* scale, const RowsOut& out) {
    decode_channels<E, Kind::kInt8>(codes, nullptr, scale, out);
  };
  use.from_int8_groups = [](const std::byte* codes, const float* scale, const RowsOut& out) {
    decode_groups<E, Kind::kInt8, kInt8GroupDims>(codes, nullptr, scale, out);
  };
  use.from_int4_channels = decode_channels<E, Kind::kInt4>;
  use.from_int4_groups = decode_groups<E, Kind::kInt4, kInt4GroupDims>;
  use.from_fp8_rows = [](const std::byte* codes, const float* scale, const RowsOut& out) {
    decode_groups<E, Kind::kFp8, kDimMax>(codes, nullptr, scale, out);
  };
  use.split_planes = split_planes;
  use.merge_planes = merge_planes;
  use.read_write = read_write;
  return use;
}

}  // namespace
}  // namespace kvtier::kernels::detail
