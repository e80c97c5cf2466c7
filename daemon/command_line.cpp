// See command_line.hpp.
#include "daemon/command_line.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

namespace kvtier::daemon {
namespace {

struct TaskRow {
  std::string_view name;
  Task task;
};
constexpr std::array kTasks = {
    TaskRow{"--check", Task::kCheck},
    TaskRow{"--version", Task::kShowVersion},
    TaskRow{"--help", Task::kShowHelp},
    TaskRow{"-h", Task::kShowHelp},
    TaskRow{"--print-default-config", Task::kShowDefaultConfig},
    TaskRow{"--release", Task::kRelease},
};
constexpr std::string_view kConfig = "--config";
constexpr std::string_view kCold = "--cold";
constexpr std::string_view kHold = "--hold";
constexpr uint64_t kHoldSecondsMax = 30ull * 24 * 3600;

const TaskRow* find_task(std::string_view argument) {
  for (const TaskRow& row : kTasks) {
    if (row.name == argument) return &row;
  }
  return nullptr;
}

}  // namespace

Result<CommandLine> parse_command_line(const std::vector<std::string>& arguments) {
  CommandLine line;
  // Only the daemon itself starts a holder; see daemon/keep/holder.hpp.
  if (arguments.size() == 3 && arguments[0] == kHold) {
    line.task = Task::kHold;
    line.hold_path = arguments[1];
    line.hold_for_seconds =
        std::min<uint64_t>(std::strtoull(arguments[2].c_str(), nullptr, 10), kHoldSecondsMax);
    return line;
  }
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (const TaskRow* row = find_task(argument)) {
      line.task = row->task;
    } else if (argument == kCold) {
      line.cold = true;
    } else if (argument.starts_with("--config=")) {
      line.config_file = argument.substr(kConfig.size() + 1);
    } else if (argument == kConfig && i + 1 < arguments.size()) {
      line.config_file = arguments[++i];
    } else if (argument == kConfig) {
      return Error(Code::kInvalidArgument, "--config needs a file");
    } else {
      return Error::format(Code::kInvalidArgument, "unknown argument '%.100s'", argument.c_str());
    }
  }
  return line;
}

const char* help_text() {
  return "kvtierd: keeps the KV cache of inference engines on this host.\n"
         "\n"
         "Usage: kvtierd [--config FILE] [--cold]\n"
         "\n"
         "  --config FILE           read this configuration, and FILE.d/*.toml;\n"
         "                          without it: the embedded default configuration\n"
         "  --cold                  start without what the daemon before left in host memory, and\n"
         "                          give that memory back\n"
         "  --release               no daemon is to come: end the process that holds host memory\n"
         "                          for the next one, which gives it back, and end\n"
         "  --check                 check the configuration and end: 0, or 78 with what is wrong\n"
         "  --print-default-config  write the documented default configuration\n"
         "  --version               write the version\n"
         "  --help                  write this\n"
         "\n"
         "Runs in the foreground and logs to standard error. SIGTERM and SIGINT stop it in good\n"
         "order, SIGHUP reads the configuration again. Exit status: 0 stopped in good order, 1 it\n"
         "could not start, 2 wrong arguments, 78 wrong configuration. See kvtierd(8).\n";
}

}  // namespace kvtier::daemon
