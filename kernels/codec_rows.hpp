// The table of codec operations that have one form per instruction set: on up to 32 rows (the
// tokens of a band) of one head. Internal to kernels/; kernels/codec.cpp calls them in the order of
// the format. Rows are at any alignment; tables of floats are padded to whole lines of 32 and
// readable there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu.hpp"
#include "kernels/shape.hpp"

namespace kvtier::kernels::detail {

// Elements that are worked on at once by every instruction set: a cache line of them.
inline constexpr uint32_t kLineElements = 32;

// Row r starts at rows[r] + offset. The lines from next[r] on are fetched meanwhile, one for each
// line worked on.
struct RowsIn {
  const std::byte* const* rows;
  uint64_t offset;
  const std::byte* const* next;
  uint32_t count;
  uint32_t dim;
};
struct RowsOut {
  std::byte* const* rows;
  uint64_t offset;
  uint32_t count;
  uint32_t dim;
  bool stream;  // with non-temporal stores, where a row lies at a multiple of 64
};

struct CodecOperations {
  Isa isa;
  // Statistics of channels, as the bits of |x|, added to what `out` holds; and their scales: the
  // stored bits, and what encoding multiplies with. False: not finite.
  void (*absmax_channels)(const RowsIn& in, uint16_t* out);
  bool (*int8_scales)(const uint16_t* absmax, uint32_t count, uint16_t* scales, float* inverse);
  // Codes of all rows, one after the other, with scales that are known ...
  void (*int8_channels)(const RowsIn& in, const float* inverse, std::byte* out);
  void (*fp8_scaled)(const RowsIn& in, float inverse, std::byte* out);
  // ... or that are found on the way: scales[row * groups + group], those of channels by dim.
  // Tables are written in whole vectors. False: not finite.
  bool (*int8_groups)(const RowsIn& in, uint16_t* scales, std::byte* out);
  bool (*int4_channels)(const RowsIn& in, uint16_t* scales, uint16_t* least, std::byte* out);
  bool (*int4_groups)(const RowsIn& in, uint16_t* scales, uint16_t* least, std::byte* out);
  bool (*fp8_rows)(const RowsIn& in, std::byte* exponents, std::byte* out);
  // And back. Tables hold the scales themselves: from a payload's, if they are sound.
  bool (*scales_from)(const std::byte* from, uint32_t count, float* out);
  bool (*least_from)(const std::byte* from, uint32_t count, float* out);
  void (*from_int8_channels)(const std::byte* codes, const float* scale, const RowsOut& out);
  void (*from_int8_groups)(const std::byte* codes, const float* scale, const RowsOut& out);
  void (*from_int4_channels)(const std::byte* codes, const float* least, const float* scale,
                             const RowsOut& out);
  void (*from_int4_groups)(const std::byte* codes, const float* least, const float* scale,
                           const RowsOut& out);
  void (*from_fp8_rows)(const std::byte* codes, const float* scale, const RowsOut& out);
  // The lossless codec's: exponents (the high byte after a rotation by one bit to the left) apart
  // from the rest, and back.
  void (*split_planes)(const std::byte* raw, uint64_t elements, std::byte* exponents,
                       std::byte* rest);
  void (*merge_planes)(const std::byte* exponents, const std::byte* rest, uint64_t elements,
                       std::byte* raw);
  // The limit of all of these: reads the source once and writes the target once, both in lines of
  // 64 bytes, in step.
  void (*read_write)(std::byte* target, uint64_t target_lines, const std::byte* source,
                     uint64_t source_lines);
};

// One for each element type, in the order of Element.
extern const CodecOperations kCodecsBaseline[2];
extern const CodecOperations kCodecsAvx2[2];
extern const CodecOperations kCodecsAvx512[2];
extern const CodecOperations kCodecsAvx512Bf16[2];

// Those of isa_active().
const CodecOperations& codec_operations(Element element);

}  // namespace kvtier::kernels::detail
