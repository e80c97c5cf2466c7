// `kvtier ab`: two settings on the same traces, and whether the difference is more than chance. One
// thread.
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "daemon/policy/policy.hpp"
#include "tools/cli/command.hpp"
#include "tools/cli/output.hpp"
#include "tools/simulate/compare.hpp"
#include "tools/simulate/settings.hpp"

namespace kvtier::tools {
namespace {

constexpr double kSignificant = 0.05;

struct Wanted {
  std::vector<std::string> files;
  std::string a, b;
  std::optional<uint64_t> requests;
  uint64_t seed = 1;
};

Result<std::vector<uint32_t>> hits_of(const SimTrace& trace, const std::string& setting,
                                      uint64_t seed) {
  auto options = read_setting(setting, trace.unique);
  if (!options) return options.error();
  std::vector<uint32_t> hits;
  options->hits_by_request = &hits;
  options->seed = seed;
  const auto result = simulate(trace, *options);
  if (!result) return result.error();
  return hits;
}

Result<Difference> compare_on(const SimTrace& trace, const Wanted& wanted) {
  const auto hits_a = hits_of(trace, wanted.a, wanted.seed);
  if (!hits_a) return hits_a.error();
  const auto hits_b = hits_of(trace, wanted.b, wanted.seed);
  if (!hits_b) return hits_b.error();
  std::vector<uint32_t> asked;
  for (const SimTrace::Request& request : trace.requests) asked.push_back(request.count);
  return compare(asked, *hits_a, *hits_b, wanted.seed);
}

std::string verdict(const Difference& found) {
  if (found.p >= kSignificant) return "no difference that is more than chance";
  return found.rate_b > found.rate_a ? "b is better" : "a is better";
}

std::string points(double share, const char* format) {
  char text[32];
  std::snprintf(text, sizeof text, format, 100 * share);
  return text;
}

nlohmann::json json_of(const std::string& trace, const Wanted& wanted, const Difference& found) {
  return {{"trace", trace},
          {"a", wanted.a},
          {"b", wanted.b},
          {"hit_rate_a", found.rate_a},
          {"hit_rate_b", found.rate_b},
          {"difference", found.rate_b - found.rate_a},
          {"difference_low", found.low},
          {"difference_high", found.high},
          {"p", found.p},
          {"runs", found.runs},
          {"verdict", verdict(found)}};
}

int run(const Wanted& wanted, CommandContext& context) {
  nlohmann::json all = nlohmann::json::array();
  Table table({{"trace"},
               {"a", Table::Align::kRight},
               {"b", Table::Align::kRight},
               {"b - a", Table::Align::kRight},
               {"95 %", Table::Align::kRight},
               {"p", Table::Align::kRight},
               {"verdict"}});
  for (const std::string& file : wanted.files) {
    const auto trace = read_sim_trace(file, wanted.requests.value_or(UINT64_MAX));
    if (!trace) return context.fail(kExitUsage, trace.error().message());
    const auto found = compare_on(*trace, wanted);
    if (!found) return context.fail(kExitUsage, found.error().message());
    all.push_back(json_of(trace->name, wanted, *found));
    char p[32];
    std::snprintf(p, sizeof p, found->p < 0.01 ? "%.4f" : "%.2f", found->p);
    table.row({trace->name, points(found->rate_a, "%.2f %%"), points(found->rate_b, "%.2f %%"),
               points(found->rate_b - found->rate_a, "%+.2f"),
               points(found->low, "%+.2f") + " to " + points(found->high, "%+.2f"), p,
               verdict(*found)});
  }
  if (context.json) {
    context.out << all.dump(2) << "\n";
  } else {
    context.out << "a: " << printable(wanted.a) << "\nb: " << printable(wanted.b) << "\n";
    table.print(context.out, context.color);
  }
  return kExitOk;
}

CommandRun setup(Options& options) {
  auto wanted = std::make_shared<Wanted>();
  options.value("TRACE", wanted->files, "Traces (docs/traces.md), plain or zstd").required().file();
  options
      .value("--a", wanted->a,
             "POLICY[:host=5%][:nvme=50%][:writes=0.4][:hints=session-end=0.9], as of simulate")
      .required();
  options.value("--b", wanted->b, "The other one").required();
  options.value("--requests", wanted->requests, "Stop after so many requests");
  options.value("--seed", wanted->seed, "Of the draws");
  return [wanted](CommandContext& context) { return run(*wanted, context); };
}

constexpr CommandExample kExamples[] = {
    {"kvtier ab chat.jsonl --a lru --b default", "Two policies, host memory for 5 % of the blocks"},
    {"kvtier ab chat.jsonl --a lru:host=5% --b lru:host=4%:nvme=20%:writes=0.4 --json",
     "Less host memory and some NVMe, as JSON"},
};

}  // namespace

const Command& ab_command() {
  static const Command command{
      .group = "",
      .name = "ab",
      .summary = "Whether one of two settings hits more on a trace, or whether it is chance",
      .description =
          "Simulates both on the same requests and compares them by a paired bootstrap over runs "
          "of\n"
          "consecutive requests: the difference, where it lies nineteen times of twenty, and how "
          "often\n"
          "chance alone would show as much.",
      .examples = kExamples,
      .setup = setup};
  return command;
}

}  // namespace kvtier::tools
