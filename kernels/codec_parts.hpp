// What encoders and decoders of rows share. Internal to kernels/, in an unnamed namespace for the
// reason given in kernels/vector_kernels.hpp.
#pragma once

#include "kernels/codec_format.hpp"
#include "kernels/fp8_vectors.hpp"
#include "kernels/vector_lines.hpp"

namespace kvtier::kernels::detail {
namespace {

// The usual dim as a constant: all loops over a row are laid out flat.
template <typename Rows, typename Body>
KVTIER_IN_REGISTERS auto with_dim(const Rows& rows, const Body& body) {
  Rows known = rows;
  if (rows.dim != 128) return body(known);
  known.dim = 128;
  return body(known);
}

KVTIER_IN_REGISTERS bool any_at_least(U32 v, uint32_t bound) {
  return any((U32)(v >= bound));
}

template <Element kElement>
KVTIER_IN_REGISTERS F32 widened(U32 bits) {  // one element in the low half of each lane
  if constexpr (kElement == Element::kBf16) return (F32)(bits << 16);
  return from_halves(bits);
}

template <Kind kKind>
constexpr uint32_t code_bytes_of(uint32_t dims) {
  return kKind == Kind::kInt4 ? (dims + 1) / 2 : dims;
}

}  // namespace
}  // namespace kvtier::kernels::detail
