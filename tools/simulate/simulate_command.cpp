// `kvtier simulate`: traces through policies at several sizes, without a daemon. Options, the order
// of things, table and JSON. One thread.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <sstream>

#include "daemon/policy/policy.hpp"
#include "tools/cli/command.hpp"
#include "tools/cli/output.hpp"
#include "tools/replay/recompute_cost.hpp"
#include "tools/simulate/plot.hpp"
#include "tools/simulate/settings.hpp"
#include "tools/simulate/simulator.hpp"

namespace kvtier::tools {
namespace {

constexpr std::string_view kBound = "min";
constexpr size_t kChartColumns = 80;

constexpr std::array kExamples = {
    CommandExample{"kvtier simulate chat.jsonl --policy default,lru,min --host-chunks 1%,5%,25%",
                   "What three policies hit, each at three sizes"},
    CommandExample{
        "kvtier simulate chat.jsonl --host-chunks 5% --nvme-chunks 50% --nvme-writes 0.4",
        "Two tiers; NVMe may be written 0.4 times the trace's unique blocks"},
    CommandExample{"kvtier simulate chat.jsonl --policy default,lru,min --host-chunks "
                   "1%,2%,5%,10%,25% --svg hits.svg --chart",
                   "The same as pictures"},
    CommandExample{"kvtier simulate a.jsonl b.jsonl.zst --hints session-end=0.9 --json",
                   "With advice that is right nine times of ten, as JSON"},
};

struct Wanted {
  std::vector<std::string> files;
  std::string policies = "default";
  std::string host_chunks = "5%";
  std::string nvme_chunks = "0";
  std::string nvme_policy;
  std::optional<double> nvme_writes;
  std::string hints;
  std::string model = "llama-3-8b";
  double host_gbps = 25;
  double nvme_gbps = 5;
  std::optional<uint64_t> requests;
  std::string svg;
  bool chart = false;
  uint64_t seed = 1;
};

struct Row {
  const SimTrace* trace;
  std::string policy;
  uint64_t host_chunks;
  uint64_t nvme_chunks;
  SimResult result;
};

double rate(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

// What the hits save a GPU, less what loading them takes.
struct Savings {
  double recompute_seconds;
  double load_seconds;
};
Savings savings(const Row& row, const Wanted& wanted) {
  const SimResult& result = row.result;
  const ModelCost& model = model_cost(wanted.model);
  const double requests = static_cast<double>(std::max<uint64_t>(result.requests, 1));
  const double tokens = static_cast<double>(result.tokens_hit);
  const double below = tokens * rate(result.blocks_hit_nvme, result.blocks_hit);
  const double bytes = static_cast<double>(model.kv_bytes_per_token);
  return {requests * recompute_seconds(model, tokens / requests),
          bytes * ((tokens - below) / wanted.host_gbps + below / wanted.nvme_gbps) / 1e9};
}

nlohmann::json json_of(const Row& row, const Wanted& wanted) {
  const SimResult& result = row.result;
  const Savings saved = savings(row, wanted);
  return {{"trace", row.trace->name},
          {"policy", row.policy},
          {"host_chunks", row.host_chunks},
          {"nvme_chunks", row.nvme_chunks},
          {"hit_rate", rate(result.blocks_hit, result.blocks_asked)},
          {"hit_rate_tokens", rate(result.tokens_hit, result.tokens_asked)},
          {"requests", result.requests},
          {"blocks_asked", result.blocks_asked},
          {"blocks_unique", row.trace->unique},
          {"blocks_hit", result.blocks_hit},
          {"blocks_hit_nvme", result.blocks_hit_nvme},
          {"blocks_evicted", result.evicted},
          {"nvme_blocks_written", result.nvme_writes},
          {"nvme_blocks_refused", result.nvme_refused},
          {"nvme_write_share", rate(result.nvme_writes, row.trace->unique)},
          {"nvme_window_written_max", result.nvme_window_writes_max},
          {"nvme_window_allowed", result.nvme_window_allowed == UINT64_MAX
                                      ? nlohmann::json(nullptr)
                                      : nlohmann::json(result.nvme_window_allowed)},
          {"gpu_seconds_saved", saved.recompute_seconds},
          {"load_seconds", saved.load_seconds},
          {"hints", wanted.hints.empty() ? nlohmann::json(nullptr) : nlohmann::json(wanted.hints)},
          {"wall_seconds", result.wall_seconds}};
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f %%", 100 * share);
  return text;
}

void print(const std::vector<Row>& rows, const Wanted& wanted, CommandContext& context) {
  using Align = Table::Align;
  Table table({{"trace"},
               {"policy"},
               {"host chunks", Align::kRight},
               {"nvme chunks", Align::kRight},
               {"hit rate", Align::kRight},
               {"of it nvme", Align::kRight},
               {"tokens", Align::kRight},
               {"nvme written", Align::kRight},
               {"GPU time saved", Align::kRight},
               {"load time", Align::kRight}});
  for (const Row& row : rows) {
    const SimResult& result = row.result;
    const Savings saved = savings(row, wanted);
    table.row({row.trace->name, row.policy, show_count(row.host_chunks),
               show_count(row.nvme_chunks), percent(rate(result.blocks_hit, result.blocks_asked)),
               percent(rate(result.blocks_hit_nvme, result.blocks_asked)),
               percent(rate(result.tokens_hit, result.tokens_asked)),
               show_count(result.nvme_writes), show_seconds(saved.recompute_seconds),
               show_seconds(saved.load_seconds)});
  }
  table.print(context.out, context.color);
}

// A picture for each trace and size below, a line for each policy.
std::vector<Plot> plots_of(const std::vector<Row>& rows) {
  std::vector<Plot> plots;
  for (const Row& row : rows) {
    std::string title = row.trace->name;
    if (row.nvme_chunks > 0) title += ", " + show_count(row.nvme_chunks) + " chunks of NVMe below";
    auto plot = std::find_if(plots.begin(), plots.end(),
                             [&](const Plot& one) { return one.title == title; });
    if (plot == plots.end()) plot = plots.insert(plots.end(), {title, {}});
    auto line = std::find_if(plot->lines.begin(), plot->lines.end(),
                             [&](const PlotLine& one) { return one.name == row.policy; });
    if (line == plot->lines.end()) line = plot->lines.insert(plot->lines.end(), {row.policy, {}});
    line->points.emplace_back(static_cast<double>(row.host_chunks),
                              rate(row.result.blocks_hit, row.result.blocks_asked));
  }
  for (Plot& plot : plots) {
    for (PlotLine& line : plot.lines) std::sort(line.points.begin(), line.points.end());
  }
  return plots;
}

class Simulating {
 public:
  Simulating(const Wanted& wanted, CommandContext& context) : wanted_(wanted), context_(context) {}
  int run();

 private:
  int refuse(const Error& error) const {
    return context_.fail(error.code() == Code::kInvalidArgument || error.code() == Code::kNotFound
                             ? kExitUsage
                             : kExitFailed,
                         error.message());
  }
  Status run_trace(const SimTrace& trace);
  Status run_one(const SimTrace& trace, const std::string& policy, uint64_t host, uint64_t nvme);

  const Wanted& wanted_;
  CommandContext& context_;
  std::vector<std::unique_ptr<SimTrace>> traces_;
  std::vector<Row> rows_;
};

Status Simulating::run_one(const SimTrace& trace, const std::string& policy, uint64_t host,
                           uint64_t nvme) {
  if (policy == kBound) {
    rows_.push_back({&trace, policy, host, 0, simulate_bound(trace, host)});
    return {};
  }
  SimOptions options;
  options.host = {policy, host};
  options.nvme = {wanted_.nvme_policy.empty() ? policy : wanted_.nvme_policy, nvme};
  options.nvme_write_share = wanted_.nvme_writes.value_or(-1);
  if (Status status = read_hints(wanted_.hints, options); !status) return status;
  options.seed = wanted_.seed;
  auto result = simulate(trace, options);
  if (!result) return result.error();
  rows_.push_back({&trace, policy, host, nvme, *std::move(result)});
  return {};
}

Status Simulating::run_trace(const SimTrace& trace) {
  for (const std::string& policy : split_list(wanted_.policies)) {
    for (const std::string& size : split_list(wanted_.host_chunks)) {
      const auto host = chunks_of(size, trace.unique);
      if (!host) return host.error();
      for (const std::string& lower : split_list(wanted_.nvme_chunks)) {
        const auto nvme = chunks_of(lower, trace.unique);
        if (!nvme) return nvme.error();
        if (Status status = run_one(trace, policy, *host, *nvme); !status) return status;
      }
    }
  }
  return {};
}

int Simulating::run() {
  for (const std::string& policy : split_list(wanted_.policies)) {
    if (policy == kBound) continue;
    if (const auto known = daemon::make_policy(policy); !known) {
      return context_.fail(kExitUsage, std::string(known.error().message()) + ", min (a bound)");
    }
  }
  SimOptions ignored;
  if (Status status = read_hints(wanted_.hints, ignored); !status) return refuse(status.error());
  for (const std::string& file : wanted_.files) {
    auto trace = read_sim_trace(file, wanted_.requests.value_or(UINT64_MAX));
    if (!trace) return context_.fail(kExitUsage, trace.error().message());
    traces_.push_back(std::make_unique<SimTrace>(*std::move(trace)));
    if (Status status = run_trace(*traces_.back()); !status) return refuse(status.error());
  }
  const std::vector<Plot> plots = plots_of(rows_);
  if (!wanted_.svg.empty()) {
    std::ofstream file(wanted_.svg, std::ios::binary);
    file << plot_svg(plots);
    if (!file.flush()) return context_.fail(kExitFailed, "cannot write " + wanted_.svg);
  }
  if (!context_.json) {
    print(rows_, wanted_, context_);
    for (size_t i = 0; wanted_.chart && i < plots.size(); ++i) {
      context_.out << "\n" << plot_text(plots[i], kChartColumns);
    }
    return kExitOk;
  }
  nlohmann::json all = nlohmann::json::array();
  for (const Row& row : rows_) all.push_back(json_of(row, wanted_));
  context_.out << all.dump(2) << "\n";
  return kExitOk;
}

CommandRun setup(Options& options) {
  auto wanted = std::make_shared<Wanted>();
  options.value("TRACE", wanted->files, "Traces (docs/traces.md), plain or zstd").required().file();
  options.value(
      "--policy", wanted->policies,
      std::string("Policies, with commas: ") + daemon::policy_names() + "; min is a bound");
  options.value("--host-chunks", wanted->host_chunks,
                "Sizes of host memory, with commas: chunks, or a share such as 5%");
  options.value("--nvme-chunks", wanted->nvme_chunks, "The same of an NVMe tier; 0: none");
  options.value("--nvme-policy", wanted->nvme_policy, "Policy of the NVMe tier, if another one");
  options
      .value("--nvme-writes", wanted->nvme_writes,
             "What may be written, as a multiple of the trace's unique blocks")
      .range(0, 1e6);
  options.value("--hints", wanted->hints,
                "Advice that is right in the share A: session-end=A or request-end=A (man page)");
  options.value("--model", wanted->model, "Whose recompute time is saved")
      .choices({kModels[0].id, kModels[1].id, kModels[2].id});
  options.value("--tier-gbps", wanted->host_gbps, "Loads from host memory, GB/s").range(1e-3, 1e5);
  options.value("--nvme-gbps", wanted->nvme_gbps, "Loads from NVMe, GB/s").range(1e-3, 1e5);
  options.value("--requests", wanted->requests, "Stop after so many requests");
  options.value("--svg", wanted->svg, "Write the hit rates over sizes as a picture into this file")
      .file();
  options.flag("--chart", wanted->chart, "Show them as a chart of characters, too");
  options.value("--seed", wanted->seed, "Of the draws that make hints wrong");
  return [wanted](CommandContext& context) { return Simulating(*wanted, context).run(); };
}

constexpr Command kCommand{
    .group = "",
    .name = "simulate",
    .summary = "What a policy would hit on a trace, at sizes you name, without a daemon",
    .description =
        "Runs the daemon's own policy code over the block ids of a trace on a virtual clock. Each\n"
        "request hits its longest resident prefix; then its blocks are touched or inserted, tail "
        "to\n"
        "head. Rates are fractions of the blocks asked, the empty start included.",
    .examples = kExamples,
    .setup = setup,
};

}  // namespace

const Command& simulate_command() {
  return kCommand;
}

}  // namespace kvtier::tools
