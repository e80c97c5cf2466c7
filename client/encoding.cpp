#include "client/encoding.hpp"

#include <memory>
#include <new>
#include <vector>

#include "kernels/space_shape.hpp"
#include "kvtier/wire/types.hpp"

namespace kvtier::client {
namespace {

using kernels::ChunkShape;
using kernels::Codec;

static_assert(static_cast<uint32_t>(Codec::kInt4) == static_cast<uint32_t>(Encoding::kInt4));
static_assert(static_cast<uint32_t>(Codec::kLossless) ==
              static_cast<uint32_t>(Encoding::kLossless));
static_assert(wire::kCodecLossless == static_cast<uint32_t>(Encoding::kLossless));

kernels::SpaceShape shape_of(const SpaceSpec& spec) {
  return {spec.dtype,      spec.kind == wire::PayloadKind::kTyped,
          spec.layers,     spec.kv_heads,
          spec.head_dim,   spec.tokens_per_chunk,
          spec.chunk_bytes};
}

// Null when memory is short.
kernels::LosslessContext* lossless() {
  static thread_local std::unique_ptr<kernels::LosslessContext> context;
  if (!context) context = kernels::LosslessContext::create();
  return context.get();
}

// A raw chunk of the thread's own, for fragments that end inside a token. Empty when memory is
// short.
std::span<std::byte> raw_scratch(uint64_t bytes) {
  static thread_local std::vector<std::byte> scratch;
  try {
    if (scratch.size() < bytes) scratch.resize(bytes);
  } catch (const std::bad_alloc&) {
    return {};
  }
  return {scratch.data(), bytes};
}

}  // namespace

Result<ChunkShape> typed_shape(const SpaceSpec& spec) {
  return kernels::chunk_shape(shape_of(spec));
}

Status check_encoding(const SpaceSpec& spec, Encoding encoding) {
  if (encoding == Encoding::kOfSpace) return {};  // the daemon has looked
  return kernels::check_codec(shape_of(spec), static_cast<Codec>(encoding));
}

uint64_t stored_bytes(const SpaceSpec& spec, Encoding encoding) {
  if (encoding == Encoding::kNone) return spec.chunk_bytes;
  const auto shape = typed_shape(spec);
  if (!shape) return spec.chunk_bytes;
  return kernels::encoded_bytes(static_cast<Codec>(encoding), *shape);
}

bool plausible(const SpaceSpec& spec, uint32_t codec, uint64_t payload_bytes) {
  if (codec == wire::kCodecNone) return payload_bytes == spec.chunk_bytes;
  // Nobody stores a chunk in a codec that does not make it smaller: so a load of the raw size need
  // not look at the header for the codec.
  if (codec > wire::kCodecLossless || payload_bytes >= spec.chunk_bytes) return false;
  if (codec == wire::kCodecLossless) return true;
  const auto encoding = static_cast<Encoding>(codec);
  return check_encoding(spec, encoding).ok() && stored_bytes(spec, encoding) == payload_bytes;
}

kernels::Status encode_typed(const SpaceSpec& spec, Encoding encoding,
                             std::span<const ConstFragment> sources, std::span<std::byte> payload,
                             uint64_t* root) {
  const auto shape = typed_shape(spec);
  if (!shape) return kernels::Status::kShape;
  const auto codec = static_cast<Codec>(encoding);
  const kernels::PayloadTarget target = {payload.data(), payload.size()};
  const kernels::Status status = kernels::encode(codec, *shape, sources, target, root);
  if (status != kernels::Status::kLayout) return status;
  const auto raw = raw_scratch(spec.chunk_bytes);
  if (raw.empty()) return kernels::Status::kSize;
  if (!kernels::gather(raw.data(), raw.size(), sources)) return status;
  const ConstFragment whole = {raw.data(), raw.size()};
  return kernels::encode(codec, *shape, std::span(&whole, 1), target, root);
}

std::span<const std::byte> encode_lossless(std::span<const ConstFragment> sources) {
  kernels::LosslessContext* context = lossless();
  if (context == nullptr) return {};
  return context->encode(sources);
}

kernels::Status decode_payload(const SpaceSpec& spec, uint32_t codec,
                               std::span<const std::byte> payload,
                               std::span<const Fragment> targets, uint64_t* root) {
  if (codec == wire::kCodecLossless) {
    kernels::LosslessContext* context = lossless();
    if (context == nullptr) return kernels::Status::kSize;
    return context->decode(payload, targets, spec.chunk_bytes, root);
  }
  const auto shape = typed_shape(spec);
  if (!shape) return kernels::Status::kShape;
  const kernels::PayloadSource source = {payload.data(), payload.size()};
  const auto typed = static_cast<Codec>(codec);
  const kernels::Status status = kernels::decode(typed, *shape, source, targets, root);
  if (status != kernels::Status::kLayout) return status;
  const auto raw = raw_scratch(spec.chunk_bytes);
  if (raw.empty()) return kernels::Status::kSize;
  const Fragment whole = {raw.data(), raw.size()};
  const kernels::Status decoded =
      kernels::decode(typed, *shape, source, std::span(&whole, 1), root);
  if (decoded != kernels::Status::kOk) return decoded;
  return kernels::scatter(targets, raw.data(), raw.size()) ? decoded : status;
}

}  // namespace kvtier::client
