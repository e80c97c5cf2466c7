// The codec operations with 64-byte vectors and the processor's conversions to bf16. Compiled for
// x86-64-v4 with AVX512_BF16; called only after dispatch.
#define KVTIER_VECTOR_BYTES 64
#include "kernels/codec_vectors.hpp"

namespace kvtier::kernels::detail {

constinit const CodecOperations kCodecsAvx512Bf16[2] = {
    make_codecs<Element::kBf16>(Isa::kAvx512Bf16), make_codecs<Element::kF16>(Isa::kAvx512Bf16)};

}  // namespace kvtier::kernels::detail
