// The codec operations with 64-byte vectors. Compiled for x86-64-v4; called only after dispatch.
#define KVTIER_VECTOR_BYTES 64
#include "kernels/codec_vectors.hpp"

namespace kvtier::kernels::detail {

constinit const CodecOperations kCodecsAvx512[2] = {make_codecs<Element::kBf16>(Isa::kAvx512),
                                                    make_codecs<Element::kF16>(Isa::kAvx512)};

}  // namespace kvtier::kernels::detail
