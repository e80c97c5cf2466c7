// The codec operations with 32-byte vectors. Compiled for x86-64-v3; called only after dispatch.
#define KVTIER_VECTOR_BYTES 32
#include "kernels/codec_vectors.hpp"

namespace kvtier::kernels::detail {

constinit const CodecOperations kCodecsAvx2[2] = {make_codecs<Element::kBf16>(Isa::kAvx2),
                                                  make_codecs<Element::kF16>(Isa::kAvx2)};

}  // namespace kvtier::kernels::detail
