// kvtier flush.
#include <memory>
#include <ostream>

#include "tools/admin/admin_client.hpp"
#include "tools/cli/commands/commands.hpp"
#include "tools/cli/confirm.hpp"
#include "tools/cli/daemon_link.hpp"
#include "tools/cli/output.hpp"

namespace kvtier::tools {
namespace {

CommandRun setup(Options& options) {
  auto tenant = std::make_shared<std::string>();
  options.value("--tenant", *tenant, "Only this tenant's chunks; without it, all").metavar("NAME");
  return [tenant](CommandContext& context) -> int {
    const std::string whose = tenant->empty() ? "every tenant" : "tenant " + *tenant;
    const std::string what = "drop all chunks of " + whose + " that nobody holds";
    if (const int asked = confirm(context, what); asked != kExitOk) return asked;
    const std::string query = tenant->empty() ? "" : "?tenant=" + escape_target(*tenant);
    const DaemonAnswer answer = ask_daemon(context, "POST", "/v1/flush" + query);
    if (!answer.ok()) return answer.status;
    if (context.json) {
      print_json(context, answer.json);
    } else {
      context.out << "dropped " << show_count(count_of(answer.json, "chunks")) << " chunks of "
                  << whose << "\n";
    }
    return kExitOk;
  };
}

constexpr CommandExample kExamples[] = {
    {"kvtier flush --tenant chat --yes", ""},
    {"kvtier flush", "asks, then drops everything"},
};

}  // namespace

const Command& flush_command() {
  static const Command command{
      .group = "",
      .name = "flush",
      .summary = "Drop all chunks of a tenant, or of all",
      .description = "Chunks that are leased or pinned stay. Clients see misses, never errors.",
      .examples = kExamples,
      .setup = setup};
  return command;
}

}  // namespace kvtier::tools
