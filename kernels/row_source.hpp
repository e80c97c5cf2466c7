// Finds the rows of a band in paged memory or in a list of fragments. Internal to kernels/. Pure;
// the layout was checked by whoever made one of these.
#pragma once

#include <algorithm>
#include <span>

#include "kernels/codec_format.hpp"

namespace kvtier::kernels::detail {

// For each token of a band the address of head 0. `Pointer` is std::byte* or const std::byte*.
template <typename Pointer>
struct BandRows {
  Pointer rows[format::kBandTokens];
};

template <typename Pointer>
class PagedRows {
 public:
  PagedRows(const ChunkShape& shape, const PagedLayout& layout) : shape_(shape), layout_(layout) {}

  Status check() const { return check_layout(shape_, layout_); }
  uint64_t head_stride() const { return layout_.head_stride; }

  void find(uint32_t layer, uint32_t plane, uint32_t band, BandRows<Pointer>* out) const {
    const Pointer base = layout_.bases[layer * shape_.planes + plane];
    const uint32_t first = band * format::kBandTokens;
    const uint32_t end = std::min(shape_.tokens, first + format::kBandTokens);
    uint32_t inside = first % layout_.block_tokens;
    const uint32_t* block = layout_.blocks + first / layout_.block_tokens;
    for (uint32_t token = first; token < end; ++token) {
      out->rows[token - first] =
          base + *block * layout_.block_stride + inside * layout_.token_stride;
      if (++inside == layout_.block_tokens) {
        inside = 0;
        ++block;
      }
    }
  }

 private:
  const ChunkShape& shape_;
  const PagedLayout& layout_;
};

// Fragments in the order of the raw chunk, asked for mostly in that order: a cursor walks along.
template <typename Pointer, typename Item>
class FragmentRows {
 public:
  FragmentRows(const ChunkShape& shape, std::span<const Item> items)
      : shape_(shape), items_(items) {}

  Status check() const {
    if (const Status status = check_shape(shape_); status != Status::kOk) return status;
    uint64_t left = shape_.raw_bytes();
    for (const Item& item : items_) {
      if (item.bytes > left || item.bytes % shape_.token_bytes() != 0) return Status::kLayout;
      left -= item.bytes;
    }
    return left == 0 ? Status::kOk : Status::kLayout;
  }
  uint64_t head_stride() const { return shape_.row_bytes(); }

  void find(uint32_t layer, uint32_t plane, uint32_t band, BandRows<Pointer>* out) {
    const uint32_t first = band * format::kBandTokens;
    const uint32_t end = std::min(shape_.tokens, first + format::kBandTokens);
    const uint64_t bytes = shape_.token_bytes();
    uint64_t at = (layer * shape_.planes + plane) * shape_.plane_bytes() + first * bytes;
    while (at < start_) start_ -= items_[--index_].bytes;
    for (uint32_t token = first; token < end; ++token, at += bytes) {
      while (at - start_ >= items_[index_].bytes) start_ += items_[index_++].bytes;
      out->rows[token - first] = items_[index_].data + (at - start_);
    }
  }

 private:
  const ChunkShape& shape_;
  const std::span<const Item> items_;
  uint64_t start_ = 0;  // of fragment index_ in the raw chunk
  size_t index_ = 0;
};

}  // namespace kvtier::kernels::detail
