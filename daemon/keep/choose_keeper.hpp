// Who keeps this daemon's memory: by configuration, and where that says "auto", by what the
// environment offers. At the start, before the core exists.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "daemon/config/config.hpp"
#include "daemon/keep/fd_keeper.hpp"

namespace kvtier::daemon {

struct KeeperChoice {
  KeepMode mode = KeepMode::kAuto;
  uint64_t keep_for_ns = 0;
  std::string attach_socket;
  std::vector<KeptFd> inherited;  // from the service manager
};

// Null: nothing is kept; then what was kept by either is given back. With "auto" a holder that
// cannot be had is a line in the log. Errors: permission (another daemon runs on it); and, where
// one keeper was asked for by name, why it cannot be had.
Result<std::unique_ptr<FdKeeper>> choose_keeper(KeeperChoice choice);

}  // namespace kvtier::daemon
