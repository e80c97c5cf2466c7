// kvtier doctor: what on this machine keeps kvtier from working as it should, each with its remedy.
#include <ostream>

#include "tools/cli/commands/commands.hpp"
#include "tools/cli/doctor/checks.hpp"
#include "tools/cli/output.hpp"

namespace kvtier::tools {
namespace {

void print_finding(const CommandContext& context, std::string_view name, const Finding& finding) {
  const std::string verdict = verdict_name(finding.verdict);
  context.out << paint(context.color, color_of_state(verdict), verdict)
              << std::string(10 - verdict.size(), ' ') << name
              << std::string(name.size() < 15 ? 15 - name.size() : 1, ' ')
              << printable(finding.found) << "\n";
  std::string_view rest = finding.remedy;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    context.out << std::string(25, ' ') << "-> " << printable(line) << "\n";
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
  }
}

CommandRun setup(Options&) {
  return [](CommandContext& context) -> int {
    const Facts facts = gather_facts(context);
    bool good = true;
    Json checks = Json::array();
    for (const CheckRow& row : check_rows()) {
      const Finding finding = row.judge(facts);
      good = good && finding.verdict != Verdict::kDegraded;
      checks.push_back({{"name", row.name},
                        {"verdict", verdict_name(finding.verdict)},
                        {"found", finding.found},
                        {"remedy", finding.remedy}});
      if (!context.json) print_finding(context, row.name, finding);
    }
    if (context.json) print_json(context, {{"ok", good}, {"checks", checks}});
    return good ? kExitOk : kExitDegraded;
  };
}

constexpr CommandExample kExamples[] = {
    {"kvtier doctor", "exit status 4 when something is degraded"},
    {"kvtier doctor --json | jq '.checks[] | select(.verdict == \"degraded\")'", ""},
};

}  // namespace

const Command& doctor_command() {
  static const Command command{
      .group = "",
      .name = "doctor",
      .summary = "What keeps kvtier from working well here, with remedies",
      .description =
          "Looks at the daemon, its sockets, limits, huge pages, kernel settings, memory, "
          "io_uring,\ndisks and who keeps host memory. Changes nothing. A note costs nothing that "
          "could be avoided; "
          "degraded does.",
      .examples = kExamples,
      .setup = setup};
  return command;
}

}  // namespace kvtier::tools
