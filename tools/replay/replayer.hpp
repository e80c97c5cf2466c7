// A replay under way: reads the trace, deals whole requests to its clients round-robin and adds up
// what they counted. One thread a client, besides the caller's; nothing is shared between clients
// but a bounded queue each.
#pragma once

#include <atomic>
#include <functional>
#include <optional>

#include "tools/replay/replay_client.hpp"

namespace kvtier::tools {

struct ReplayPlan {
  ReplayClientOptions client;
  uint32_t clients = 1;
  std::optional<uint64_t> requests_max;
  std::optional<double> paced;  // times the recorded speed; without: at full speed
};

struct ReplayProgress {
  uint64_t requests = 0;
  uint64_t blocks_asked = 0;
  uint64_t blocks_hit = 0;
  double seconds = 0;
};

struct ReplayOutcome {
  ReplayTotals totals;
  double seconds = 0;
  bool interrupted = false;
  std::optional<Error> ended_by;  // what made going on senseless
};

// Shows how far it is; called by the reading thread a few times a second.
using ShowProgress = std::function<void(const ReplayProgress&)>;

// `interrupted` may be set by a signal handler: every client then ends its request and stops.
// Errors: those of opening a client. An error of the trace or of a client while it runs is in the
// outcome, beside what was counted until then.
Result<ReplayOutcome> replay(TraceSource& source, const ReplayPlan& plan,
                             const std::atomic<bool>& interrupted, const ShowProgress& show);

}  // namespace kvtier::tools
