// A chunk to a payload: statistics, scales and codes of each head of each band, in the order of the
// format. Internal to kernels/codec.cpp. One thread; about 160 KiB.
#pragma once

#include "kernels/codec_streams.hpp"

namespace kvtier::kernels::detail {

template <typename Rows>
class Encoder {
 public:
  Encoder(Codec codec, const ChunkShape& shape, Rows& rows, Sink& sink)
      : codec_(codec),
        shape_(shape),
        rows_(rows),
        sink_(sink),
        use_(codec_operations(shape.element)) {}

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
  // The rows of a head for a first look: nothing else is fetched.
  RowsIn rows_of(uint32_t band, uint32_t head) const {
    const uint64_t offset = head * rows_.head_stride();
    return {here_.rows, offset, here_.rows, offset, plane_.band_tokens(band), shape_.dim};
  }
  // The same for the pass that encodes: meanwhile this head's share of the next band is fetched, in
  // the order in which that lies in memory.
  RowsIn rows_and_next(const RowsIn& in, uint32_t head) {
    const uint64_t stride = rows_.head_stride();
    const bool heads_adjoin = stride == shape_.row_bytes();
    if (!heads_adjoin) {
      for (uint32_t r = 0; r < in.count; ++r) ahead_.rows[r] = next_.rows[r] + head * stride;
    } else {
      uint32_t token = head * in.count / shape_.heads;
      uint32_t of_token = head * in.count % shape_.heads;
      for (uint32_t r = 0; r < in.count; ++r) {
        ahead_.rows[r] = next_.rows[token] + of_token * stride;
        if (++of_token == shape_.heads) {
          of_token = 0;
          ++token;
        }
      }
    }
    RowsIn both = in;
    both.next = ahead_.rows;
    both.next_offset = 0;
    return both;
  }
  // The rows of a band, and of the one after it, which is fetched meanwhile.
  void find(uint32_t layer, uint32_t p, uint32_t band) {
    rows_.find(layer, p, band, &here_);
    next_ = here_;  // where the next band is shorter, or none
    if (band + 1 < plane_.bands()) {
      rows_.find(layer, p, band + 1, &next_);
    } else if (p + 1 < shape_.planes) {
      rows_.find(layer, p + 1, 0, &next_);
    } else if (layer + 1 < shape_.layers) {
      rows_.find(layer + 1, 0, 0, &next_);
    }
  }

  Status encode_plane(uint32_t layer, uint32_t p) {
    if (codec_ == Codec::kFp8Tensor || (codec_ == Codec::kInt8 && plane_.keys)) {
      if (const Status status = plane_header(layer, p); status != Status::kOk) return status;
    }
    for (uint32_t band = 0; band < plane_.bands(); ++band) {
      find(layer, p, band);
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
      find(layer, p, band);
      RowsIn in = rows_of(band, 0);
      for (uint32_t r = 0; r < in.count; ++r) {  // two rows ahead
        ahead_.rows[r] = r + 2 < in.count ? here_.rows[r + 2] : next_.rows[r + 2 - in.count];
      }
      in.next = ahead_.rows;
      if (heads_adjoin) {
        in.dim = shape_.heads * shape_.dim;
        use_.absmax_channels(in, channel_absmax_);
        continue;
      }
      for (uint32_t head = 0; head < shape_.heads; ++head) {
        in.offset = in.next_offset = head * rows_.head_stride();
        use_.absmax_channels(in, channel_absmax_ + head * padded_dim);
      }
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
    const RowsIn in = rows_of(band, head);
    const uint64_t header = plane_.head_header_bytes(in.count);
    std::byte* codes = buffer_ + header;
    const uint64_t code_bytes = in.count * plane_.row_code_bytes();
    std::memset(codes + code_bytes, 0, plane_.code_bytes(in.count) - code_bytes);
    const RowsIn again = rows_and_next(in, head);
    Status status = Status::kOk;
    if (codec_ == Codec::kInt8) {
      status = plane_.keys ? int8_keys(again, head, codes) : int8_values(in, again, codes);
    } else if (codec_ == Codec::kInt4) {
      status = plane_.keys ? int4_keys(in, again, codes) : int4_values(in, again, codes);
    } else {
      status = codec_ == Codec::kFp8Tensor ? fp8_tensor(again, codes) : fp8_rows(in, again, codes);
    }
    if (status != Status::kOk) return status;
    sink_.put(buffer_, header + plane_.code_bytes(in.count));
    return Status::kOk;
  }

  Status int8_keys(const RowsIn& in, uint32_t head, std::byte* codes) {
    use_.int8_channels(in, channel_inverse_ + head * channel_stride(), codes);
    return Status::kOk;
  }
  Status int8_values(const RowsIn& in, const RowsIn& again, std::byte* codes) {
    const uint32_t entries = in.count * plane_.groups();
    use_.absmax_groups(in, plane_.group_dims(), tables_.absmax);
    if (!use_.int8_scales(tables_.absmax, entries, tables_.scale_bits, tables_.factor)) {
      return Status::kNotFinite;
    }
    put_table(buffer_, tables_.scale_bits, uint64_t{entries} * 2, plane_.table_bytes(in.count));
    use_.int8_groups(again, tables_.factor, codes);
    return Status::kOk;
  }
  bool int4_tables(uint32_t entries, uint32_t count) {
    if (!use_.int4_scales(tables_.least, tables_.most, entries, tables_.scale_bits,
                          tables_.least_bits, tables_.least_value, tables_.factor)) {
      return false;
    }
    const uint64_t table = plane_.table_bytes(count);
    put_table(buffer_, tables_.scale_bits, uint64_t{entries} * 2, table);
    put_table(buffer_ + table, tables_.least_bits, uint64_t{entries} * 2, table);
    return true;
  }
  Status int4_keys(const RowsIn& in, const RowsIn& again, std::byte* codes) {
    const uint32_t padded_dim = channel_stride();
    std::fill_n(tables_.least, padded_dim, INT16_MAX);
    std::fill_n(tables_.most, padded_dim, INT16_MIN);
    use_.range_channels(in, tables_.least, tables_.most);
    std::fill(tables_.least + shape_.dim, tables_.least + padded_dim, int16_t{0});
    std::fill(tables_.most + shape_.dim, tables_.most + padded_dim, int16_t{0});
    if (!int4_tables(shape_.dim, in.count)) return Status::kNotFinite;
    use_.int4_channels(again, tables_.least_value, tables_.factor, codes);
    return Status::kOk;
  }
  Status int4_values(const RowsIn& in, const RowsIn& again, std::byte* codes) {
    use_.range_groups(in, plane_.group_dims(), tables_.least, tables_.most);
    if (!int4_tables(in.count * plane_.groups(), in.count)) return Status::kNotFinite;
    use_.int4_groups(again, tables_.least_value, tables_.factor, codes);
    return Status::kOk;
  }
  Status fp8_rows(const RowsIn& in, const RowsIn& again, std::byte* codes) {
    use_.absmax_groups(in, kDimMax, tables_.absmax);
    std::memset(buffer_, 0, plane_.table_bytes(in.count));
    for (uint32_t r = 0; r < in.count; ++r) {
      if (tables_.absmax[r] >= math::not_finite_from(shape_.element)) return Status::kNotFinite;
      const int exponent = math::fp8_exponent(element_value(shape_.element, tables_.absmax[r]));
      buffer_[r] = static_cast<std::byte>(exponent);
      tables_.factor[r] = math::power_of_two(-exponent);
    }
    use_.fp8_rows(again, tables_.factor, codes);
    return Status::kOk;
  }
  Status fp8_tensor(const RowsIn& in, std::byte* codes) {
    std::fill_n(tables_.factor, in.count, math::power_of_two(-tensor_exponent_));
    use_.fp8_rows(in, tables_.factor, codes);
    return Status::kOk;
  }

  const Codec codec_;
  const ChunkShape& shape_;
  Rows& rows_;
  Sink& sink_;
  const CodecOperations& use_;
  Plane plane_ = {};
  BandRows<const std::byte*> here_;
  BandRows<const std::byte*> next_;
  BandRows<const std::byte*> ahead_;
  int tensor_exponent_ = 0;
  alignas(64) uint16_t channel_absmax_[kChannelsMax];  // heads at channel_stride()
  alignas(64) float channel_inverse_[kChannelsMax];
  Tables tables_;
  alignas(64) std::byte buffer_[kHeadBytesMax];
};

}  // namespace kvtier::kernels::detail
