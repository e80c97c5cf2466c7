// kvtier explain: what was known when a plan was made, what was chosen, what happened.
#include <memory>
#include <ostream>

#include "tools/admin/admin_client.hpp"
#include "tools/cli/commands/commands.hpp"
#include "tools/cli/commands/views.hpp"

namespace kvtier::tools {
namespace {

std::string numbers(uint64_t begin, uint64_t end) {
  return std::to_string(begin) + " to " + std::to_string(end - 1);
}

// The choice in one line.
std::string choice_of(const Json& plan) {
  const uint64_t first = count_of(plan, "first_chunk");
  const uint64_t begin = first + count_of(plan, "load_begin");
  const uint64_t end = first + count_of(plan, "load_end");
  if (count_of(plan, "resident_chunks") == 0) return "compute all: nothing was there";
  if (begin >= end) return "compute all";
  std::string text = "load chunks " + numbers(begin, end) + " (" +
                     show_seconds(number_of(plan, "load_seconds")) + " expected";
  if (const double deadline = number_of(plan, "deadline_seconds"); deadline > 0) {
    text += ", given up after " + show_seconds(deadline);
  }
  return text + "), compute the rest";
}

std::string ending_of(const Json& plan) {
  if (!plan.contains("ended") || plan["ended"].is_null()) return "not told";
  const Json& end = plan["ended"];
  const uint64_t planned = count_of(plan, "load_end") - count_of(plan, "load_begin");
  std::string text = show_count(count_of(end, "loaded_chunks")) + " of " + show_count(planned) +
                     " chunks loaded in " + show_seconds(number_of(end, "seconds"));
  const double expected = number_of(plan, "load_seconds");
  if (planned > 0 && expected > 0 && count_of(end, "loaded_chunks") == planned) {
    const double error = 100 * (number_of(end, "seconds") - expected) / expected;
    text += " (" + std::to_string(static_cast<int64_t>(error)) + " % off the expected time)";
  }
  if (const std::string reason = text_of(end, "reason"); reason != "none") text += ": " + reason;
  return text;
}

void print_inputs(const Json& plan, std::ostream& out) {
  out << "  found      " << show_count(count_of(plan, "resident_chunks")) << " chunks of "
      << count_of(plan, "tokens_per_chunk") << " tokens from chunk "
      << count_of(plan, "first_chunk") << "; " << show_count(count_of(plan, "tokens_behind"))
      << " tokens behind them\n";
  for (const Json& run : list_of(plan, "runs")) {
    out << "             " << show_count(count_of(run, "chunks")) << " on " << text_of(run, "tier")
        << ", " << show_bytes(number_of(run, "stored_bytes")) << " each, codec "
        << text_of(run, "codec") << "\n";
  }
  if (count_of(plan, "runs_count") > list_of(plan, "runs").size()) {
    out << "             (the last line stands for "
        << count_of(plan, "runs_count") - list_of(plan, "runs").size() + 1 << " runs)\n";
  }
  for (const Json& tier : list_of(plan, "tiers")) {
    if (number_of(tier, "bandwidth_bytes_per_second") <= 0) continue;
    out << "  " << text_of(tier, "tier")
        << std::string(11 - std::min<size_t>(text_of(tier, "tier").size(), 10), ' ')
        << show_bytes(number_of(tier, "bandwidth_bytes_per_second")) << "/s after "
        << show_seconds(number_of(tier, "latency_seconds")) << ", "
        << show_bytes(number_of(tier, "queued_bytes")) << " queued ("
        << (count_of(tier, "samples") == 0
                ? std::string("assumed")
                : show_count(count_of(tier, "samples")) + " measurements")
        << ")\n";
  }
  const Json compute = plan.contains("compute") ? plan["compute"] : Json();
  out << "  computing  " << show_seconds(number_of(compute, "seconds_per_token")) << " a token, "
      << show_seconds(1e6 * number_of(compute, "seconds_per_token_and_position"))
      << " a million tokens times positions, "
      << show_seconds(number_of(compute, "seconds_per_call")) << " a call ("
      << (count_of(compute, "samples") == 0 ? std::string("assumed")
                                            : show_count(count_of(compute, "samples")) + " reports")
      << ")\n";
}

void print_plan(const Json& plan, CommandContext& context) {
  std::ostream& out = context.out;
  out << paint(context.color, Color::kBold, "plan " + text_of(plan, "plan"));
  if (const std::string request = text_of(plan, "request"); !request.empty()) {
    out << "  request " << printable(request);
  }
  out << "  tenant " << printable(text_of(plan, "tenant")) << ", session "
      << count_of(plan, "session") << ", space " << count_of(plan, "space") << ", "
      << text_of(plan, "restore") << "\n";
  print_inputs(plan, out);
  out << "  until the first token: load all " << show_seconds(number_of(plan, "load_all_seconds"))
      << ", compute all " << show_seconds(number_of(plan, "compute_all_seconds")) << ", chosen "
      << show_seconds(number_of(plan, "ttft_seconds")) << "\n";
  out << "  chosen     " << choice_of(plan) << "\n";
  out << "  happened   " << ending_of(plan) << "\n";
}

CommandRun setup(Options& options) {
  struct Wanted {
    std::string what = "last";
    uint64_t count = 1;
  };
  auto wanted = std::make_shared<Wanted>();
  options.value("WHAT", wanted->what,
                "last, a request as its engine names it, the number of a plan, or the key of a "
                "plan's first or last cached chunk");
  options.value("--count,-n", wanted->count, "How many plans, the newest first").range(1, 512);
  return [wanted](CommandContext& context) -> int {
    const DaemonAnswer answer = ask_daemon(context, "GET",
                                           "/v1/plans?select=" + escape_target(wanted->what) +
                                               "&count=" + std::to_string(wanted->count));
    if (!answer.ok()) return answer.status;
    if (context.json) {
      print_json(context, answer.json);
      return kExitOk;
    }
    for (const Json& plan : list_of(answer.json, "plans")) print_plan(plan, context);
    return kExitOk;
  };
}

constexpr CommandExample kExamples[] = {
    {"kvtier explain last", "The newest plan"},
    {"kvtier explain cmpl-42 --json", "The plan of a request, as JSON"},
};

}  // namespace

const Command& explain_command() {
  static const Command command{
      .group = "",
      .name = "explain",
      .summary = "Why a prompt was loaded or recomputed, and what came of it",
      .description = "The daemon remembers the 512 newest plans of all its clients.",
      .examples = kExamples,
      .setup = setup};
  return command;
}

}  // namespace kvtier::tools
