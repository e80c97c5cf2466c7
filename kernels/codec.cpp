// Encode and decode: what is asked for is checked, and handed to kernels/encoder.hpp and
// decoder.hpp, or copied where there is no codec. Any thread.
#include "kernels/codec.hpp"

#include <immintrin.h>

#include "kernels/decoder.hpp"
#include "kernels/encoder.hpp"

namespace kvtier::kernels {
namespace detail {

const CodecOperations& codec_operations(Element element) {
  const size_t i = static_cast<size_t>(element);
  switch (isa_active()) {
    case Isa::kAvx2:
      return kCodecsAvx2[i];
    case Isa::kAvx512:
      return kCodecsAvx512[i];
    case Isa::kAvx512Bf16:
      return kCodecsAvx512Bf16[i];
    case Isa::kBaseline:
      break;
  }
  return kCodecsBaseline[i];
}

}  // namespace detail

namespace {

using detail::BandRows;
using detail::Decoder;
using detail::Encoder;
using detail::PagedRows;
using detail::Sink;
using detail::Source;
using detail::store_kind;
using format::kBandTokens;

// Round to nearest, denormals as they are, no traps: what the specification takes for granted. Some
// engines set their threads otherwise.
class FloatingPoint {
 public:
  FloatingPoint() : before_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
  ~FloatingPoint() { _mm_setcsr(before_); }
  FloatingPoint(const FloatingPoint&) = delete;
  FloatingPoint& operator=(const FloatingPoint&) = delete;

 private:
  unsigned before_;
};

// Without a codec: runs of whole tokens where heads adjoin, else a head of a token at a time.
// each(run, bytes, the run after it).
template <typename Pointer, typename Each>
void for_runs(const ChunkShape& shape, PagedRows<Pointer>& rows, const Each& each) {
  BandRows<Pointer> here;
  const bool heads_adjoin = rows.head_stride() == shape.row_bytes() || shape.heads == 1;
  const uint32_t parts = heads_adjoin ? 1 : shape.heads;
  const uint64_t part_bytes = heads_adjoin ? shape.token_bytes() : shape.row_bytes();
  Pointer run = nullptr;
  uint64_t bytes = 0;
  // Adds to the run, or starts the next.
  const auto add = [&](Pointer row) {
    if (bytes > 0 && run + bytes == row) {
      bytes += part_bytes;
      return;
    }
    if (bytes > 0) each(run, bytes, row);
    run = row;
    bytes = part_bytes;
  };
  const uint32_t bands = (shape.tokens + kBandTokens - 1) / kBandTokens;
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    for (uint32_t p = 0; p < shape.planes; ++p) {
      for (uint32_t band = 0; band < bands; ++band) {
        rows.find(layer, p, band, &here);
        const uint32_t count = std::min(kBandTokens, shape.tokens - band * kBandTokens);
        for (uint32_t r = 0; r < count; ++r) {
          for (uint32_t part = 0; part < parts; ++part) {
            add(here.rows[r] + part * rows.head_stride());
          }
        }
      }
    }
  }
  each(run, bytes, nullptr);
}

template <typename Rows>
Status encode_rows(Codec codec, const ChunkShape& shape, Rows& rows, PayloadTarget payload,
                   uint64_t* root, const CopyOptions& options) {
  const FloatingPoint as_specified;
  Sink sink(payload, root != nullptr, options);
  const Status status = Encoder<Rows>(codec, shape, rows, sink).run();
  sink.finish(root);
  return status;
}

template <typename Rows>
Status decode_rows(Codec codec, const ChunkShape& shape, Rows& rows, PayloadSource payload,
                   uint64_t* root, const CopyOptions& options) {
  const FloatingPoint as_specified;
  const bool stream = store_kind(shape.raw_bytes(), options) == StoreKind::kStreaming;
  Source source(payload, root != nullptr);
  const Status status = Decoder<Rows>(codec, shape, rows, source, stream).run();
  if (stream) stores_done();
  if (status == Status::kOk) source.finish(root);
  return status;
}

bool is_known(Codec codec) {
  return codec <= Codec::kInt4;
}

}  // namespace

const char* codec_name(Codec codec) {
  constexpr const char* kNames[] = {"none", "fp8", "fp8-tensor", "int8", "int4", "lossless"};
  const auto i = static_cast<size_t>(codec);
  return i < std::size(kNames) ? kNames[i] : nullptr;
}

bool codec_of(const char* name, Codec* codec) {
  for (uint32_t i = 0; codec_name(static_cast<Codec>(i)) != nullptr; ++i) {
    if (std::strcmp(name, codec_name(static_cast<Codec>(i))) != 0) continue;
    *codec = static_cast<Codec>(i);
    return true;
  }
  return false;
}

uint64_t encoded_bytes(Codec codec, const ChunkShape& shape) {
  if (!is_known(codec) || check_shape(shape) != Status::kOk) return 0;
  if (codec == Codec::kNone) return shape.raw_bytes();
  return format::plane_offset(codec, shape, shape.layers, 0);
}

Status encode(Codec codec, const ChunkShape& shape, const PagedLayout& source,
              PayloadTarget payload, uint64_t* root, const CopyOptions& options) {
  detail::PagedRows<const std::byte*> rows(shape, source);
  if (!is_known(codec)) return Status::kShape;
  if (const Status status = rows.check(); status != Status::kOk) return status;
  if (payload.bytes != encoded_bytes(codec, shape)) return Status::kSize;
  if (codec != Codec::kNone) return encode_rows(codec, shape, rows, payload, root, options);
  Sink sink(payload, root != nullptr, options);
  for_runs(shape, rows, [&](const std::byte* from, uint64_t bytes, const std::byte* next) {
    sink.put(from, bytes, next);
  });
  sink.finish(root);
  return Status::kOk;
}

Status decode(Codec codec, const ChunkShape& shape, PayloadSource payload,
              const PagedLayout& target, uint64_t* root, const CopyOptions& options) {
  detail::PagedRows<std::byte*> rows(shape, target);
  if (!is_known(codec)) return Status::kShape;
  if (const Status status = rows.check(); status != Status::kOk) return status;
  if (payload.bytes != encoded_bytes(codec, shape)) return Status::kSize;
  if (codec != Codec::kNone) return decode_rows(codec, shape, rows, payload, root, options);
  const StoreKind store = store_kind(payload.bytes, options);
  ChecksumTree tree(payload.bytes);
  const std::byte* at = payload.data;
  for_runs(shape, rows, [&](std::byte* to, uint64_t bytes, std::byte*) {
    if (root != nullptr) {
      (void)tree.copy_update(to, at, bytes, store, at + bytes);
    } else if (store == StoreKind::kStreaming) {
      detail::operations().copy_stream(to, at, bytes, at + bytes);
    } else {
      std::memcpy(to, at, bytes);
    }
    at += bytes;
  });
  if (store == StoreKind::kStreaming) stores_done();
  if (root != nullptr) (void)tree.root(root);
  return Status::kOk;
}

Status encode(Codec codec, const ChunkShape& shape, std::span<const ConstFragment> sources,
              PayloadTarget payload, uint64_t* root, const CopyOptions& options) {
  detail::FragmentRows<const std::byte*, ConstFragment> rows(shape, sources);
  if (!is_known(codec)) return Status::kShape;
  if (const Status status = rows.check(); status != Status::kOk) return status;
  if (payload.bytes != encoded_bytes(codec, shape)) return Status::kSize;
  if (codec != Codec::kNone) return encode_rows(codec, shape, rows, payload, root, options);
  const bool done = root != nullptr
                        ? gather_and_hash(payload.data, payload.bytes, sources, root, options)
                        : gather(payload.data, payload.bytes, sources, options);
  return done ? Status::kOk : Status::kLayout;
}

Status decode(Codec codec, const ChunkShape& shape, PayloadSource payload,
              std::span<const Fragment> targets, uint64_t* root, const CopyOptions& options) {
  detail::FragmentRows<std::byte*, Fragment> rows(shape, targets);
  if (!is_known(codec)) return Status::kShape;
  if (const Status status = rows.check(); status != Status::kOk) return status;
  if (payload.bytes != encoded_bytes(codec, shape)) return Status::kSize;
  if (codec != Codec::kNone) return decode_rows(codec, shape, rows, payload, root, options);
  const bool done = root != nullptr
                        ? scatter_and_hash(targets, payload.data, payload.bytes, root, options)
                        : scatter(targets, payload.data, payload.bytes, options);
  return done ? Status::kOk : Status::kLayout;
}

}  // namespace kvtier::kernels
