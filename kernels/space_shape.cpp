// See space_shape.hpp.
#include "kernels/space_shape.hpp"

#include <array>
#include <string>

namespace kvtier::kernels {
namespace {

bool element_of(std::string_view dtype, Element* element) {
  struct Name {
    std::string_view name;
    Element element;
  };
  constexpr std::array<Name, 5> kNames = {{{"bf16", Element::kBf16},
                                           {"bfloat16", Element::kBf16},
                                           {"f16", Element::kF16},
                                           {"fp16", Element::kF16},
                                           {"float16", Element::kF16}}};
  for (const Name& name : kNames) {
    if (name.name != dtype) continue;
    *element = name.element;
    return true;
  }
  return false;
}

}  // namespace

Result<ChunkShape> chunk_shape(const SpaceShape& space) {
  ChunkShape shape;
  if (!space.is_typed) {
    return Error(Code::kInvalidArgument, "the space is opaque: only the lossless codec fits");
  }
  if (!element_of(space.dtype, &shape.element)) {
    return Error::format(Code::kInvalidArgument,
                         "no codec knows dtype '%s'; bf16 and f16 have some",
                         std::string(space.dtype).c_str());
  }
  shape.layers = space.layers;
  shape.heads = space.heads;
  shape.dim = space.dim;
  shape.tokens = space.tokens;
  shape.planes = 1;
  if (check_shape(shape) == Status::kOk && space.chunk_bytes == 2 * shape.raw_bytes()) {
    shape.planes = 2;
  }
  if (check_shape(shape) != Status::kOk || space.chunk_bytes != shape.raw_bytes()) {
    return Error::format(
        Code::kInvalidArgument,
        "chunk_bytes %llu is not that of one or two planes of %u layers, %u heads, "
        "dim %u, %u tokens",
        static_cast<unsigned long long>(space.chunk_bytes), space.layers, space.heads, space.dim,
        space.tokens);
  }
  return shape;
}

kvtier::Status check_codec(const SpaceShape& space, Codec codec) {
  if (codec == Codec::kNone) return {};
  if (codec == Codec::kLossless) {
    Element element;
    if (element_of(space.dtype, &element)) return {};
    return Error::format(Code::kInvalidArgument, "the lossless codec is for bf16 and f16, not '%s'",
                         std::string(space.dtype).c_str());
  }
  if (codec_name(codec) == nullptr) {
    return Error::format(Code::kInvalidArgument, "there is no codec %u",
                         static_cast<uint32_t>(codec));
  }
  const auto shape = chunk_shape(space);
  if (!shape) return shape.error();
  return {};
}

}  // namespace kvtier::kernels
