// See versions.hpp. A file of its own, so that a test build can be numbered otherwise.
#include "daemon/session/versions.hpp"

#include <algorithm>

#include "kvtier/wire/types.hpp"

// The number of the newest version. Test builds set a later one.
#ifndef KVTIER_DAEMON_PROTOCOL
#define KVTIER_DAEMON_PROTOCOL ::kvtier::wire::kProtocolVersion
#endif

namespace kvtier::daemon {

ServedVersions served_versions() {
  constexpr uint32_t kNewest = KVTIER_DAEMON_PROTOCOL;
  return {.min = kNewest > 1 ? kNewest - 1 : 1, .max = kNewest};
}

uint32_t common_version(ServedVersions served, uint32_t client_min, uint32_t client_max) {
  const uint32_t highest = std::min(served.max, client_max);
  return highest >= std::max(served.min, client_min) ? highest : 0;
}

}  // namespace kvtier::daemon
