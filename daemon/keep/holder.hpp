// The holder: `kvtierd --hold PATH SECONDS`, a process of a few pages that keeps the daemon's
// memory where no service manager does. It listens on PATH (mode 0600), gives what it holds to one
// daemon at a time, and only once the process of the one before has ended. It maps nothing, reads
// no byte of what it holds, and never talks to clients. One thread.
//
// It ends, and gives everything back: on SIGTERM, when told to (`kvtierd --release`), when no
// daemon has come for SECONDS, and when PATH is no longer its own (somebody removed it).
#pragma once

#include <cstdint>
#include <string>

namespace kvtier::daemon {

struct HolderOptions {
  int listen_fd = 3;  // bound to `path` and listening
  std::string path;
  uint64_t keep_for_ns = 0;
};

// Until it ends; the exit status.
int run_holder(const HolderOptions& options);

}  // namespace kvtier::daemon
