// What a plan is asked for and answered with, apart from the planning: public headers need only
// this. Plain data.
#pragma once

#include <cstdint>

namespace kvtier::wire {

// How the engine can restore. Values are part of plan records.
enum class Overlap : uint8_t {
  kSequential = 0,  // load a prefix, then compute the rest
  kOverlapped = 1,  // compute the head while the tail is loaded, last chunks first
  kLayerwise = 2,   // load a prefix layer by layer; a layer is computed when its part is there
};

constexpr const char* overlap_name(Overlap overlap) {
  switch (overlap) {
    case Overlap::kSequential:
      return "sequential";
    case Overlap::kOverlapped:
      return "overlapped";
    case Overlap::kLayerwise:
      return "layerwise";
  }
  return "unknown";
}

}  // namespace kvtier::wire
