// The daemon as a whole: what main() puts together, from the configuration to the exit status.
#pragma once

#include <string>

#include "daemon/config/config.hpp"

namespace kvtier::daemon {

inline constexpr int kExitStopped = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitConfig = 78;  // EX_CONFIG; the service is not started again

// Serves until SIGTERM or SIGINT. `config_file` is read again at SIGHUP; empty: never.
int run_daemon(const Config& config, const std::string& config_file);

}  // namespace kvtier::daemon
