// kvtier version: of this program and, if one answers, of the daemon.
#include <ostream>

#include "kvtier/kvtier.hpp"
#include "tools/cli/commands/commands.hpp"
#include "tools/cli/daemon_link.hpp"
#include "tools/cli/output.hpp"

namespace kvtier::tools {
namespace {

constexpr std::chrono::milliseconds kTimeout{500};

CommandRun setup(Options&) {
  return [](CommandContext& context) -> int {
    const std::optional<Json> status = ask_quietly(context, "/v1/status", kTimeout);
    if (context.json) {
      Json daemon;
      if (status) {
        daemon = {{"version", text_of(*status, "version")},
                  {"protocol_min", count_of(*status, "protocol_min")},
                  {"protocol_max", count_of(*status, "protocol_max")}};
      }
      print_json(context, {{"version", version()},
                           {"protocol_min", protocol_version_min()},
                           {"protocol_max", protocol_version_max()},
                           {"daemon", daemon}});
      return kExitOk;
    }
    context.out << "kvtier " << version() << ", protocol " << protocol_version_min();
    if (protocol_version_max() != protocol_version_min()) {
      context.out << " to " << protocol_version_max();
    }
    context.out << "\n";
    if (status) context.out << "kvtierd " << printable(text_of(*status, "version")) << " answers\n";
    return kExitOk;
  };
}

constexpr CommandExample kExamples[] = {{"kvtier version --json", ""}};

}  // namespace

const Command& version_command() {
  static const Command command{.group = "",
                               .name = "version",
                               .summary = "Versions of this program, the protocol and the daemon",
                               .examples = kExamples,
                               .setup = setup};
  return command;
}

}  // namespace kvtier::tools
