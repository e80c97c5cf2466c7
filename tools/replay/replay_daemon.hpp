// The daemon that a replay runs against: one of its own, configured for what was asked, or one that
// runs already and is only looked at. One thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "tools/cli/spawn.hpp"
#include "tools/replay/replay_options.hpp"

namespace kvtier::tools {

struct ReplayDaemon {
  std::unique_ptr<SpawnedDaemon> spawned;  // null: it ran before
  std::string socket;
  std::optional<uint64_t> host_chunks;  // its limit by number, if it has one
  uint64_t host_bytes = 0;
  uint64_t nvme_bytes = 0;  // of a spawned one
  std::string policy;
  uint64_t request_chunks_max = UINT64_MAX;  // more of one request cannot be resident at once
};

// What a spawned daemon's configuration file says. `summary` has no blocks when the trace could not
// be read ahead. Errors: invalid_argument (it would not fit this machine or the daemon's limits).
Result<std::string> config_for_replay(const ReplayOptions& options, const TraceSummary& summary);

// Errors: invalid_argument (what was asked for contradicts what runs, or cannot be), and those of
// SpawnedDaemon::start and of asking the running daemon.
Result<ReplayDaemon> spawn_for_replay(const ReplayOptions& options, const TraceSummary& summary);
Result<ReplayDaemon> use_running_daemon(const ReplayOptions& options, const std::string& socket,
                                        const TraceSummary& summary);

}  // namespace kvtier::tools
