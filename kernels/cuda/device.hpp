// The operations of kernels/codec.hpp and the checksum, on a CUDA device: pure functions over
// pointers, a shape and a stream. Nothing is allocated, nothing waits; errors of the launch itself
// come back at once, what the data causes goes to a status word that the caller reads after an
// event. The bytes are those of the CPU. Any thread with the device current.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec.hpp"

struct CUstream_st;

namespace kvtier::kernels::cuda {

using Stream = CUstream_st*;

// The same arrays twice: on the host, where they are checked, and where the device can read them
// (its memory, or mapped pinned memory). The bases are device addresses in both.
struct DevicePages {
  PagedLayout layout;
  std::byte* const* bases;
  const uint32_t* blocks;
};

// kOk: launched. Then 1 << Status bits may be set in *status_word (device or mapped memory, zeroed
// by the caller) until the stream is done; a payload or target with any is not to be used.
struct Launch {
  Stream stream = nullptr;
  uint32_t* status_word = nullptr;
  // Thread blocks of the raw copies; 0: as many as there is work. A bound leaves the other
  // multiprocessors to the engine.
  uint32_t blocks_max = 0;
};

// kLayout also when elements are not at multiples of 2, kSize also when the payload is not at a
// multiple of 16, kShape also when the launch was refused.
[[nodiscard]] Status encode(Codec codec, const ChunkShape& shape, const DevicePages& source,
                            PayloadTarget payload, const Launch& launch);
[[nodiscard]] Status decode(Codec codec, const ChunkShape& shape, PayloadSource payload,
                            const DevicePages& target, const Launch& launch);

// h(i) of each piece into piece_hashes[piece_count(bytes)] (device or mapped memory). A last piece
// of 240 bytes or fewer gets 0: piece_hash() on the host makes it. root_of() makes the root. The
// payload is at a multiple of 8.
[[nodiscard]] Status hash_pieces(PayloadSource payload, uint64_t* piece_hashes, Stream stream);

}  // namespace kvtier::kernels::cuda
