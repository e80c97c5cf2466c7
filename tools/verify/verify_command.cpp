// kvtier verify: whether the slabs of a stopped daemon hold what their metadata says; --online, the
// same of a running one, by itself.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>
#include <thread>

#include "tools/cli/command.hpp"
#include "tools/cli/daemon_link.hpp"
#include "tools/cli/output.hpp"
#include "tools/verify/verify.hpp"

namespace kvtier::tools {
namespace {

struct Wanted {
  std::vector<std::string> paths;
  std::string state = "/var/lib/kvtier";
  bool repair = false;
  bool online = false;
  uint64_t rate = 256ull << 20;
};

ExitStatus status_of(const Error& error) {
  return error.code() == Code::kNotFound ? kExitUsage : kExitFailed;
}

Json json_of(const VerifyReport& report) {
  return {{"path", report.path},
          {"good", report.good()},
          {"segments", report.segments},
          {"slots", report.slots},
          {"records", report.records},
          {"chunks", report.chunks},
          {"damaged", report.damaged},
          {"unrecorded", report.unrecorded},
          {"stale_records", report.stale_records},
          {"repaired", report.repaired},
          {"bytes_read", report.bytes_read},
          {"findings", report.findings}};
}

void print(const VerifyReport& report, CommandContext& context) {
  const std::string verdict = report.good() ? "good" : "degraded";
  context.out << paint(context.color, color_of_state(verdict), verdict) << "  "
              << printable(report.path) << ": " << show_count(report.chunks) << " whole chunks, "
              << show_count(report.damaged) << " damaged, " << show_count(report.unrecorded)
              << " without a record, in " << show_count(report.segments) << " segments; "
              << show_bytes(static_cast<double>(report.bytes_read)) << " read";
  if (report.repaired != 0) context.out << "; " << show_count(report.repaired) << " repaired";
  context.out << "\n";
  for (const std::string& finding : report.findings) {
    context.out << "  " << printable(finding) << "\n";
  }
}

// The daemon scrubs; this asks for it and shows how far it is. An interrupt leaves the pass
// running.
int verify_online(const Wanted& wanted, CommandContext& context) {
  if (wanted.repair || !wanted.paths.empty()) {
    return context.fail(kExitUsage,
                        "--online takes neither paths nor --repair: what is wrong is forgotten");
  }
  if (wanted.rate == 0) return context.fail(kExitUsage, "--rate takes more than 0 bytes a second");
  const DaemonAnswer before = ask_daemon(context, "GET", "/v1/tiers/nvme");
  if (!before.ok()) return before.status;
  const uint64_t passes = count_of(before.json.at("scrub"), "passes");
  const DaemonAnswer begun =
      ask_daemon(context, "POST", "/v1/scrub?rate=" + std::to_string(wanted.rate));
  if (!begun.ok()) return begun.status;
  uint64_t shown = 0;
  for (;;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const DaemonAnswer answer = ask_daemon(context, "GET", "/v1/tiers/nvme");
    if (!answer.ok()) return answer.status;
    const Json& scrub = answer.json.at("scrub");
    const uint64_t percent =
        count_of(scrub, "places") * 100 / std::max<uint64_t>(count_of(scrub, "places_all"), 1);
    if (text_of(answer.json, "state") != "on") {
      return context.fail(kExitDegraded, "the nvme tier is " + text_of(answer.json, "state") +
                                             ": " + text_of(answer.json, "reason"));
    }
    if (count_of(scrub, "passes") <= passes) {
      if (!flag_of(scrub, "running")) {
        return context.fail(kExitFailed, "somebody ended the pass before its end");
      }
      if (!context.json && percent >= shown + 10) context.err << "  " << percent << " %\n";
      if (percent >= shown + 10) shown = percent;
      continue;
    }
    const bool good = count_of(scrub, "bad") == 0;
    if (context.json) {
      print_json(context, {{"good", good}, {"scrub", scrub}});
    } else {
      const std::string verdict = good ? "good" : "degraded";
      context.out << paint(context.color, color_of_state(verdict), verdict)
                  << "  nvme: " << show_count(count_of(scrub, "checked")) << " chunks compared, "
                  << show_bytes(static_cast<double>(count_of(scrub, "bytes"))) << " read, "
                  << show_count(count_of(scrub, "bad")) << " wrong and forgotten\n";
    }
    return good ? kExitOk : kExitDegraded;
  }
}

int verify(const Wanted& wanted, CommandContext& context) {
  if (wanted.online) return verify_online(wanted, context);
  std::vector<std::string> paths = wanted.paths;
  if (paths.empty()) paths.push_back(wanted.state + "/nvme");
  Json reports = Json::array();
  bool good = true;
  for (const std::string& path : paths) {
    const auto report = verify_slab(
        {.path = path, .metadata = wanted.state + "/nvme/metadata", .repair = wanted.repair});
    if (!report.ok()) return context.fail(status_of(report.error()), report.error().message());
    good = good && report->good();
    reports.push_back(json_of(*report));
    if (!context.json) print(*report, context);
  }
  if (context.json) context.out << Json{{"good", good}, {"slabs", reports}}.dump(2) << "\n";
  return good ? kExitOk : kExitDegraded;
}

CommandRun setup(Options& options) {
  auto wanted = std::make_shared<Wanted>();
  options.value("PATH", wanted->paths, "As in nvme.paths; else nvme/ in the state directory")
      .folder();
  options.value("--state", wanted->state, "The daemon's state directory").not_empty().folder();
  options.flag("--online", wanted->online, "Have the running daemon read all and compare");
  options.size("--rate", wanted->rate, "--online: bytes a second");
  options.flag("--repair", wanted->repair, "Make the metadata say what the slots hold");
  return [wanted](CommandContext& context) { return verify(*wanted, context); };
}

constexpr CommandExample kExamples[] = {
    {"kvtier verify", "of the installed service; exit status 4 when something is damaged"},
    {"kvtier verify --online --rate 512MiB", "of the running daemon"},
    {"kvtier verify /mnt/nvme0 /mnt/nvme1 --state /var/lib/kvtier --repair", ""},
};

constexpr Command kCommand{
    .group = "",
    .name = "verify",
    .summary = "Check what lies on nvme, every byte",
    .description =
        "Of a stopped daemon; --online, of a running one, while no reader waits.\n"
        "Reads superblocks, descriptors and, for every record, header and payload of its slot.\n"
        "Damage costs a miss each, never a wrong byte: the daemon checks the same when it reads.\n"
        "Slabs are never written; --repair changes the metadata.",
    .examples = kExamples,
    .setup = setup,
};

}  // namespace

const Command& verify_command() {
  return kCommand;
}

}  // namespace kvtier::tools
