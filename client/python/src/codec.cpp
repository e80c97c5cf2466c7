// The codecs of kernels/ on buffers: what a typed or opaque chunk becomes in a tier, without a
// daemon. For measurements of quality and ratio, and for tools that read payloads.
#include "kernels/codec.hpp"

#include "client/python/src/common.hpp"
#include "kernels/lossless.hpp"

namespace kvtier::python {

namespace {

using kernels::ChunkShape;
using kernels::Codec;

// (layers, planes, tokens, heads, dim) as in docs/kernels.md.
using Shape = std::tuple<uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>;

Codec codec_named(const std::string& name) {
  Codec codec = Codec::kNone;
  if (!kernels::codec_of(name.c_str(), &codec)) {
    throw WrongUse(Code::kInvalidArgument, "no codec is called \"" + name +
                                               "\": none, fp8, fp8-tensor, int8, int4, lossless");
  }
  return codec;
}

ChunkShape shape_of(const Shape& numbers, const std::string& dtype) {
  ChunkShape shape;
  std::tie(shape.layers, shape.planes, shape.tokens, shape.heads, shape.dim) = numbers;
  if (dtype != "bf16" && dtype != "f16") {
    throw WrongUse(Code::kInvalidArgument, "dtype \"" + dtype + "\": codecs know bf16 and f16");
  }
  shape.element = dtype == "f16" ? kernels::Element::kF16 : kernels::Element::kBf16;
  return shape;
}

void require(kernels::Status status) {
  if (status == kernels::Status::kOk) return;
  throw WrongUse(Code::kInvalidArgument, kernels::status_name(status));
}

void require_bytes(const char* what, uint64_t found, uint64_t wanted) {
  if (found == wanted) return;
  throw WrongUse(Code::kInvalidArgument, std::string(what) + " has " + std::to_string(found) +
                                             " bytes; this shape takes " + std::to_string(wanted));
}

std::unique_ptr<kernels::LosslessContext> lossless_context() {
  auto context = kernels::LosslessContext::create();
  if (context == nullptr) throw std::bad_alloc();
  return context;
}

py::bytes as_bytes(std::span<const std::byte> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

py::bytes encode_payload(const std::string& name, const py::object& raw, const Shape& numbers,
                         const std::string& dtype) {
  const Codec codec = codec_named(name);
  const ChunkShape shape = shape_of(numbers, dtype);
  require(kernels::check_shape(shape));
  const Fragments buffers(py::make_tuple(raw), false);
  const ConstFragment source = buffers.readable().front();
  require_bytes("the chunk", source.bytes, shape.raw_bytes());
  if (codec == Codec::kLossless) {
    const auto context = lossless_context();
    std::span<const std::byte> encoded;
    {
      py::gil_scoped_release unlocked;
      encoded = context->encode(std::span(&source, 1));
    }
    if (encoded.empty()) throw std::bad_alloc();
    return as_bytes(encoded);
  }
  std::vector<std::byte> payload(kernels::encoded_bytes(codec, shape));
  kernels::Status status = kernels::Status::kOk;
  {
    py::gil_scoped_release unlocked;
    status = kernels::encode(codec, shape, std::span(&source, 1), {payload.data(), payload.size()});
  }
  require(status);
  return as_bytes(payload);
}

py::bytes decode_payload(const std::string& name, const py::object& payload, const Shape& numbers,
                         const std::string& dtype) {
  const Codec codec = codec_named(name);
  const ChunkShape shape = shape_of(numbers, dtype);
  require(kernels::check_shape(shape));
  const Fragments buffers(py::make_tuple(payload), false);
  const ConstFragment source = buffers.readable().front();
  std::vector<std::byte> raw(shape.raw_bytes());
  const Fragment target = {raw.data(), raw.size()};
  kernels::Status status = kernels::Status::kOk;
  if (codec == Codec::kLossless) {
    const auto context = lossless_context();
    py::gil_scoped_release unlocked;
    status = context->decode({source.data, source.bytes}, std::span(&target, 1), raw.size());
  } else {
    require_bytes("the payload", source.bytes, kernels::encoded_bytes(codec, shape));
    py::gil_scoped_release unlocked;
    status = kernels::decode(codec, shape, {source.data, source.bytes}, std::span(&target, 1));
  }
  require(status);
  return as_bytes(raw);
}

}  // namespace

void bind_codec(py::module_& module) {
  module.def("encode_payload", &encode_payload, py::arg("codec"), py::arg("raw"), py::arg("shape"),
             py::arg("dtype") = "bf16");
  module.def("decode_payload", &decode_payload, py::arg("codec"), py::arg("payload"),
             py::arg("shape"), py::arg("dtype") = "bf16");
}

}  // namespace kvtier::python
