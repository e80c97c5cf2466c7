// kvtier status: one screen, the state first, what is wrong with its remedy, what to look at next.
#include <ostream>

#include "tools/cli/commands/commands.hpp"
#include "tools/cli/commands/views.hpp"
#include "tools/cli/daemon_link.hpp"
#include "tools/cli/output.hpp"

namespace kvtier::tools {
namespace {

void print_status(const CommandContext& context, const Json& status) {
  const std::string health = text_of(status, "health");
  std::ostream& out = context.out;
  out << paint(context.color, color_of_state(health), printable(health)) << "  kvtierd "
      << printable(text_of(status, "version")) << ", up "
      << show_seconds(number_of(status, "uptime_seconds")) << ", started "
      << printable(text_of(status, "start_mode"));
  if (const std::string reason = text_of(status, "start_reason"); !reason.empty()) {
    out << " (" << printable(reason) << ")";
  }
  out << "\n      at " << printable(context.socket) << ", protocol "
      << count_of(status, "protocol_max") << ", epoch " << text_of(status, "epoch") << "\n";
  for (const Json& problem : list_of(status, "problems")) {
    if (!problem.is_string()) continue;
    out << paint(context.color, Color::kYellow, "problem:") << " "
        << printable(problem.get<std::string>()) << "\n";
  }
  out << "\n";
  tier_table(list_of(status, "tiers")).print(out, context.color);
  out << "\n" << lookup_line(status) << "\n" << session_line(status) << "\n";
}

CommandRun setup(Options&) {
  return [](CommandContext& context) -> int {
    const DaemonAnswer answer = ask_daemon(context, "GET", "/v1/status");
    if (!answer.ok()) return answer.status;
    if (context.json) {
      print_json(context, answer.json);
    } else {
      print_status(context, answer.json);
    }
    return text_of(answer.json, "health") == "good" ? kExitOk : kExitDegraded;
  };
}

constexpr CommandExample kExamples[] = {
    {"kvtier status", ""},
    {"kvtier status --json | jq .tiers",
     "for scripts; exit status 4 says that something is degraded"},
};

}  // namespace

const Command& status_command() {
  static const Command command{.group = "",
                               .name = "status",
                               .summary = "State of the daemon, its tiers and clients",
                               .examples = kExamples,
                               .setup = setup};
  return command;
}

}  // namespace kvtier::tools
