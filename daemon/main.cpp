// kvtierd: reads the command line and the configuration, then serves. Prints only before the log
// begins; what goes wrong with the configuration is shown as a compiler would.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "daemon/command_line.hpp"
#include "daemon/config/load.hpp"
#include "daemon/config/show.hpp"
#include "daemon/keep/holder.hpp"
#include "daemon/program.hpp"
#include "daemon/session/versions.hpp"
#include "kvtier/version.hpp"

namespace kvtier::daemon {
namespace {

Color color_of_stderr() {
  const char* wish = std::getenv("NO_COLOR");
  const bool plain = wish != nullptr && wish[0] != '\0';
  return !plain && ::isatty(STDERR_FILENO) != 0 ? Color::kAlways : Color::kNever;
}

int show_version() {
  const ServedVersions served = served_versions();
  std::printf("kvtierd %s, protocol %u to %u\n", KVTIER_VERSION, served.min, served.max);
  return kExitStopped;
}

int run(const CommandLine& line) {
  if (line.task == Task::kShowVersion) return show_version();
  if (line.task == Task::kHold) {
    HolderOptions options;
    options.path = line.hold_path;
    options.keep_for_ns = line.hold_for_seconds * 1'000'000'000;
    return run_holder(options);
  }
  if (line.task == Task::kShowHelp || line.task == Task::kShowDefaultConfig) {
    const std::string text = line.task == Task::kShowHelp ? help_text() : default_config_text();
    return std::fputs(text.c_str(), stdout) < 0 ? kExitFailed : kExitStopped;
  }
  ConfigOutcome outcome;
  if (!line.config_file.empty()) outcome = load_config_file(line.config_file);
  if (!outcome.ok()) {
    std::fputs(render_problems(outcome.problems, color_of_stderr()).c_str(), stderr);
    return kExitConfig;
  }
  if (line.task == Task::kCheck) {
    std::printf("the configuration is good\n");
    return kExitStopped;
  }
  if (line.task == Task::kRelease) return release_memory(outcome.config);
  return run_daemon(outcome.config, {line.config_file, line.cold});
}

}  // namespace
}  // namespace kvtier::daemon

int main(int argc, char** argv) {
  using namespace kvtier::daemon;
  const auto line = parse_command_line({argv + 1, argv + argc});
  if (!line.ok()) {
    std::fprintf(stderr, "kvtierd: %s; see kvtierd --help\n", line.error().message());
    return kExitUsage;
  }
  return run(*line);
}
