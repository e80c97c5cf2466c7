// Where an encoder reads next, so that memory is busy while it computes: the rows of a chunk in the
// order in which they are used first, some way ahead of that. Internal to kernels/. One thread.
#pragma once

#include <immintrin.h>

#include "kernels/row_source.hpp"

namespace kvtier::kernels::detail {

template <typename Rows>
class ReadAhead {
 public:
  // Less than this ahead, and memory's latency shows; more, and what was fetched is gone from a
  // second-level cache of 1 MiB before it is used (docs/kernels.md, "Measured").
  static constexpr int64_t kLeastBytes = 64 * 1024;
  static constexpr int64_t kMostBytes = 512 * 1024;
  // What a share is given in: this many mean that as much is fetched as is worked on.
  static constexpr uint32_t kWholeShare = 64;

  // A copy of the rows: its place in a list of fragments is another.
  ReadAhead(const ChunkShape& shape, const Rows& rows)
      : shape_(shape),
        rows_(rows),
        heads_adjoin_(rows.head_stride() == shape.row_bytes()),
        part_bytes_(heads_adjoin_ ? shape.token_bytes() : shape.row_bytes()) {
    find();
  }

  // For each of `count` runs of `bytes` worked on, another to fetch: where none is due, the run.
  void next(const std::byte* const* rows, uint64_t offset, uint32_t count, uint64_t bytes,
            uint32_t share, const std::byte** out) {
    while (lead_ < kLeastBytes && layer_ < shape_.layers) fetch(take(bytes), bytes);
    due_ += count * share;
    uint32_t due = lead_ < kMostBytes ? due_ / kWholeShare : 0;
    due_ %= kWholeShare;
    due = std::min(due, count);
    uint32_t r = 0;
    while (r < due && layer_ < shape_.layers) {
      const uint64_t left = (part_bytes_ - inside_) / bytes;
      const auto some = static_cast<uint32_t>(std::min<uint64_t>(left > 0 ? left : 1, due - r));
      const std::byte* at = take(some * bytes);
      for (uint32_t i = 0; i < some; ++i) out[r + i] = at + i * bytes;
      r += some;
    }
    for (; r < count; ++r) out[r] = rows[r] + offset;
  }
  // The first look at so many bytes is done.
  void used(uint64_t bytes) { lead_ -= static_cast<int64_t>(bytes); }

 private:
  static void fetch(const std::byte* from, uint64_t bytes) {
    for (uint64_t at = 0; at < bytes; at += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(from) + at, _MM_HINT_T1);
    }
  }
  void find() {
    rows_.find(layer_, plane_, band_, &here_);
    count_ = std::min(format::kBandTokens, shape_.tokens - band_ * format::kBandTokens);
  }
  const std::byte* take(uint64_t bytes) {
    if (layer_ == shape_.layers) return nullptr;
    const std::byte* at = here_.rows[row_] + head_ * rows_.head_stride() + inside_;
    lead_ += static_cast<int64_t>(bytes);
    inside_ += bytes;
    if (inside_ < part_bytes_) return at;
    inside_ = 0;
    if (++row_ < count_) return at;
    row_ = 0;
    if (!heads_adjoin_ && ++head_ < shape_.heads) return at;
    head_ = 0;
    if (++band_ * format::kBandTokens >= shape_.tokens) {
      band_ = 0;
      if (++plane_ == shape_.planes) {
        plane_ = 0;
        ++layer_;
      }
    }
    if (layer_ < shape_.layers) find();
    return at;
  }

  const ChunkShape& shape_;
  Rows rows_;
  const bool heads_adjoin_;
  const uint64_t part_bytes_;  // that lie together
  BandRows<const std::byte*> here_;
  uint32_t layer_ = 0, plane_ = 0, band_ = 0, head_ = 0, row_ = 0, count_ = 0;
  uint64_t inside_ = 0;
  int64_t lead_ = 0;
  uint32_t due_ = 0;
};

}  // namespace kvtier::kernels::detail
