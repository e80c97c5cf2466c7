// What a changed configuration means for a running daemon. SIGHUP takes over everything or nothing.
// Reads files; never logs. Not for the core thread (plan_reload may wait for the disk).
#pragma once

#include <string>
#include <vector>

#include "daemon/config/config.hpp"

namespace kvtier::daemon {

// Names of the options that differ: "host.lease_max", "tenant.chat.uids", "tenant.chat" for an
// entry that came or went.
struct ConfigDiff {
  std::vector<std::string> live;     // can be taken over at once
  std::vector<std::string> restart;  // need a restart
  bool empty() const { return live.empty() && restart.empty(); }
};

ConfigDiff diff_config(const Config& current, const Config& wanted);

struct ReloadPlan {
  enum class Verdict : uint8_t { kNothingChanged, kApply, kRefused };
  Verdict verdict = Verdict::kRefused;
  Config config;        // what to run with from now on; the current one unless kApply
  ConfigDiff diff;      //
  std::string message;  // one line for the log: what changes, or why nothing does
  std::string details;  // rendered problems of the files; empty if there are none
};

// Reads the files again. Refused if anything is wrong with them or any change needs a restart.
ReloadPlan plan_reload(const Config& current, const std::string& path);

}  // namespace kvtier::daemon
