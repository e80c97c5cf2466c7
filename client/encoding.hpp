// Which codec a chunk of a space can be in, and the bytes on both sides of it. Any thread; the
// scratch memory that lossless payloads and odd fragments need belongs to the thread, made at first
// use.
#pragma once

#include <span>

#include "kernels/codec.hpp"
#include "kernels/lossless.hpp"
#include "kvtier/kvtier.hpp"

namespace kvtier::client {

// The shape of a typed space's chunks. Errors: invalid_argument, with what is missing.
Result<kernels::ChunkShape> typed_shape(const SpaceSpec& spec);

// Whether chunks of the space may be in this codec at all. Errors: invalid_argument, with the
// reason (an opaque space takes only the lossless codec; that one takes only 2-byte floats).
Status check_encoding(const SpaceSpec& spec, Encoding encoding);

// Whether a stored chunk of this size can be in this codec: what a header says is compared with
// this.
bool plausible(const SpaceSpec& spec, uint32_t codec, uint64_t payload_bytes);

// The exact bytes of a chunk in a typed codec; the raw size for none. Not for lossless.
uint64_t stored_bytes(const SpaceSpec& spec, Encoding encoding);

// Fragments to a payload of stored_bytes(), with its root. kNotFinite: store it without the codec.
kernels::Status encode_typed(const SpaceSpec& spec, Encoding encoding,
                             std::span<const ConstFragment> sources, std::span<std::byte> payload,
                             uint64_t* root);
// The lossless payload of the fragments, in the thread's memory, valid until its next use. Empty
// when memory is short.
std::span<const std::byte> encode_lossless(std::span<const ConstFragment> sources);

// A payload in a plausible codec to the fragments, which add up to the raw size. `root` may be
// null. kSize: memory is short.
kernels::Status decode_payload(const SpaceSpec& spec, uint32_t codec,
                               std::span<const std::byte> payload,
                               std::span<const Fragment> targets, uint64_t* root);

}  // namespace kvtier::client
