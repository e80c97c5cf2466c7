// The daemon as a whole: what main() puts together, from the configuration to the exit status.
#pragma once

#include <string>

#include "daemon/config/config.hpp"

namespace kvtier::daemon {

inline constexpr int kExitStopped = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitConfig = 78;  // EX_CONFIG; the service is not started again

struct RunOptions {
  std::string config_file;  // read again at SIGHUP; empty: never
  bool cold = false;        // without what the daemon before left
};

// Serves until SIGTERM or SIGINT.
int run_daemon(const Config& config, const RunOptions& options);

// Ends the holder of the daemon with this configuration, see daemon/keep/holder.hpp.
int release_memory(const Config& config);

}  // namespace kvtier::daemon
