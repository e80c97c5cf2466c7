// From rows to codes: statistics, scales, codes. For kernels/codec_vectors.hpp, and compiled with
// it for vectors of KVTIER_VECTOR_BYTES.
#pragma once

#include "kernels/codec_parts.hpp"

namespace kvtier::kernels::detail {
namespace {

// RowsIn in registers: what is written may otherwise be taken for a change of it.
struct Input {
  const std::byte* const* rows;
  const std::byte* const* next;
  uint64_t offset;
  uint32_t count, dim;
};
KVTIER_IN_REGISTERS Input input_of(const RowsIn& in) {
  return {in.rows, in.next, in.offset, in.count, in.dim};
}
KVTIER_IN_REGISTERS const std::byte* row_at(const Input& in, uint32_t row) {
  return in.rows[row] + in.offset;
}
// The row's address; a line ahead is on its way to the second-level cache.
KVTIER_IN_REGISTERS const std::byte* fetched(const Input& in, uint32_t row, uint32_t d) {
  const auto at = reinterpret_cast<uintptr_t>(in.next[row]) + d * kElementBytes;
  _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T1);
  return in.rows[row] + in.offset;
}
// `count` of the rows from `first` on.
KVTIER_IN_REGISTERS Input some_of(const Input& in, uint32_t first, uint32_t count) {
  const uint32_t left = in.count - first;
  return {in.rows + first, in.next + first, in.offset, count < left ? count : left, in.dim};
}

// ---- statistics ----

// Four rows at a time, as they mostly lie in memory; `out` stays in the cache.
void absmax_channels(const RowsIn& rows, uint16_t* out) {
  const Input in = input_of(rows);
  for (uint32_t r = 0; r < in.count; r += 4) {
    const Input some = some_of(in, r, 4);
    for_lines(0, in.dim, [&](uint32_t d, auto whole) KVTIER_INLINE {
      constexpr bool kWhole = decltype(whole)::value;
      U16 most[kParts];
      for (size_t i = 0; i < kParts; ++i) most[i] = load<U16>(out + d + i * kPartElements);
      const auto add = [&](uint32_t row) KVTIER_INLINE {
        const Line line = line_at<kWhole>(fetched(some, row, d), d, in.dim, false);
        for (size_t i = 0; i < kParts; ++i) most[i] = max_u16(most[i], line.part[i] & 0x7fff);
      };
      if (some.count == 4) {
        for (uint32_t row = 0; row < 4; ++row) add(row);
      } else {
        for (uint32_t row = 0; row < some.count; ++row) add(row);
      }
      for (size_t i = 0; i < kParts; ++i) store(out + d + i * kPartElements, most[i]);
    });
  }
}

KVTIER_IN_REGISTERS I16 in_order(U16 elements) {
  const I16 v = (I16)elements;
  return v ^ ((v >> 15) & 0x7fff);
}

// The least and the greatest of 32 channels from dim d on, down all rows.
template <bool kWhole>
KVTIER_IN_REGISTERS void range_channels(const Input& in, uint32_t d, int16_t* least,
                                        int16_t* most) {
  I16 low[kParts], high[kParts];
  for (size_t i = 0; i < kParts; ++i) {
    low[i] = (I16)all<U32>(0x7fff7fff);
    high[i] = (I16)all<U32>(0x80008000);
  }
  for (uint32_t r = 0; r < in.count; ++r) {
    const Line line = line_at<kWhole>(row_at(in, r), d, in.dim, true);
    for (size_t i = 0; i < kParts; ++i) {
      const I16 v = in_order(line.part[i]);
      low[i] = min_i16(low[i], v);
      high[i] = max_i16(high[i], v);
    }
  }
  for (size_t i = 0; i < kParts; ++i) {
    store(least + i * kPartElements, low[i]);
    store(most + i * kPartElements, high[i]);
  }
}

KVTIER_IN_REGISTERS void absmax_groups(const Input& in, uint32_t group_dims, uint16_t* out) {
  for (uint32_t r = 0; r < in.count; ++r) {
    for (uint32_t group = 0; group < in.dim; group += group_dims) {
      const uint32_t end = in.dim - group < group_dims ? in.dim : group + group_dims;
      U16 most = {};
      for_lines(group, end, [&](uint32_t d, auto whole) KVTIER_INLINE {
        const Line line = line_at<decltype(whole)::value>(row_at(in, r), d, end, false);
        for (size_t i = 0; i < kParts; ++i) most = max_u16(most, line.part[i] & 0x7fff);
      });
      *out++ = highest(most);
    }
  }
}

KVTIER_IN_REGISTERS void range_groups(const Input& in, uint32_t group_dims, int16_t* least,
                                      int16_t* most) {
  for (uint32_t r = 0; r < in.count; ++r) {
    for (uint32_t group = 0; group < in.dim; group += group_dims) {
      const uint32_t end = in.dim - group < group_dims ? in.dim : group + group_dims;
      // As unsigned numbers of the same order, so that one instruction folds either.
      U16 high = {};
      U16 low_inverted = {};
      for_lines(group, end, [&](uint32_t d, auto whole) KVTIER_INLINE {
        const Line line = line_at<decltype(whole)::value>(row_at(in, r), d, end, true);
        for (size_t i = 0; i < kParts; ++i) {
          const U16 v = (U16)in_order(line.part[i]) ^ 0x8000;
          high = max_u16(high, v);
          low_inverted = max_u16(low_inverted, ~v);
        }
      });
      const Highest both = highest(high, low_inverted);
      *most++ = static_cast<int16_t>(both.first ^ 0x8000);
      *least++ = static_cast<int16_t>(static_cast<uint16_t>(~both.second) ^ 0x8000);
    }
  }
}

// ---- scales ----

KVTIER_IN_REGISTERS U32 scale_bits(F32 v) {
  const U32 bits = ((U32)v + 0xffff) >> 16;
  const U32 least = all<U32>(math::kScaleBitsMin);
  return bits < least ? least : bits;
}

// Tables are padded to lines, so whole vectors are always there; what is beyond `count` is garbage
// that no one uses, but must not make the whole look infinite.
template <Element kElement>
bool int8_scales(const uint16_t* absmax, uint32_t count, uint16_t* scales, float* inverse) {
  U32 worst = {};
  for (uint32_t i = 0; i < count; i += kFloats) {
    const U32 bits = __builtin_convertvector(load<Half16>(absmax + i), U32);
    worst = bits > worst ? bits : worst;
    const U32 scale = scale_bits(widened<kElement>(bits) / all(127.0f));
    store(scales + i, __builtin_convertvector(scale, Half16));
    store(inverse + i, all(1.0f) / (F32)(scale << 16));
  }
  return !any_at_least(worst, math::not_finite_from(kElement));
}

template <Element kElement>
bool int4_scales(const int16_t* least, const int16_t* most, uint32_t count, uint16_t* scales,
                 uint16_t* least_bits, float* least_value, float* inverse) {
  typedef int16_t Signed16 __attribute__((vector_size(kBytes / 2)));
  const auto bits_at = [](const int16_t* from) {
    const Signed16 v = load<Signed16>(from);
    return __builtin_convertvector((Half16)(v ^ ((v >> 15) & 0x7fff)), U32);
  };
  U32 worst = {};
  U32 worst_range = {};
  for (uint32_t i = 0; i < count; i += kFloats) {
    const U32 low_bits = bits_at(least + i);
    const U32 high_bits = bits_at(most + i);
    const U32 low_size = low_bits & 0x7fff;
    const U32 high_size = high_bits & 0x7fff;
    worst = low_size > worst ? low_size : worst;
    worst = high_size > worst ? high_size : worst;
    const F32 low = widened<kElement>(low_bits);
    const F32 range = widened<kElement>(high_bits) - low;
    const U32 range_size = (U32)range & 0x7fffffff;
    worst_range = range_size > worst_range ? range_size : worst_range;
    const U32 scale = scale_bits(range / all(15.0f));
    store(scales + i, __builtin_convertvector(scale, Half16));
    store(least_bits + i, __builtin_convertvector(low_bits, Half16));
    store(least_value + i, low);
    store(inverse + i, all(1.0f) / (F32)(scale << 16));
  }
  return !any_at_least(worst, math::not_finite_from(kElement)) &&
         !any_at_least(worst_range, 0x7f800000);
}

// ---- codes ----

// The codes of a part of a line, to `to`: a byte an element, or a byte two elements.
template <Element kElement, Kind kKind>
KVTIER_IN_REGISTERS void encode_part(std::byte* to, U16 elements, Pair least, Pair inverse) {
#if KVTIER_VECTOR_BYTES == 64
  if constexpr (kFp8InWords<kElement, kKind>) {
    return store_bytes2(to, fp8_codes_of_words(elements, inverse.even));
  }
#endif
  const Pair v = split<kElement>(elements);
  if constexpr (kKind == Kind::kFp8) {
    const U32 even = fp8_codes(v.even * inverse.even);
    const U32 odd = fp8_codes(v.odd * inverse.odd);
    store_bytes2(to, (U16)(even | (odd << 16)));
  } else if constexpr (kKind == Kind::kInt8) {
    // The low bytes of the sums are the codes: the magic number's are zero.
    const U32 even = (U32)(v.even * inverse.even + all(math::kRoundingMagic));
    const U32 odd = (U32)(v.odd * inverse.odd + all(math::kRoundingMagic));
    store_low_bytes(to, even, odd);
  } else {
    const U32 even = (U32)((v.even - least.even) * inverse.even + all(math::kRoundingMagic));
    const U32 odd = (U32)((v.odd - least.odd) * inverse.odd + all(math::kRoundingMagic));
    store_bytes4(to, even | (odd << 4));  // codes are below 16, the rest of their bytes zero
  }
}

template <Element kElement, Kind kKind, bool kWhole>
KVTIER_IN_REGISTERS void encode_line(const std::byte* row, uint32_t d, uint32_t dim,
                                     const Pair* least, const Pair* inverse, std::byte* out) {
  const Line line = line_at<kWhole>(row, d, dim, true);
  if constexpr (kWhole) {
    for (size_t i = 0; i < kParts; ++i) {
      encode_part<kElement, kKind>(out + code_bytes_of<kKind>(kPartElements) * i, line.part[i],
                                   least[i], inverse[i]);
    }
    return;
  }
  std::byte codes[kLineElements];
  for (size_t i = 0; i < kParts; ++i) {
    encode_part<kElement, kKind>(codes + code_bytes_of<kKind>(kPartElements) * i, line.part[i],
                                 least[i], inverse[i]);
  }
  const uint32_t bytes = code_bytes_of<kKind>(dim - d);
  if (kKind == Kind::kInt4 && dim % 2 != 0) codes[bytes - 1] &= std::byte{15};
  std::memcpy(out, codes, bytes);
}

// A line's scales in registers, down all rows.
template <Element kElement, Kind kKind, bool kWhole>
KVTIER_IN_REGISTERS void encode_channel_line(const Input& in, uint32_t d, const float* least,
                                             const float* inverse, std::byte* out) {
  const uint32_t row_bytes = code_bytes_of<kKind>(in.dim);
  Pair low[kParts], scale[kParts];
  for (size_t i = 0; i < kParts; ++i) {
    scale[i] = pair_at(inverse + i * kPartElements);
    low[i] = kKind == Kind::kInt4 ? pair_at(least + i * kPartElements) : Pair{};
  }
  for (uint32_t r = 0; r < in.count; ++r) {
    encode_line<kElement, kKind, kWhole>(fetched(in, r, d), d, in.dim, low, scale,
                                         out + r * row_bytes + code_bytes_of<kKind>(d));
  }
}

template <Element kElement>
void int8_channels(const RowsIn& rows, const float* inverse, std::byte* out) {
  with_dim(input_of(rows), [&](const Input& in) KVTIER_INLINE {
    for_lines(0, in.dim, [&](uint32_t d, auto whole) KVTIER_INLINE {
      encode_channel_line<kElement, Kind::kInt8, decltype(whole)::value>(in, d, nullptr,
                                                                         inverse + d, out);
    });
  });
}

template <Element kElement>
bool int4_channels(const RowsIn& rows, uint16_t* scales, uint16_t* least, std::byte* out) {
  const Input in = input_of(rows);
  bool finite = true;
  for_lines(0, in.dim, [&](uint32_t d, auto whole) KVTIER_INLINE {
    constexpr bool kWhole = decltype(whole)::value;
    alignas(64) int16_t low[kLineElements], high[kLineElements];
    alignas(64) float low_value[kLineElements], inverse[kLineElements];
    range_channels<kWhole>(in, d, low, high);
    finite &=
        int4_scales<kElement>(low, high, kLineElements, scales + d, least + d, low_value, inverse);
    encode_channel_line<kElement, Kind::kInt4, kWhole>(in, d, low_value, inverse, out);
  });
  return finite;
}

// One scale for all of a group in a row.
template <Element kElement, Kind kKind, uint32_t kGroupDims>
KVTIER_IN_REGISTERS void encode_groups(const Input& in, const float* least, const float* inverse,
                                       std::byte* out) {
  const uint32_t groups = (in.dim + kGroupDims - 1) / kGroupDims;
  const uint32_t row_bytes = code_bytes_of<kKind>(in.dim);
  for (uint32_t r = 0; r < in.count; ++r) {
    for_lines(0, in.dim, [&](uint32_t d, auto whole) KVTIER_INLINE {
      const uint32_t entry = r * groups + d / kGroupDims;
      Pair low[kParts], scale[kParts];
      for (size_t i = 0; i < kParts; ++i) {
        scale[i].even = scale[i].odd = all(inverse[entry]);
        low[i].even = low[i].odd = all(kKind == Kind::kInt4 ? least[entry] : 0.0f);
      }
      encode_line<kElement, kKind, decltype(whole)::value>(
          fetched(in, r, d), d, in.dim, low, scale, out + r * row_bytes + code_bytes_of<kKind>(d));
    });
  }
}

// Statistics and codes of so few rows at a time that their scales fill a vector: longer without a
// fetch, and memory would stand still.
constexpr uint32_t kRowsAtOnce = kFloats < 8 ? kFloats : 8;
constexpr uint32_t kEntriesMax = kDimMax / format::kInt4GroupDims;  // of one row, and of some
constexpr uint32_t rows_at_once(uint32_t groups) {
  const uint32_t rows = groups < kFloats ? static_cast<uint32_t>(kFloats) / groups : 1;
  return rows < kRowsAtOnce ? rows : kRowsAtOnce;
}

template <Element kElement>
bool int8_groups(const RowsIn& rows, uint16_t* scales, std::byte* out) {
  constexpr uint32_t kGroupDims = format::kInt8GroupDims;
  return with_dim(input_of(rows), [&](const Input& all_rows) KVTIER_INLINE {
    const uint32_t groups = (all_rows.dim + kGroupDims - 1) / kGroupDims;
    const uint32_t step = rows_at_once(groups);
    bool finite = true;
    for (uint32_t r = 0; r < all_rows.count; r += step) {
      alignas(64) uint16_t absmax[kEntriesMax] = {};
      alignas(64) float inverse[kEntriesMax];
      const Input in = some_of(all_rows, r, step);
      absmax_groups(in, kGroupDims, absmax);
      finite &= int8_scales<kElement>(absmax, in.count * groups, scales + r * groups, inverse);
      encode_groups<kElement, Kind::kInt8, kGroupDims>(in, nullptr, inverse, out + r * in.dim);
    }
    return finite;
  });
}

template <Element kElement>
bool int4_groups(const RowsIn& rows, uint16_t* scales, uint16_t* least, std::byte* out) {
  constexpr uint32_t kGroupDims = format::kInt4GroupDims;
  return with_dim(input_of(rows), [&](const Input& all_rows) KVTIER_INLINE {
    const uint32_t groups = (all_rows.dim + kGroupDims - 1) / kGroupDims;
    const uint32_t row_bytes = code_bytes_of<Kind::kInt4>(all_rows.dim);
    const uint32_t step = rows_at_once(groups);
    bool finite = true;
    for (uint32_t r = 0; r < all_rows.count; r += step) {
      alignas(64) int16_t low[kEntriesMax] = {}, high[kEntriesMax] = {};
      alignas(64) float low_value[kEntriesMax], inverse[kEntriesMax];
      const Input in = some_of(all_rows, r, step);
      range_groups(in, kGroupDims, low, high);
      finite &= int4_scales<kElement>(low, high, in.count * groups, scales + r * groups,
                                      least + r * groups, low_value, inverse);
      encode_groups<kElement, Kind::kInt4, kGroupDims>(in, low_value, inverse, out + r * row_bytes);
    }
    return finite;
  });
}

// Rows with a power of two each. Whole pairs of lines of bf16 go the way of bytes.
template <Element kElement>
KVTIER_IN_REGISTERS void fp8_codes_of_rows(const Input& in, const float* inverse, std::byte* out) {
#if KVTIER_OWN_BYTES
  if (kElement == Element::kBf16 && in.dim % (2 * kLineElements) == 0) {
    for (uint32_t r = 0; r < in.count; ++r) {
      for (uint32_t d = 0; d < in.dim; d += 2 * kLineElements) {
        const std::byte* from = fetched(in, r, d) + d * kElementBytes;
        (void)fetched(in, r, d + kLineElements);
        store(out + r * in.dim + d,
              fp8_codes_of_pair(load<U16>(from), load<U16>(from + kBytes), inverse[r]));
      }
    }
    return;
  }
#endif
  encode_groups<kElement, Kind::kFp8, kDimMax>(in, nullptr, inverse, out);
}

template <Element kElement>
void fp8_scaled(const RowsIn& rows, float inverse, std::byte* out) {
  alignas(64) float same[format::kBandTokens];
  for (float& one : same) one = inverse;
  with_dim(input_of(rows),
           [&](const Input& in) KVTIER_INLINE { fp8_codes_of_rows<kElement>(in, same, out); });
}

template <Element kElement>
bool fp8_rows(const RowsIn& rows, std::byte* exponents, std::byte* out) {
  return with_dim(input_of(rows), [&](const Input& all_rows) KVTIER_INLINE {
    U32 worst = {};
    for (uint32_t r = 0; r < all_rows.count; r += kRowsAtOnce) {
      alignas(64) uint16_t absmax[kFloats] = {};
      alignas(64) float inverse[kFloats];
      const Input in = some_of(all_rows, r, kRowsAtOnce);
      absmax_groups(in, kDimMax, absmax);
      const U32 bits = __builtin_convertvector(load<Half16>(absmax), U32);
      worst = bits > worst ? bits : worst;
      // math::fp8_exponent
      const U32 value = (U32)widened<kElement>(bits);
      const I32 above = (I32)((value & 0x7fffff) > 0x600000);  // -1 where so
      const I32 exact = (I32)(value >> 23) - 135 - above;
      const I32 least = (I32)all<U32>(static_cast<uint32_t>(math::kExponentMin));
      const I32 exponent = exact < least ? least : exact;
      store(inverse, (F32)((U32)(127 - exponent) << 23));
      for (uint32_t i = 0; i < in.count; ++i) {
        exponents[r + i] = static_cast<std::byte>(exponent[i]);
      }
      fp8_codes_of_rows<kElement>(in, inverse, out + r * in.dim);
    }
    return !any_at_least(worst, math::not_finite_from(kElement));
  });
}

}  // namespace
}  // namespace kvtier::kernels::detail
