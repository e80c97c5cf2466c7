// What the codecs need to know of a space, and whether one fits it: the same answer for clients and
// the daemon. Pure; any thread.
#pragma once

#include <string_view>

#include "kernels/codec.hpp"
#include "kvtier/result.hpp"

namespace kvtier::kernels {

struct SpaceShape {
  std::string_view dtype;
  bool is_typed = false;
  uint32_t layers = 0;
  uint32_t heads = 0;
  uint32_t dim = 0;
  uint32_t tokens = 0;
  uint64_t chunk_bytes = 0;
};

// The shape of a typed space's chunks. Errors: invalid_argument, with what is missing.
Result<ChunkShape> chunk_shape(const SpaceShape& space);

// Whether chunks of the space may be in this codec at all. Errors: invalid_argument, with the
// reason (an opaque space takes only the lossless codec; that one takes only 2-byte floats).
kvtier::Status check_codec(const SpaceShape& space, Codec codec);

}  // namespace kvtier::kernels
