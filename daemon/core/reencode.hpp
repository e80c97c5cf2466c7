// A chunk on its way below, in another codec: the job of a worker, over memory that the core holds
// meanwhile. Nothing here knows tiers or spaces beyond a shape.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>

#include "daemon/tiers/tier.hpp"
#include "kernels/space_shape.hpp"

namespace kvtier::daemon {

struct FreeMemory {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using PageMemory = std::unique_ptr<std::byte, FreeMemory>;

enum class Reencoded : uint8_t {
  kYes,
  kKept,  // the codec refused it (NaN), or it would not shrink
  kBad,   // header or payload are not what was stored; what reads it next finds that
  kNoMemory,
};

// The chunk `from` at `slot` becomes `chunk` in `memory`: header and payload, in whole pages. The
// raw bytes are compared with their checksum in a copy that nobody else can change: damage must not
// get a good checksum.
struct Reencode {
  const std::byte* slot;
  TierChunk from;
  kernels::Codec codec;
  std::string dtype;
  kernels::SpaceShape space;  // its dtype is the string above

  Reencoded verdict = Reencoded::kBad;
  TierChunk chunk = {};
  PageMemory memory = {};

  void run();

 private:
  bool copy_in(std::byte* raw);
  uint64_t encode(const std::byte* raw, uint64_t* root);
};

}  // namespace kvtier::daemon
