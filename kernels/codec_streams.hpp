// What encoder and decoder share: tables of scales, and the payload as a stream of bytes, hashed on
// the way. Internal to kernels/codec.cpp. One thread.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/codec_format.hpp"
#include "kernels/codec_math.hpp"
#include "kernels/codec_rows.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/row_source.hpp"

namespace kvtier::kernels::detail {

using format::kBandTokens;
using format::Plane;

// A table of scales of one head in a band: by channel, or by row and group (32 * 32 at most, for
// int4 values of kDimMax).
constexpr size_t kEntriesMax = std::max<size_t>(kDimMax, kBandTokens*(kDimMax / 32));
// The largest head of a band: int8 of kDimMax with a byte an element, or int4's tables.
constexpr size_t kHeadBytesMax = size_t{40} * 1024;

struct Tables {
  alignas(64) uint16_t absmax[kEntriesMax] = {};
  alignas(64) int16_t least[kEntriesMax] = {};
  alignas(64) int16_t most[kEntriesMax] = {};
  alignas(64) uint16_t scale_bits[kEntriesMax] = {};
  alignas(64) uint16_t least_bits[kEntriesMax] = {};
  alignas(64) float least_value[kEntriesMax] = {};
  alignas(64) float factor[kEntriesMax] = {};
};

inline StoreKind store_kind(uint64_t bytes, const CopyOptions& options) {
  if (options.store != StoreKind::kBySize) return options.store;
  return bytes > options.temporal_bytes_max ? StoreKind::kStreaming : StoreKind::kTemporal;
}

// Where encoded bytes go, in order: what is hashed is what is stored.
class Sink {
 public:
  Sink(PayloadTarget target, bool hashed, const CopyOptions& options)
      : tree_(target.bytes),
        at_(target.data),
        hashed_(hashed),
        store_(store_kind(target.bytes, options)) {}

  // `next`: where the caller goes on reading, or null.
  void put(const std::byte* from, uint64_t bytes, const std::byte* next = nullptr) {
    if (hashed_) {
      (void)tree_.copy_update(at_, from, bytes, store_, next);  // the sizes are the format's
    } else if (store_ == StoreKind::kStreaming) {
      operations().copy_stream(at_, from, bytes, next);
    } else {
      std::memcpy(at_, from, bytes);
    }
    at_ += bytes;
  }
  void finish(uint64_t* root) {
    if (store_ == StoreKind::kStreaming) stores_done();
    if (hashed_) (void)tree_.root(root);
  }

 private:
  ChecksumTree tree_;
  std::byte* at_;
  bool hashed_;
  StoreKind store_;
};

// Where encoded bytes come from, in order. Hashed ones are copied first: what was hashed is what is
// decoded, whatever another process does to the payload.
class Source {
 public:
  Source(PayloadSource source, bool hashed)
      : tree_(source.bytes), at_(source.data), hashed_(hashed) {}

  const std::byte* take(uint64_t bytes, std::byte* buffer) {
    const std::byte* from = at_;
    at_ += bytes;
    if (!hashed_) return from;
    (void)tree_.copy_update(buffer, from, bytes, StoreKind::kTemporal, at_);
    return buffer;
  }
  void finish(uint64_t* root) const {
    if (hashed_) (void)tree_.root(root);
  }

 private:
  ChecksumTree tree_;
  const std::byte* at_;
  bool hashed_;
};

inline float element_value(Element element, uint32_t bits) {
  return element == Element::kBf16 ? math::from_bf16(bits) : math::from_f16(bits);
}

}  // namespace kvtier::kernels::detail
