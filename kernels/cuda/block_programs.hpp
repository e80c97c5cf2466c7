// The device operations, written as block programs: what one thread of one block does in each
// phase, where a barrier of the block stands between phases and shared memory is passed in. Plain
// code for both sides: kernels/cuda/launch.cu runs them on a GPU,
// tests/kernels/block_programs_test.cpp runs every thread of every phase on a CPU and compares the
// bytes with the references.
//
// Nothing is allocated and nothing synchronises. Codes are made from the same arithmetic as on a
// CPU (kernels/codec_math.hpp), so the bytes are the same.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec_format.hpp"
#include "kernels/codec_math.hpp"

#ifdef __CUDACC__
#define KVTIER_BOTH __host__ __device__
#else
#define KVTIER_BOTH
#endif

namespace kvtier::kernels::cuda {

inline constexpr uint32_t kThreads = 256;

// Who runs: the block's number and the thread's number in it.
struct Who {
  uint32_t block;
  uint32_t thread;
};

// Paged memory as the device sees it; `bases` and `blocks` are readable by the device, and what
// check_layout() says of the same arrays was asked by the launcher.
struct DeviceLayout {
  std::byte* const* bases;
  const uint32_t* blocks;
  uint32_t block_tokens;
  uint64_t block_stride;
  uint64_t token_stride;
  uint64_t head_stride;
};

KVTIER_BOTH inline std::byte* row_at(const ChunkShape& shape, const DeviceLayout& layout,
                                     uint32_t plane_index, uint32_t token, uint32_t head) {
  (void)shape;
  return layout.bases[plane_index] +
         layout.blocks[token / layout.block_tokens] * layout.block_stride +
         token % layout.block_tokens * layout.token_stride + head * layout.head_stride;
}

template <typename T>
KVTIER_BOTH inline T get(const std::byte* at) {
  return *reinterpret_cast<const T*>(at);
}
template <typename T>
KVTIER_BOTH inline void put(std::byte* at, T value) {
  *reinterpret_cast<T*>(at) = value;
}

// Sets a bit of the status word for each Status met. Plain stores of whole bytes on a CPU.
KVTIER_BOTH inline void report(uint32_t* word, Status status) {
#ifdef __CUDA_ARCH__
  atomicOr(word, 1u << static_cast<uint32_t>(status));
#else
  *word |= 1u << static_cast<uint32_t>(status);
#endif
}

KVTIER_BOTH inline float value_of(Element element, uint32_t bits) {
  return element == Element::kBf16 ? math::from_bf16(bits) : math::from_f16(bits);
}
KVTIER_BOTH inline uint32_t bits_from(Element element, float value) {
  return element == Element::kBf16 ? math::to_bf16(value) : math::to_f16(value);
}

// 16 bytes at once. The launcher chooses it where every row and stride allows.
struct alignas(16) Sixteen {
  uint64_t half[2];
};

// ---- no codec: raw[layer][plane][token][head][dim] from and to paged memory ----

template <typename Unit, bool kGather>
struct RawProgram {
  static constexpr int kPhases = 1;
  ChunkShape shape;
  DeviceLayout layout;
  std::byte* raw;
  uint32_t block_count;  // of the launch, so that it can be bounded

  KVTIER_BOTH void phase(int, Who who, std::byte*) const {
    const uint64_t per_row = shape.dim * uint64_t{2} / sizeof(Unit);
    const uint64_t rows = uint64_t{shape.layers} * shape.planes * shape.tokens * shape.heads;
    const uint64_t step = uint64_t{block_count} * kThreads;
    for (uint64_t i = uint64_t{who.block} * kThreads + who.thread; i < rows * per_row; i += step) {
      const uint64_t row = i / per_row;
      const auto head = static_cast<uint32_t>(row % shape.heads);
      const uint64_t of_token = row / shape.heads;
      const auto token = static_cast<uint32_t>(of_token % shape.tokens);
      const auto plane = static_cast<uint32_t>(of_token / shape.tokens);
      std::byte* paged = row_at(shape, layout, plane, token, head) + i % per_row * sizeof(Unit);
      if constexpr (kGather) {
        put<Unit>(raw + i * sizeof(Unit), get<Unit>(paged));
      } else {
        put<Unit>(paged, get<Unit>(raw + i * sizeof(Unit)));
      }
    }
  }
};

// ---- what encode and decode share: a block is one head of one band ----

struct HeadPlace {
  uint32_t plane_index;  // layer * planes + plane
  uint32_t band;
  uint32_t head;
  format::Plane plane;
  uint64_t plane_offset;
};

KVTIER_BOTH inline HeadPlace head_of_block(Codec codec, const ChunkShape& shape, uint32_t block) {
  const uint32_t bands = (shape.tokens + format::kBandTokens - 1) / format::kBandTokens;
  HeadPlace place = {};
  place.head = block % shape.heads;
  place.band = block / shape.heads % bands;
  place.plane_index = block / shape.heads / bands;
  const uint32_t p = place.plane_index % shape.planes;
  place.plane = {codec, shape.planes == 2 && p == 0, shape.heads, shape.dim, shape.tokens};
  const format::Plane first = {codec, shape.planes == 2, shape.heads, shape.dim, shape.tokens};
  const format::Plane second = {codec, false, shape.heads, shape.dim, shape.tokens};
  const uint64_t both = first.bytes() + (shape.planes == 2 ? second.bytes() : 0);
  place.plane_offset = place.plane_index / shape.planes * both + (p == 0 ? 0 : first.bytes());
  return place;
}
KVTIER_BOTH inline uint32_t head_blocks(const ChunkShape& shape) {
  return shape.layers * shape.planes * shape.heads *
         ((shape.tokens + format::kBandTokens - 1) / format::kBandTokens);
}

// Shared memory of a block: scales, least values, and the rows of the head with a skew, so that
// threads that go down a column or along rows side by side do not meet in one bank.
struct HeadMemory {
  float* factor;
  float* least;
  uint16_t* tile;
  uint32_t tile_stride;

  static constexpr uint32_t kEntriesMax = 1024;  // of a table: kDimMax, or 32 rows of 32 groups
  KVTIER_BOTH static HeadMemory in(std::byte* shared, uint32_t dim) {
    auto* tables = reinterpret_cast<float*>(shared);
    return {tables, tables + kEntriesMax,
            reinterpret_cast<uint16_t*>(shared + 2 * kEntriesMax * sizeof(float)), dim + 2};
  }
  KVTIER_BOTH static uint32_t bytes(uint32_t dim) {
    return static_cast<uint32_t>(2 * kEntriesMax * sizeof(float)) +
           format::kBandTokens * (dim + 2) * 2;
  }
};

// Zeros from `used` to `end`, by the first threads.
KVTIER_BOTH inline void pad(std::byte* table, uint64_t used, uint64_t end, uint32_t thread) {
  for (uint64_t i = used + thread; i < end; i += kThreads) table[i] = std::byte{0};
}

// ---- encode: load, scales, codes ----

struct EncodeProgram {
  static constexpr int kPhases = 3;
  Codec codec;
  ChunkShape shape;
  DeviceLayout layout;
  std::byte* payload;  // at a multiple of 16
  uint32_t* status;
  bool aligned;  // rows at multiples of 16

  KVTIER_BOTH void phase(int number, Who who, std::byte* shared) const {
    const HeadPlace place = head_of_block(codec, shape, who.block);
    const HeadMemory memory = HeadMemory::in(shared, shape.dim);
    if (number == 0) return load(place, memory, who.thread);
    if (number == 1) return scales(place, memory, who.thread);
    codes(place, memory, who.thread);
  }

 private:
  KVTIER_BOTH std::byte* head_payload(const HeadPlace& place) const {
    const format::Plane& f = place.plane;
    return payload + place.plane_offset + f.band_offset(place.band) +
           place.head * f.head_bytes(f.band_tokens(place.band));
  }

  KVTIER_BOTH void load(const HeadPlace& place, const HeadMemory& memory, uint32_t thread) const {
    const uint32_t count = place.plane.band_tokens(place.band);
    const uint32_t unit = aligned ? 8 : 1;  // elements
    const uint32_t per_row = shape.dim / unit;
    for (uint32_t i = thread; i < count * per_row; i += kThreads) {
      const uint32_t r = i / per_row;
      const uint32_t d = i % per_row * unit;
      const std::byte* from = row_at(shape, layout, place.plane_index,
                                     place.band * format::kBandTokens + r, place.head) +
                              d * 2;
      uint16_t* to = memory.tile + r * memory.tile_stride + d;
      if (aligned) {
        const Sixteen eight = get<Sixteen>(from);
        for (uint32_t k = 0; k < 8; ++k) {
          to[k] = static_cast<uint16_t>(eight.half[k / 4] >> (k % 4 * 16));
        }
      } else {
        *to = get<uint16_t>(from);
      }
    }
  }

  KVTIER_BOTH void scales(const HeadPlace& place, const HeadMemory& memory, uint32_t thread) const {
    const format::Plane& f = place.plane;
    const uint32_t count = f.band_tokens(place.band);
    std::byte* header = head_payload(place);
    if (codec == Codec::kInt8 && f.keys) {  // made by ChannelProgram
      const std::byte* table = payload + place.plane_offset + place.head * f.channel_header_bytes();
      for (uint32_t d = thread; d < f.dim; d += kThreads) {
        memory.factor[d] = math::divide(1.0f, math::from_bf16(get<uint16_t>(table + d * 2)));
      }
      return;
    }
    if (codec == Codec::kFp8Tensor) {  // made by TensorProgram
      const auto exponent = static_cast<int8_t>(get<uint8_t>(payload + place.plane_offset));
      for (uint32_t r = thread; r < count; r += kThreads) {
        memory.factor[r] = math::power_of_two(-exponent);
      }
      return;
    }
    const bool down = codec == Codec::kInt4 && f.keys;  // a channel's rows, else a row's dims
    const uint32_t groups = f.groups();
    const uint32_t entries = down ? f.dim : count * groups;
    const uint64_t table_bytes = f.table_bytes(count);
    for (uint32_t entry = thread; entry < entries; entry += kThreads) {
      const uint32_t row = down ? 0 : entry / groups;
      const uint32_t first = down ? entry : entry % groups * f.group_dims();
      const uint32_t in_group = f.dim - first < f.group_dims() ? f.dim - first : f.group_dims();
      const uint32_t steps = down ? count : in_group;
      const uint32_t stride = down ? memory.tile_stride : 1;
      const uint16_t* from = memory.tile + row * memory.tile_stride + first;
      int32_t least = math::ordered(from[0]);
      int32_t most = least;
      uint32_t absmax = 0;
      for (uint32_t k = 0; k < steps; ++k) {
        const uint32_t bits = from[k * stride];
        const int32_t order = math::ordered(bits);
        least = order < least ? order : least;
        most = order > most ? order : most;
        absmax = (bits & 0x7fff) > absmax ? bits & 0x7fff : absmax;
      }
      if (absmax >= math::not_finite_from(shape.element)) report(status, Status::kNotFinite);
      one_scale(header, table_bytes, entry, memory, least, most, absmax);
    }
    const uint64_t used = uint64_t{entries} * (codec == Codec::kFp8TokenHead ? 1 : 2);
    pad(header, used, table_bytes, thread);
    if (codec == Codec::kInt4) pad(header + table_bytes, used, table_bytes, thread);
  }

  KVTIER_BOTH void one_scale(std::byte* header, uint64_t table_bytes, uint32_t entry,
                             const HeadMemory& memory, int32_t least, int32_t most,
                             uint32_t absmax) const {
    if (codec == Codec::kFp8TokenHead) {
      const int exponent = math::fp8_exponent(value_of(shape.element, absmax));
      put<uint8_t>(header + entry, static_cast<uint8_t>(exponent));
      memory.factor[entry] = math::power_of_two(-exponent);
      return;
    }
    uint32_t scale = 0;
    if (codec == Codec::kInt8) {
      scale = math::int8_scale(value_of(shape.element, absmax));
    } else {
      const auto bits = static_cast<uint16_t>(math::ordered(static_cast<uint16_t>(least)));
      const float low = value_of(shape.element, bits);
      const float high = value_of(
          shape.element, static_cast<uint16_t>(math::ordered(static_cast<uint16_t>(most))));
      if ((math::bits_of(math::add(high, -low)) & 0x7fffffff) >= 0x7f800000) {
        report(status, Status::kNotFinite);
      }
      scale = math::int4_scale(low, high);
      memory.least[entry] = low;
      put<uint16_t>(header + table_bytes + entry * 2, bits);
    }
    put<uint16_t>(header + entry * 2, static_cast<uint16_t>(scale));
    memory.factor[entry] = math::divide(1.0f, math::from_bf16(scale));
  }

  // The code of an element; int4 in the low four bits.
  KVTIER_BOTH uint32_t code(const format::Plane& f, const HeadMemory& memory, uint32_t r,
                            uint32_t d) const {
    const uint32_t entry = f.keys && codec != Codec::kFp8TokenHead && codec != Codec::kFp8Tensor
                               ? d
                               : r * f.groups() + d / f.group_dims();
    const float value = value_of(shape.element, memory.tile[r * memory.tile_stride + d]);
    if (codec == Codec::kInt8) {
      return static_cast<uint32_t>(math::int8_code(value, memory.factor[entry])) & 0xff;
    }
    if (codec == Codec::kInt4) {
      return static_cast<uint32_t>(
                 math::int4_code(value, memory.least[entry], memory.factor[entry])) &
             15;
    }
    return math::fp8_code(math::multiply(value, memory.factor[entry]));
  }

  KVTIER_BOTH void codes(const HeadPlace& place, const HeadMemory& memory, uint32_t thread) const {
    const format::Plane& f = place.plane;
    const uint32_t count = f.band_tokens(place.band);
    std::byte* out = head_payload(place) + f.head_header_bytes(count);
    const auto row_bytes = static_cast<uint32_t>(f.row_code_bytes());
    const uint32_t used = count * row_bytes;
    // Four bytes a thread; codes and their padding are whole words.
    for (uint32_t word = thread; word < f.code_bytes(count) / 4; word += kThreads) {
      uint32_t packed = 0;
      for (uint32_t k = 0; k < 4; ++k) {
        const uint32_t byte = word * 4 + k;
        if (byte >= used) break;
        const uint32_t r = byte / row_bytes;
        const uint32_t d = byte % row_bytes;
        uint32_t value = 0;
        if (codec == Codec::kInt4) {
          value = code(f, memory, r, 2 * d);
          if (2 * d + 1 < f.dim) value |= code(f, memory, r, 2 * d + 1) << 4;
        } else {
          value = code(f, memory, r, d);
        }
        packed |= value << (8 * k);
      }
      put<uint32_t>(out + word * 4, packed);
    }
  }
};

// ---- the scales of int8's keys, before EncodeProgram: a block is one head of one layer ----

struct ChannelProgram {
  static constexpr int kPhases = 2;
  ChunkShape shape;
  DeviceLayout layout;
  std::byte* payload;
  uint32_t* status;

  KVTIER_BOTH static uint32_t blocks(const ChunkShape& shape) { return shape.layers * shape.heads; }
  // Threads that share a channel's tokens.
  KVTIER_BOTH uint32_t parts() const { return shape.dim < kThreads ? kThreads / shape.dim : 1; }
  KVTIER_BOTH static uint32_t shared_bytes(uint32_t dim) {
    return (dim < kThreads ? kThreads : dim) * 2;
  }

  KVTIER_BOTH void phase(int number, Who who, std::byte* shared) const {
    auto* most = reinterpret_cast<uint16_t*>(shared);  // [part][dim]
    const uint32_t layer = who.block / shape.heads;
    const uint32_t head = who.block % shape.heads;
    if (number == 0) {
      for (uint32_t i = who.thread; i < parts() * shape.dim; i += kThreads) {
        uint32_t absmax = 0;
        for (uint32_t token = i / shape.dim; token < shape.tokens; token += parts()) {
          const std::byte* row = row_at(shape, layout, layer * 2, token, head);
          const uint32_t bits = get<uint16_t>(row + i % shape.dim * 2) & 0x7fffu;
          absmax = bits > absmax ? bits : absmax;
        }
        most[i] = static_cast<uint16_t>(absmax);
      }
      return;
    }
    const format::Plane keys = {Codec::kInt8, true, shape.heads, shape.dim, shape.tokens};
    const format::Plane values = {Codec::kInt8, false, shape.heads, shape.dim, shape.tokens};
    std::byte* table =
        payload + layer * (keys.bytes() + values.bytes()) + head * keys.channel_header_bytes();
    for (uint32_t d = who.thread; d < shape.dim; d += kThreads) {
      uint32_t absmax = 0;
      for (uint32_t part = 0; part < parts(); ++part) {
        const uint32_t bits = most[part * shape.dim + d];
        absmax = bits > absmax ? bits : absmax;
      }
      if (absmax >= math::not_finite_from(shape.element)) report(status, Status::kNotFinite);
      put<uint16_t>(table + d * 2,
                    static_cast<uint16_t>(math::int8_scale(value_of(shape.element, absmax))));
    }
    pad(table, shape.dim * uint64_t{2}, keys.channel_header_bytes(), who.thread);
  }
};

// ---- the exponent of fp8 by tensor, before EncodeProgram: a block is one plane ----

struct TensorProgram {
  static constexpr int kPhases = 2;
  ChunkShape shape;
  DeviceLayout layout;
  std::byte* payload;
  uint32_t* status;

  KVTIER_BOTH void phase(int number, Who who, std::byte* shared) const {
    auto* most = reinterpret_cast<uint16_t*>(shared);  // [thread]
    if (number == 0) {
      uint32_t absmax = 0;
      const uint32_t channels = shape.heads * shape.dim;
      for (uint64_t i = who.thread; i < uint64_t{channels} * shape.tokens; i += kThreads) {
        const auto channel = static_cast<uint32_t>(i % channels);
        const std::byte* row = row_at(shape, layout, who.block, static_cast<uint32_t>(i / channels),
                                      channel / shape.dim);
        const uint32_t bits = get<uint16_t>(row + channel % shape.dim * 2) & 0x7fffu;
        absmax = bits > absmax ? bits : absmax;
      }
      most[who.thread] = static_cast<uint16_t>(absmax);
      return;
    }
    const format::Plane plane = {Codec::kFp8Tensor, false, shape.heads, shape.dim, shape.tokens};
    std::byte* header = payload + who.block * plane.bytes();
    pad(header, 1, plane.header_bytes(), who.thread);
    if (who.thread != 0) return;
    uint32_t absmax = 0;
    for (uint32_t i = 0; i < kThreads; ++i) absmax = most[i] > absmax ? most[i] : absmax;
    if (absmax >= math::not_finite_from(shape.element)) {
      report(status, Status::kNotFinite);
      absmax = 0;
    }
    put<uint8_t>(header, static_cast<uint8_t>(math::fp8_exponent(value_of(shape.element, absmax))));
  }
};

// ---- decode: scales, elements ----

struct DecodeProgram {
  static constexpr int kPhases = 2;
  Codec codec;
  ChunkShape shape;
  DeviceLayout layout;
  const std::byte* payload;  // at a multiple of 16
  uint32_t* status;
  bool paired;  // rows at multiples of 4 and an even dim: two elements a store

  KVTIER_BOTH void phase(int number, Who who, std::byte* shared) const {
    const HeadPlace place = head_of_block(codec, shape, who.block);
    const HeadMemory memory = HeadMemory::in(shared, 0);
    const format::Plane& f = place.plane;
    const uint32_t count = f.band_tokens(place.band);
    const std::byte* in =
        payload + place.plane_offset + f.band_offset(place.band) + place.head * f.head_bytes(count);
    if (number == 0) return scales(place, memory, in, count, who.thread);
    elements(place, memory, in + f.head_header_bytes(count), count, who.thread);
  }

 private:
  KVTIER_BOTH bool by_channel(const format::Plane& f) const {
    return f.keys && (codec == Codec::kInt8 || codec == Codec::kInt4);
  }

  KVTIER_BOTH void scales(const HeadPlace& place, const HeadMemory& memory, const std::byte* in,
                          uint32_t count, uint32_t thread) const {
    const format::Plane& f = place.plane;
    const uint32_t entries = by_channel(f) ? f.dim : count * f.groups();
    const std::byte* table = in;
    if (codec == Codec::kFp8Tensor) table = payload + place.plane_offset;
    if (codec == Codec::kInt8 && f.keys) {
      table = payload + place.plane_offset + place.head * f.channel_header_bytes();
    }
    for (uint32_t entry = thread; entry < entries; entry += kThreads) {
      bool sound = true;
      if (codec == Codec::kInt8 || codec == Codec::kInt4) {
        const uint32_t bits = get<uint16_t>(table + entry * 2);
        sound = math::scale_is_sound(bits);
        memory.factor[entry] = math::from_bf16(bits);
      } else {
        const auto exponent =
            static_cast<int8_t>(get<uint8_t>(table + (codec == Codec::kFp8Tensor ? 0 : entry)));
        sound = exponent >= math::kExponentMin && exponent <= math::kExponentMax;
        memory.factor[entry] = sound ? math::power_of_two(exponent) : 0.0f;
      }
      if (codec == Codec::kInt4) {
        const uint32_t bits = get<uint16_t>(in + f.table_bytes(count) + entry * 2);
        sound = sound && (bits & 0x7fff) < math::not_finite_from(shape.element);
        memory.least[entry] = value_of(shape.element, bits);
      }
      if (!sound) report(status, Status::kMalformed);
    }
  }

  KVTIER_BOTH uint32_t element(const format::Plane& f, const HeadMemory& memory,
                               const std::byte* codes, uint32_t r, uint32_t d) const {
    const uint32_t entry = by_channel(f) ? d : r * f.groups() + d / f.group_dims();
    const float factor = memory.factor[entry];
    const uint64_t row = r * f.row_code_bytes();
    if (codec == Codec::kInt4) {
      const uint32_t pair = get<uint8_t>(codes + row + d / 2);
      const float number = static_cast<float>((pair >> (d % 2 * 4)) & 15);
      return bits_from(shape.element,
                       math::add(math::multiply(number, factor), memory.least[entry]));
    }
    const uint32_t code = get<uint8_t>(codes + row + d);
    const float number = codec == Codec::kInt8
                             ? static_cast<float>(static_cast<int8_t>(static_cast<uint8_t>(code)))
                             : math::fp8_value(code);
    return bits_from(shape.element, math::multiply(number, factor));
  }

  KVTIER_BOTH void elements(const HeadPlace& place, const HeadMemory& memory,
                            const std::byte* codes, uint32_t count, uint32_t thread) const {
    const format::Plane& f = place.plane;
    const uint32_t unit = paired ? 2 : 1;
    const uint32_t per_row = f.dim / unit;
    for (uint32_t i = thread; i < count * per_row; i += kThreads) {
      const uint32_t r = i / per_row;
      const uint32_t d = i % per_row * unit;
      std::byte* to = row_at(shape, layout, place.plane_index, place.band * format::kBandTokens + r,
                             place.head) +
                      d * 2;
      const uint32_t first = element(f, memory, codes, r, d);
      if (paired) {
        put<uint32_t>(to, first | (element(f, memory, codes, r, d + 1) << 16));
      } else {
        put<uint16_t>(to, static_cast<uint16_t>(first));
      }
    }
  }
};

}  // namespace kvtier::kernels::cuda
