// The scalar references of the layout and codec operations: loops over indexes, nothing clever.
// Tests compare every other version with them, byte by byte. Slow. Any thread; nothing is
// allocated.
#pragma once

#include "kernels/codec.hpp"

namespace kvtier::kernels::reference {

// The address of (layer, plane, token, head, dim 0), by the formula of kernels/shape.hpp.
std::byte* row_address(const ChunkShape& shape, const PagedLayout& layout, uint32_t layer,
                       uint32_t plane, uint32_t token, uint32_t head);

// Paged memory to element[layer][plane][token][head][dim] and back. Nothing is checked.
void gather(const ChunkShape& shape, const PagedLayout& source, std::byte* raw);
void scatter(const ChunkShape& shape, const std::byte* raw, const PagedLayout& target);

// A raw chunk to a payload of encoded_bytes() and back. Shapes are not checked.
[[nodiscard]] Status encode(Codec codec, const ChunkShape& shape, const std::byte* raw,
                            std::byte* payload);
[[nodiscard]] Status decode(Codec codec, const ChunkShape& shape, const std::byte* payload,
                            std::byte* raw);

}  // namespace kvtier::kernels::reference
