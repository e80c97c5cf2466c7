// Rules that concern more than one option. Pure, any thread; the messages show the arithmetic.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "daemon/config/config.hpp"
#include "daemon/config/problems.hpp"
#include "kvtier/result.hpp"

namespace kvtier::daemon {

struct Conflict {
  // What is involved, the most likely culprit first: "host.capacity", "tenant[1].host_share". The
  // problem is shown at the first of them that stands in a file.
  std::vector<std::string> names;
  ProblemCode code;
  std::string message;
  std::string label;
  std::string help;
};

std::vector<Conflict> check_config(const Config& config);

// Whether a host tier of that size can serve the configured tenants; for "auto", whose size is
// known only when the daemon starts. Errors: invalid_argument, with the arithmetic.
Status check_host_capacity(const Config& config, uint64_t capacity_bytes);

}  // namespace kvtier::daemon
