// Where the daemon's sockets and state lie when the configuration does not say: /run/kvtier for
// root, $XDG_RUNTIME_DIR/kvtier, the user's folder under the temporary one. Clients and the CLI
// look there too, after $KVTIER_SOCKET, which is theirs alone.
#pragma once

#include <string>

#include "daemon/config/config.hpp"
#include "kvtier/result.hpp"

namespace kvtier::daemon {

// What the choice depends on, so that it can be tested. Empty: not set.
struct Environment {
  unsigned uid = 0;
  std::string runtime_directory = {};      // $RUNTIME_DIRECTORY: the service manager made it
  std::string state_directory = {};        // $STATE_DIRECTORY
  std::string xdg_runtime_directory = {};  // $XDG_RUNTIME_DIR
  std::string temporary_directory = {};    // $TMPDIR, else /tmp
};
Environment environment_of_process();

struct DaemonPaths {
  std::string socket;
  std::string admin_socket;
  std::string state_directory;
};
// Errors: invalid_argument if a chosen path does not fit a socket address, or two are equal.
Result<DaemonPaths> choose_paths(const Config& config, const Environment& environment);

// Makes the folders of the sockets and the state directory where they are absent, 0700 (0755 for
// /run/kvtier), and refuses a folder in which somebody else could replace files.
// Errors: permission, system; the message names the folder and the remedy. Any thread; may wait.
Status prepare_directories(const DaemonPaths& paths);

}  // namespace kvtier::daemon
