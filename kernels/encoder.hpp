// A chunk to a payload: statistics, scales and codes of each head of each band, in the order of the
// format. Internal to kernels/codec.cpp. One thread; about 160 KiB.
#pragma once

#include "kernels/codec_streams.hpp"
#include "kernels/read_ahead.hpp"

namespace kvtier::kernels::detail {

template <typename Rows>
class Encoder {
 public:
  Encoder(Codec codec, const ChunkShape& shape, Rows& rows, Sink& sink)
      : codec_(codec),
        shape_(shape),
        rows_(rows),
        sink_(sink),
        use_(codec_operations(shape.element)),
        ahead_(shape, rows) {}

  Status run() {
    for (uint32_t layer = 0; layer < shape_.layers; ++layer) {
      for (uint32_t p = 0; p < shape_.planes; ++p) {
        plane_ = format::plane_of(codec_, shape_, p);
        if (const Status status = encode_plane(layer, p); status != Status::kOk) return status;
      }
    }
    return Status::kOk;
  }

 private:
  // The rows of a head, and of what is fetched meanwhile: `share` of as much.
  RowsIn rows_of(uint32_t band, uint32_t head, uint32_t share) {
    const uint64_t offset = head * rows_.head_stride();
    const uint32_t count = plane_.band_tokens(band);
    ahead_.next(here_.rows, offset, count, shape_.row_bytes(), share, ahead_rows_.rows);
    return {here_.rows, offset, ahead_rows_.rows, count, shape_.dim};
  }

  Status encode_plane(uint32_t layer, uint32_t p) {
    if (codec_ == Codec::kFp8Tensor || (codec_ == Codec::kInt8 && plane_.keys)) {
      if (const Status status = plane_header(layer, p); status != Status::kOk) return status;
    }
    for (uint32_t band = 0; band < plane_.bands(); ++band) {
      rows_.find(layer, p, band, &here_);
      for (uint32_t head = 0; head < shape_.heads; ++head) {
        if (const Status status = encode_head(band, head); status != Status::kOk) return status;
      }
    }
    return Status::kOk;
  }

  // The first of two passes: statistics of the whole plane.
  Status plane_header(uint32_t layer, uint32_t p) {
    const uint32_t padded_dim = channel_stride();
    std::memset(channel_absmax_, 0, shape_.heads * padded_dim * sizeof(uint16_t));
    const bool heads_adjoin = rows_.head_stride() == shape_.row_bytes() && padded_dim == shape_.dim;
    for (uint32_t band = 0; band < plane_.bands(); ++band) {
      rows_.find(layer, p, band, &here_);
      const uint32_t count = plane_.band_tokens(band);
      if (heads_adjoin) {
        ahead_.next(here_.rows, 0, count, shape_.token_bytes(), kFirstLookShare, ahead_rows_.rows);
        use_.absmax_channels({here_.rows, 0, ahead_rows_.rows, count, shape_.heads * shape_.dim},
                             channel_absmax_);
      } else {
        for (uint32_t head = 0; head < shape_.heads; ++head) {
          use_.absmax_channels(rows_of(band, head, kFirstLookShare),
                               channel_absmax_ + head * padded_dim);
        }
      }
      ahead_.used(count * shape_.token_bytes());
    }
    if (codec_ == Codec::kFp8Tensor) {
      const uint16_t most =
          *std::max_element(channel_absmax_, channel_absmax_ + shape_.heads * padded_dim);
      if (most >= math::not_finite_from(shape_.element)) return Status::kNotFinite;
      tensor_exponent_ = math::fp8_exponent(element_value(shape_.element, most));
      std::memset(buffer_, 0, 64);
      buffer_[0] = static_cast<std::byte>(tensor_exponent_);
      sink_.put(buffer_, 64);
      return Status::kOk;
    }
    for (uint32_t head = 0; head < shape_.heads; ++head) {
      if (!use_.int8_scales(channel_absmax_ + head * padded_dim, padded_dim, tables_.scale_bits,
                            channel_inverse_ + head * padded_dim)) {
        return Status::kNotFinite;
      }
      put_table(buffer_, tables_.scale_bits, shape_.dim * uint64_t{2},
                plane_.channel_header_bytes());
      sink_.put(buffer_, plane_.channel_header_bytes());
    }
    return Status::kOk;
  }
  uint32_t channel_stride() const { return static_cast<uint32_t>(format::padded(shape_.dim)); }

  static void put_table(std::byte* to, const void* from, uint64_t bytes, uint64_t padded_bytes) {
    std::memcpy(to, from, bytes);
    std::memset(to + bytes, 0, padded_bytes - bytes);
  }

  Status encode_head(uint32_t band, uint32_t head) {
    const bool second_look = codec_ == Codec::kFp8Tensor || (codec_ == Codec::kInt8 && plane_.keys);
    const RowsIn in = rows_of(band, head, second_look ? kSecondLookShare : kOnlyLookShare);
    if (!second_look) ahead_.used(in.count * shape_.row_bytes());
    const uint64_t header = plane_.head_header_bytes(in.count);
    std::byte* codes = buffer_ + header;
    const uint64_t code_bytes = in.count * plane_.row_code_bytes();
    std::memset(codes + code_bytes, 0, plane_.code_bytes(in.count) - code_bytes);
    bool finite = true;
    switch (codec_) {
      case Codec::kInt8:
        if (plane_.keys) {
          use_.int8_channels(in, channel_inverse_ + head * channel_stride(), codes);
          break;
        }
        finite = use_.int8_groups(in, tables_.scale_bits, codes);
        put_tables(in.count, 1);
        break;
      case Codec::kInt4:
        finite = (plane_.keys ? use_.int4_channels : use_.int4_groups)(in, tables_.scale_bits,
                                                                       tables_.least_bits, codes);
        put_tables(in.count, 2);
        break;
      case Codec::kFp8Tensor:
        use_.fp8_scaled(in, math::power_of_two(-tensor_exponent_), codes);
        break;
      default:
        std::memset(buffer_, 0, plane_.table_bytes(in.count));
        finite = use_.fp8_rows(in, buffer_, codes);
        break;
    }
    if (!finite) return Status::kNotFinite;
    sink_.put(buffer_, header + plane_.code_bytes(in.count));
    return Status::kOk;
  }

  // Scales, and least values where there are two.
  void put_tables(uint32_t count, int tables) {
    const uint64_t bytes = (plane_.keys ? shape_.dim : count * plane_.groups()) * uint64_t{2};
    const uint64_t padded = plane_.table_bytes(count);
    put_table(buffer_, tables_.scale_bits, bytes, padded);
    if (tables == 2) put_table(buffer_ + padded, tables_.least_bits, bytes, padded);
  }

  // What a pass over elements costs, in parts of what all over them cost together: memory is kept
  // as busy in each.
  static constexpr uint32_t kFirstLookShare = 32;
  static constexpr uint32_t kSecondLookShare = 32;
  static constexpr uint32_t kOnlyLookShare = 64;

  const Codec codec_;
  const ChunkShape& shape_;
  Rows& rows_;
  Sink& sink_;
  const CodecOperations& use_;
  Plane plane_ = {};
  BandRows<const std::byte*> here_;
  ReadAhead<Rows> ahead_;
  BandRows<const std::byte*> ahead_rows_;
  int tensor_exponent_ = 0;
  alignas(64) uint16_t channel_absmax_[kChannelsMax];  // heads at channel_stride()
  alignas(64) float channel_inverse_[kChannelsMax];
  Tables tables_;
  alignas(64) std::byte buffer_[kHeadBytesMax];
};

}  // namespace kvtier::kernels::detail
