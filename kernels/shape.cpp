// Checks of shapes and layouts, and the makers for engines' layouts. Pure functions. Any thread.
#include "kernels/shape.hpp"

#include <algorithm>
#include <array>

namespace kvtier::kernels {
namespace {

struct Axis {
  uint64_t count;
  uint64_t stride;
};

// Things at strides do not overlap when, by growing stride, each stride is at least the extent of
// all that lies inside. Also false when the outermost extent overflows.
bool apart(std::array<Axis, 3> axes, uint64_t inner_bytes) {
  std::sort(axes.begin(), axes.end(), [](Axis a, Axis b) { return a.stride < b.stride; });
  uint64_t extent = inner_bytes;
  for (const Axis& axis : axes) {
    if (axis.count <= 1) continue;
    uint64_t steps = 0;
    if (axis.stride < extent || __builtin_mul_overflow(axis.count - 1, axis.stride, &steps) ||
        __builtin_add_overflow(steps, extent, &extent)) {
      return false;
    }
  }
  return true;
}

uint64_t block_plane_bytes(const ChunkShape& shape, const Pool& pool) {
  return pool.block_tokens * shape.token_bytes();
}

void inside_block(const ChunkShape& shape, const Pool& pool, PagedLayout* out) {
  out->blocks_total = pool.blocks_total;
  out->block_tokens = pool.block_tokens;
  out->token_stride = pool.heads_first ? shape.row_bytes() : shape.token_bytes();
  out->head_stride = pool.heads_first ? pool.block_tokens * shape.row_bytes() : shape.row_bytes();
}

}  // namespace

const char* status_name(Status status) {
  switch (status) {
    case Status::kOk:
      return "ok";
    case Status::kShape:
      return "shape";
    case Status::kLayout:
      return "layout";
    case Status::kSize:
      return "size";
    case Status::kNotFinite:
      return "not_finite";
    case Status::kMalformed:
      return "malformed";
  }
  return "unknown";
}

Status check_shape(const ChunkShape& shape) {
  const auto within = [](uint32_t value, uint32_t bound) { return value >= 1 && value <= bound; };
  const bool good = within(shape.layers, kLayersMax) && within(shape.planes, 2) &&
                    within(shape.heads, kHeadsMax) && within(shape.dim, kDimMax) &&
                    shape.heads * ((shape.dim + 63) / 64 * 64) <= kChannelsMax &&
                    within(shape.tokens, kTokensMax) &&
                    (shape.element == Element::kBf16 || shape.element == Element::kF16);
  return good ? Status::kOk : Status::kShape;
}

Status check_layout(const ChunkShape& shape, const PagedLayout& layout) {
  if (const Status status = check_shape(shape); status != Status::kOk) return status;
  if (layout.bases == nullptr || layout.blocks == nullptr || layout.block_tokens == 0) {
    return Status::kLayout;
  }
  for (uint32_t i = 0; i < shape.layers * shape.planes; ++i) {
    if (layout.bases[i] == nullptr) return Status::kLayout;
  }
  const uint64_t blocks = (uint64_t{shape.tokens} + layout.block_tokens - 1) / layout.block_tokens;
  for (uint64_t i = 0; i < blocks; ++i) {
    if (layout.blocks[i] >= layout.blocks_total) return Status::kLayout;
  }
  const bool fine = apart({Axis{layout.blocks_total, layout.block_stride},
                           Axis{std::min(layout.block_tokens, shape.tokens), layout.token_stride},
                           Axis{shape.heads, layout.head_stride}},
                          shape.row_bytes());
  return fine ? Status::kOk : Status::kLayout;
}

bool vllm_split(const ChunkShape& shape, const Pool& pool,
                std::span<std::byte* const> layer_tensors, std::span<std::byte*> bases,
                PagedLayout* out) {
  if (layer_tensors.size() < shape.layers || bases.size() < shape.layers * shape.planes) {
    return false;
  }
  *out = {};
  inside_block(shape, pool, out);
  out->block_stride = block_plane_bytes(shape, pool);
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    for (uint32_t plane = 0; plane < shape.planes; ++plane) {
      bases[layer * shape.planes + plane] =
          layer_tensors[layer] + plane * pool.blocks_total * out->block_stride;
    }
  }
  out->bases = bases.data();
  return true;
}

bool vllm_together(const ChunkShape& shape, const Pool& pool,
                   std::span<std::byte* const> layer_tensors, std::span<std::byte*> bases,
                   PagedLayout* out) {
  if (layer_tensors.size() < shape.layers || bases.size() < shape.layers * shape.planes) {
    return false;
  }
  *out = {};
  inside_block(shape, pool, out);
  out->block_stride = shape.planes * block_plane_bytes(shape, pool);
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    for (uint32_t plane = 0; plane < shape.planes; ++plane) {
      bases[layer * shape.planes + plane] =
          layer_tensors[layer] + plane * block_plane_bytes(shape, pool);
    }
  }
  out->bases = bases.data();
  return true;
}

bool cross_layer(const ChunkShape& shape, const Pool& pool, std::byte* tensor,
                 std::span<std::byte*> bases, PagedLayout* out) {
  const uint32_t planes = shape.layers * shape.planes;
  if (tensor == nullptr || bases.size() < planes) return false;
  *out = {};
  inside_block(shape, pool, out);
  out->block_stride = planes * block_plane_bytes(shape, pool);
  for (uint32_t i = 0; i < planes; ++i) bases[i] = tensor + i * block_plane_bytes(shape, pool);
  out->bases = bases.data();
  return true;
}

bool hugging_face(const ChunkShape& shape, const Sequence& sequence,
                  std::span<std::byte* const> tensors, std::span<std::byte*> bases,
                  PagedLayout* out) {
  const uint32_t planes = shape.layers * shape.planes;
  if (tensors.size() < planes || bases.size() < planes ||
      sequence.first_token > sequence.tokens_total ||
      shape.tokens > sequence.tokens_total - sequence.first_token) {
    return false;
  }
  *out = {};
  out->blocks_total = 1;
  out->block_tokens = shape.tokens;
  out->token_stride = shape.row_bytes();
  out->head_stride = sequence.tokens_total * shape.row_bytes();
  out->block_stride = shape.heads * out->head_stride;
  for (uint32_t i = 0; i < planes; ++i) {
    bases[i] = tensors[i] + sequence.batch_index * out->block_stride +
               sequence.first_token * shape.row_bytes();
  }
  out->bases = bases.data();
  return true;
}

}  // namespace kvtier::kernels
