// A request's target, taken apart: path segments and query, percent-decoded. Pure, any thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvtier::daemon {

struct Target {
  std::vector<std::string> segments;         // "/v1/tiers/host" -> v1, tiers, host
  std::map<std::string, std::string> query;  // the last of equal names
};

// Nothing if it is not an absolute path, or an escape is broken or stands for a zero byte.
std::optional<Target> parse_target(std::string_view text);

}  // namespace kvtier::daemon
