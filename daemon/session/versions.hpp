// The protocol versions that this daemon serves: its own and the one before it. The only place that
// says so. Constant data, any thread.
#pragma once

#include <cstdint>

namespace kvtier::daemon {

struct ServedVersions {
  uint32_t min;
  uint32_t max;
};

ServedVersions served_versions();

// The highest version that the daemon and a client with this range both speak; 0: there is none.
uint32_t common_version(ServedVersions served, uint32_t client_min, uint32_t client_max);

}  // namespace kvtier::daemon
