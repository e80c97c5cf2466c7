// The result of a replay for people and for programs. Pure but for writing to a stream.
#pragma once

#include <iosfwd>
#include <string>

#include "tools/replay/replay_daemon.hpp"
#include "tools/replay/replayer.hpp"

namespace kvtier::tools {

struct ReplayReport {
  const ReplayOptions& options;
  const ReplayDaemon& daemon;
  const ReplayOutcome& outcome;
  const TraceSummary& asked;  // of the whole trace; no requests if it could not be read ahead
  std::string trace;          // in words
  bool generated = false;
};

// One JSON object; docs/benchmarks.md names every field.
std::string replay_json(const ReplayReport& report);
void print_replay(const ReplayReport& report, std::ostream& out, bool color);

// One line without its end, for a terminal: a bar, requests, hit rate. `share` < 0: unknown.
std::string progress_line(const ReplayProgress& progress, double share, unsigned columns);

}  // namespace kvtier::tools
