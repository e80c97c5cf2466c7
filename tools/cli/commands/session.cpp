// kvtier session list, session kill.
#include <memory>
#include <ostream>

#include "tools/cli/commands/commands.hpp"
#include "tools/cli/commands/views.hpp"
#include "tools/cli/confirm.hpp"

namespace kvtier::tools {
namespace {

CommandRun setup_list(Options&) {
  return [](CommandContext& context) -> int {
    const DaemonAnswer answer = ask_daemon(context, "GET", "/v1/sessions");
    if (!answer.ok()) return answer.status;
    const Json& sessions = list_of(answer.json, "sessions");
    if (context.json) {
      print_json(context, answer.json);
    } else if (sessions.empty()) {
      context.out << "nobody is attached\n";
    } else {
      session_table(sessions).print(context.out, context.color);
    }
    return kExitOk;
  };
}

CommandRun setup_kill(Options& options) {
  auto id = std::make_shared<uint64_t>(0);
  options.value("ID", *id, "Number of the session, as in `kvtier session list`").required();
  return [id](CommandContext& context) -> int {
    const std::string number = std::to_string(*id);
    if (const int asked = confirm(context, "end session " + number); asked != kExitOk) return asked;
    const DaemonAnswer answer = ask_daemon(context, "POST", "/v1/sessions/" + number + "/kill");
    if (!answer.ok()) return answer.status;
    if (context.json) {
      print_json(context, answer.json);
    } else {
      context.out << "session " << number << " ended; its client recomputes or attaches again\n";
    }
    return kExitOk;
  };
}

constexpr CommandExample kListExamples[] = {{"kvtier session list", ""}};
constexpr CommandExample kKillExamples[] = {{"kvtier session kill 12 --yes", ""}};

}  // namespace

const Command& session_list_command() {
  static const Command command{.group = "session",
                               .name = "list",
                               .summary = "The attached processes, their leases and traffic",
                               .examples = kListExamples,
                               .setup = setup_list};
  return command;
}

const Command& session_kill_command() {
  static const Command command{
      .group = "session",
      .name = "kill",
      .summary = "End a session; its process lives on",
      .description =
          "The client loses its leases once it lets go of them or ends; it attaches again by "
          "itself,\nwithout an error in the engine.",
      .examples = kKillExamples,
      .setup = setup_kill};
  return command;
}

}  // namespace kvtier::tools
