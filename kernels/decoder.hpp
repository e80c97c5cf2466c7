// A payload to a chunk, in the order of the format. Internal to kernels/codec.cpp. One thread;
// about 130 KiB.
#pragma once

#include "kernels/codec_streams.hpp"

namespace kvtier::kernels::detail {

template <typename Rows>
class Decoder {
 public:
  Decoder(Codec codec, const ChunkShape& shape, Rows& rows, Source& source, bool stream)
      : codec_(codec),
        shape_(shape),
        rows_(rows),
        source_(source),
        stream_(stream),
        use_(codec_operations(shape.element)) {}

  Status run() {
    for (uint32_t layer = 0; layer < shape_.layers; ++layer) {
      for (uint32_t p = 0; p < shape_.planes; ++p) {
        plane_ = format::plane_of(codec_, shape_, p);
        if (const Status status = plane_header(); status != Status::kOk) return status;
        for (uint32_t band = 0; band < plane_.bands(); ++band) {
          rows_.find(layer, p, band, &here_);
          for (uint32_t head = 0; head < shape_.heads; ++head) {
            if (const Status status = decode_head(band, head); status != Status::kOk) return status;
          }
        }
      }
    }
    return Status::kOk;
  }

 private:
  uint32_t channel_stride() const { return static_cast<uint32_t>(format::padded(shape_.dim)); }

  static bool exponent_from(const std::byte* from, float* out) {
    const auto exponent = static_cast<int8_t>(std::to_integer<uint8_t>(*from));
    if (exponent < math::kExponentMin || exponent > math::kExponentMax) return false;
    *out = math::power_of_two(exponent);
    return true;
  }

  Status plane_header() {
    if (codec_ == Codec::kFp8Tensor) {
      const std::byte* header = source_.take(64, buffer_);
      return exponent_from(header, &tensor_scale_) ? Status::kOk : Status::kMalformed;
    }
    if (codec_ != Codec::kInt8 || !plane_.keys) return Status::kOk;
    for (uint32_t head = 0; head < shape_.heads; ++head) {
      const std::byte* header = source_.take(plane_.channel_header_bytes(), buffer_);
      if (!use_.scales_from(header, shape_.dim, channel_scale_ + head * channel_stride())) {
        return Status::kMalformed;
      }
    }
    return Status::kOk;
  }

  Status decode_head(uint32_t band, uint32_t head) {
    const uint32_t count = plane_.band_tokens(band);
    const RowsOut out = {here_.rows, head * rows_.head_stride(), count, shape_.dim, stream_};
    const std::byte* in = source_.take(plane_.head_bytes(count), buffer_);
    const std::byte* codes = in + plane_.head_header_bytes(count);
    const uint32_t entries = plane_.keys ? shape_.dim : count * plane_.groups();
    bool sound = true;
    switch (codec_) {
      case Codec::kInt8:
        if (plane_.keys) {
          use_.from_int8_channels(codes, channel_scale_ + head * channel_stride(), out);
          break;
        }
        sound = use_.scales_from(in, entries, tables_.factor);
        if (sound) use_.from_int8_groups(codes, tables_.factor, out);
        break;
      case Codec::kInt4:
        sound = use_.scales_from(in, entries, tables_.factor) &&
                use_.least_from(in + plane_.table_bytes(count), entries, tables_.least_value);
        if (!sound) break;
        (plane_.keys ? use_.from_int4_channels : use_.from_int4_groups)(codes, tables_.least_value,
                                                                        tables_.factor, out);
        break;
      default:
        for (uint32_t r = 0; r < count; ++r) {
          if (codec_ == Codec::kFp8Tensor) {
            tables_.factor[r] = tensor_scale_;
          } else {
            sound &= exponent_from(in + r, &tables_.factor[r]);
          }
        }
        if (sound) use_.from_fp8_rows(codes, tables_.factor, out);
        break;
    }
    return sound ? Status::kOk : Status::kMalformed;
  }

  const Codec codec_;
  const ChunkShape& shape_;
  Rows& rows_;
  Source& source_;
  const bool stream_;
  const CodecOperations& use_;
  Plane plane_ = {};
  BandRows<std::byte*> here_;
  float tensor_scale_ = 0;
  alignas(64) float channel_scale_[kChannelsMax];
  Tables tables_;
  alignas(64) std::byte buffer_[kHeadBytesMax];
};

}  // namespace kvtier::kernels::detail
