// kvtier advise: what more memory would buy, which tiers are worth loading from, whether the write
// budget is too tight. Asks the daemon; the arithmetic is advice.cpp.
#include <memory>
#include <ostream>

#include "tools/advise/advice.hpp"
#include "tools/cli/commands/commands.hpp"
#include "tools/cli/daemon_link.hpp"
#include "tools/cli/output.hpp"

namespace kvtier::tools {
namespace {

std::string points(double share, const char* format = "%.1f %%") {
  char text[32];
  std::snprintf(text, sizeof text, format, 100 * share);
  return text;
}

Json json_of(const TierSizes& sizes) {
  Json steps = Json::array();
  for (const SizeStep& step : sizes.steps) {
    steps.push_back({{"more_bytes", step.more_bytes},
                     {"token_hit_rate", step.hit_rate},
                     {"token_hit_rate_gain", step.gain},
                     {"gain_error", step.gain_error},
                     {"gpu_seconds_saved_per_hour", step.gpu_seconds},
                     {"tier_token_hit_rate", step.tier_hit_rate}});
  }
  return {{"tier", sizes.tier},
          {"capacity_bytes", sizes.bytes},
          {"chunk_bytes", sizes.chunk_bytes},
          {"token_hit_rate", sizes.hit_rate},
          {"tier_token_hit_rate", sizes.tier_hit_rate},
          {"confidence", trust_name(sizes.trust)},
          {"steps", steps}};
}

Json json_of(const Advice& advice) {
  Json sizes = Json::array(), loads = Json::array();
  for (const TierSizes& tier : advice.sizes) sizes.push_back(json_of(tier));
  for (const LoadWorth& load : advice.loads) {
    loads.push_back({{"tier", load.tier},
                     {"tenant", load.tenant},
                     {"model", load.model},
                     {"load_seconds_per_chunk", load.load_seconds},
                     {"load_seconds_per_chunk_p90", load.load_seconds_slow},
                     {"compute_seconds_first_chunk", load.compute_seconds},
                     {"worth_from_tokens",
                      load.worth_from_tokens < 0 ? Json(nullptr) : Json(load.worth_from_tokens)},
                     {"confidence", trust_name(load.trust)}});
  }
  return {{"window", advice.window},
          {"seconds", advice.seconds},
          {"tokens_asked", advice.tokens_asked},
          {"prompts_sampled", advice.prompts},
          {"advice", advice.sentences},
          {"sizes", sizes},
          {"loads", loads},
          {"write_budget", advice.budget.has_lower
                               ? Json({{"refused_share", advice.budget.refused},
                                       {"token_hit_rate_lost", advice.budget.lost_hit_rate},
                                       {"confidence", trust_name(advice.budget.trust)}})
                               : Json(nullptr)}};
}

void print_sizes(const Advice& advice, CommandContext& context) {
  using Align = Table::Align;
  for (const TierSizes& tier : advice.sizes) {
    context.out << paint(context.color, Color::kBold, tier.tier) << "  " << show_bytes(tier.bytes)
                << ", chunks of " << show_bytes(tier.chunk_bytes) << "; hits "
                << points(tier.tier_hit_rate) << " of the tokens from here or faster, "
                << points(tier.hit_rate) << " in all; " << trust_name(tier.trust)
                << " confidence\n";
    Table table({{"more", Align::kRight},
                 {"hits", Align::kRight},
                 {"gain", Align::kRight},
                 {"+-", Align::kRight},
                 {"GPU seconds an hour", Align::kRight},
                 {"from here or faster", Align::kRight}});
    for (const SizeStep& step : tier.steps) {
      table.row({show_bytes(step.more_bytes), points(step.hit_rate), points(step.gain, "%+.2f"),
                 points(step.gain_error, "%.2f"),
                 show_count(static_cast<uint64_t>(std::max(step.gpu_seconds, 0.0))),
                 points(step.tier_hit_rate)});
    }
    table.print(context.out, context.color, 2);
  }
}

void print(const Advice& advice, CommandContext& context) {
  context.out << "by " << show_count(advice.prompts) << " prompts of the last "
              << show_seconds(advice.seconds) << " (window " << advice.window << ")\n";
  print_sizes(advice, context);
  for (const LoadWorth& load : advice.loads) {
    context.out << "loads from " << load.tier << "  " << printable(load.model) << ": "
                << show_seconds(load.load_seconds) << " a chunk ("
                << show_seconds(load.load_seconds_slow) << " at the slowest tenth), computing "
                << show_seconds(load.compute_seconds) << " at a prompt's head; "
                << (load.worth_from_tokens == 0 ? "worth it"
                    : load.worth_from_tokens < 0
                        ? "never worth it"
                        : "worth it behind " +
                              show_count(static_cast<uint64_t>(load.worth_from_tokens)) + " tokens")
                << "; " << trust_name(load.trust) << " confidence\n";
  }
  if (advice.budget.has_lower) {
    context.out << "write budget  " << points(advice.budget.refused)
                << " of what left host memory was refused, " << points(advice.budget.lost_hit_rate)
                << " of the tokens lost by it; " << trust_name(advice.budget.trust)
                << " confidence\n";
  }
  for (const std::string& sentence : advice.sentences) {
    context.out << paint(context.color, Color::kBold, "- ") << sentence << "\n";
  }
}

CommandRun setup(Options& options) {
  auto window = std::make_shared<std::string>("1h");
  options.value("--window", *window, "The traffic that counts").choices({"15m", "1h", "1d"});
  return [window](CommandContext& context) -> int {
    const DaemonAnswer curves = ask_daemon(context, "GET", "/v1/curves");
    if (!curves.ok()) return curves.status;
    const DaemonAnswer status = ask_daemon(context, "GET", "/v1/status");
    if (!status.ok()) return status.status;
    const Advice advice = make_advice(curves.json, status.json, *window);
    if (context.json) {
      print_json(context, json_of(advice));
    } else {
      print(advice, context);
    }
    return kExitOk;
  };
}

constexpr CommandExample kExamples[] = {
    {"kvtier advise", "By the traffic of the last hour"},
    {"kvtier advise --window 1d --json", "Of the last day, as JSON"},
};

}  // namespace

const Command& advise_command() {
  static const Command command{
      .group = "",
      .name = "advise",
      .summary = "What more memory would buy, and what is not worth having",
      .description =
          "By the daemon's live miss-ratio curves: what each tier would hit if it were larger, "
          "and\n"
          "how many GPU seconds that saves; whether a tier is too slow to be worth loading from;\n"
          "whether the NVMe write budget costs hits. Each with its confidence.",
      .examples = kExamples,
      .setup = setup};
  return command;
}

}  // namespace kvtier::tools
