// The miss-ratio curves of one tenant, as the core shows them. Plain values.
#pragma once

#include <array>
#include <string>

#include "daemon/policy/curve_windows.hpp"

namespace kvtier::daemon {

struct CurveSnapshot {
  std::string tenant;
  uint64_t host_chunks = 0, host_bytes = 0;    // what it has now, all shards of a key one chunk
  uint64_t lower_chunks = 0, lower_bytes = 0;  // and below
  uint64_t tracked_bytes = 0;                  // what the curve itself takes
  uint32_t sample_shift = 0;                   // one key in 2^shift is followed
  uint64_t hot_keys = 0;
  std::array<CurveReading, CurveWindows::kWindows> windows;
};

}  // namespace kvtier::daemon
