// What kvtierd was asked to do on its command line. Pure, any thread.
#pragma once

#include <string>
#include <vector>

#include "kvtier/result.hpp"

namespace kvtier::daemon {

enum class Task : uint8_t {
  kServe,
  kCheck,
  kShowVersion,
  kShowHelp,
  kShowDefaultConfig,
  kRelease,
  kHold,
};

struct CommandLine {
  Task task = Task::kServe;
  std::string config_file;  // empty: the embedded default configuration
  bool cold = false;        // of kServe
  std::string hold_path;    // of kHold
  uint64_t hold_for_seconds = 0;
};

// Errors: invalid_argument, with what was found.
Result<CommandLine> parse_command_line(const std::vector<std::string>& arguments);

const char* help_text();

}  // namespace kvtier::daemon
