// From TOML files to a Config: all errors in one pass. The only user of the TOML library is
// load.cpp. Reads files; never logs, never throws, never changes anything. Any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "daemon/config/config.hpp"
#include "daemon/config/problems.hpp"

namespace kvtier::daemon {

// A file larger than this is not a configuration.
inline constexpr size_t kConfigBytesMax = 1u << 20;
inline constexpr size_t kDropInsMax = 256;

struct ConfigOutcome {
  Config config;                        // to be used only if ok()
  std::vector<ConfigProblem> problems;  // by file, then by line; at most kProblemsMax
  bool ok() const { return problems.empty(); }
};

// `path`, then the files `path`.d/*.toml in the order of their names: a later file overrides
// options and adds tenants. A missing folder is no problem; a missing file is.
ConfigOutcome load_config_file(const std::string& path);

// One text; `name` stands in the messages where a file name would.
ConfigOutcome parse_config_text(std::string_view text, const std::string& name);

}  // namespace kvtier::daemon
