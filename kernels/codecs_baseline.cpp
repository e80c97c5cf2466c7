// The codec operations with 16-byte vectors. Compiled for the baseline, x86-64-v2.
#define KVTIER_VECTOR_BYTES 16
#include "kernels/codec_vectors.hpp"

namespace kvtier::kernels::detail {

constinit const CodecOperations kCodecsBaseline[2] = {make_codecs<Element::kBf16>(Isa::kBaseline),
                                                      make_codecs<Element::kF16>(Isa::kBaseline)};

}  // namespace kvtier::kernels::detail
