// The tensors that typed chunks hold, and where an engine keeps them: one struct for the shape of a
// chunk, one for paged memory, and makers for the layouts that engines use. Plain data and pure
// functions; nothing is allocated, kept or thrown. Any thread. docs/kernels.md, "Typed payloads".
//
// A chunk is   element[layer][plane][token][head][dim]   wherever it lies; a raw payload (no codec)
// is exactly that, without gaps. planes = 2: keys, then values. planes = 1: an MLA latent.
//
// Paged memory holds (layer, plane, token t, head h, dim d) at
//     bases[layer * planes + plane] + blocks[t / block_tokens] * block_stride
//         + (t % block_tokens) * token_stride + h * head_stride + d * element size        (bytes)
// so the dim of one head of one token is always contiguous, at any alignment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace kvtier::kernels {

enum class Element : uint32_t { kBf16 = 0, kF16 = 1 };
inline constexpr uint64_t kElementBytes = 2;

// What every operation on typed chunks answers. Anything but kOk: targets may have been written in
// part and must not be used.
enum class Status : uint32_t {
  kOk = 0,
  kShape = 1,      // the shape is outside the limits below, or the codec does not know it
  kLayout = 2,     // the memory described does not hold the shape: a block outside the pool,
                   // strides that overlap, fragments that do not add up or cut a token's dims
  kSize = 3,       // payload_bytes is not what codec and shape give
  kNotFinite = 4,  // a NaN or infinity (or int4: a range beyond float): store it without the codec
  kMalformed = 5,  // an encoded payload has a scale that no encoder writes, or is cut short
};
const char* status_name(Status status);  // "ok", "shape", ... Never null.

struct ChunkShape {
  uint32_t layers = 0;  // 1 .. kLayersMax
  uint32_t planes = 2;  // 1 or 2
  uint32_t heads = 0;   // KV heads; 1 for MLA
  uint32_t dim = 0;     // per head, or the MLA latent with its rotary part
  uint32_t tokens = 0;  // 1 .. kTokensMax
  Element element = Element::kBf16;

  bool operator==(const ChunkShape&) const = default;
  constexpr uint64_t row_bytes() const { return dim * kElementBytes; }
  constexpr uint64_t token_bytes() const { return heads * row_bytes(); }
  constexpr uint64_t plane_bytes() const { return tokens * token_bytes(); }
  constexpr uint64_t raw_bytes() const { return uint64_t{layers} * planes * plane_bytes(); }
};

inline constexpr uint32_t kLayersMax = 1024;
inline constexpr uint32_t kHeadsMax = 1024;
inline constexpr uint32_t kDimMax = 1024;
inline constexpr uint32_t kChannelsMax =
    16384;  // heads * dim, dim rounded up to 64: tables are on the stack
inline constexpr uint32_t kTokensMax = 16384;

// kOk when every number is inside its limits.
Status check_shape(const ChunkShape& shape);

// Where the tokens of one chunk lie. The arrays belong to the caller; `bases` is only read through
// by gather and encode.
struct PagedLayout {
  std::byte* const* bases = nullptr;  // layers * planes
  const uint32_t* blocks = nullptr;  // one per block_tokens tokens, rounded up; none is checked for
                                     // being named twice (a scatter then leaves either's bytes)
  uint64_t blocks_total = 0;         // of the pool: each number in `blocks` must be below
  uint32_t block_tokens = 0;
  uint64_t block_stride = 0;
  uint64_t token_stride = 0;
  uint64_t head_stride = 0;
};

// kOk when the layout holds the shape: no null array, blocks inside the pool, strides that keep
// every (block, token, head) apart.
Status check_layout(const ChunkShape& shape, const PagedLayout& layout);

// The layouts of engines. Each fills `bases` (layers * planes pointers) and gives the layout
// without its blocks; `tensors` are the engine's, in the order said. The bytes between things are
// those of contiguous tensors. False: too few tensors or bases for the shape.
struct Pool {
  uint64_t blocks_total = 0;
  uint32_t block_tokens = 0;
  bool heads_first = false;  // within a block: [heads, tokens, dim] instead of [tokens, heads, dim]
};
// vLLM, a tensor a layer: [2, blocks, block], K and V split. MLA (planes = 1): [blocks, block].
[[nodiscard]] bool vllm_split(const ChunkShape& shape, const Pool& pool,
                              std::span<std::byte* const> layer_tensors,
                              std::span<std::byte*> bases, PagedLayout* out);
// vLLM, a tensor a layer: [blocks, 2, block], K and V of a block together.
[[nodiscard]] bool vllm_together(const ChunkShape& shape, const Pool& pool,
                                 std::span<std::byte* const> layer_tensors,
                                 std::span<std::byte*> bases, PagedLayout* out);
// One tensor for all layers: [blocks, layers, planes, block], so that a block is one run of bytes.
[[nodiscard]] bool cross_layer(const ChunkShape& shape, const Pool& pool, std::byte* tensor,
                               std::span<std::byte*> bases, PagedLayout* out);
// Transformers: K and V tensors of each layer in turn, [batch, heads, tokens, dim]; one sequence of
// it, from token `first_token`. blocks_total is 1: pass a list of one zero.
struct Sequence {
  uint32_t batch_index = 0;
  uint64_t first_token = 0;
  uint64_t tokens_total = 0;  // of the tensors
};
[[nodiscard]] bool hugging_face(const ChunkShape& shape, const Sequence& sequence,
                                std::span<std::byte* const> tensors, std::span<std::byte*> bases,
                                PagedLayout* out);

}  // namespace kvtier::kernels
