// How answers of the daemon look to people; shared by several commands. Pure, any thread.
#pragma once

#include <string>

#include "tools/cli/daemon_link.hpp"
#include "tools/cli/output.hpp"

namespace kvtier::tools {

Table tier_table(const Json& tiers);
Table session_table(const Json& sessions);
Table chunk_table(const Json& chunks);

// Of /v1/status: what was asked for and where it was found; who is attached.
std::string lookup_line(const Json& status);
std::string session_line(const Json& status);

// Sums over the tenants of a status, by counter.
struct LookupSums {
  double asked = 0, host = 0, device = 0, nvme = 0, remote = 0;
  double tokens_asked = 0, tokens_found = 0;
  double lookups = 0, load_bytes = 0, store_bytes = 0, loads_failed = 0;
  double found() const { return host + device + nvme + remote; }
};
LookupSums lookup_sums(const Json& status);

}  // namespace kvtier::tools
