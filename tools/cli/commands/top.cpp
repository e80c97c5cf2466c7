// kvtier top: the daemon live, full screen; once, where there is no terminal.
#include <algorithm>
#include <chrono>
#include <memory>
#include <sstream>

#include "tools/cli/commands/commands.hpp"
#include "tools/cli/commands/views.hpp"
#include "tools/cli/daemon_link.hpp"
#include "tools/cli/output.hpp"
#include "tools/cli/terminal.hpp"

namespace kvtier::tools {
namespace {

using SteadyClock = std::chrono::steady_clock;

struct Sample {
  Json status;
  SteadyClock::time_point when;
};

// What happened between two samples, a second.
struct Rates {
  double seconds = 0;
  double lookups = 0, asked = 0, found = 0, load_bytes = 0, store_bytes = 0, loads_failed = 0,
         requests = 0, evicted = 0, committed = 0;
};

double difference(double now, double before) {
  return std::max(0.0, now - before);  // a restarted daemon counts from nothing
}

Rates rates_of(const Sample& before, const Sample& now) {
  Rates rates;
  rates.seconds = std::chrono::duration<double>(now.when - before.when).count();
  if (rates.seconds <= 0) return rates;
  const LookupSums past = lookup_sums(before.status), present = lookup_sums(now.status);
  const auto a_second = [&rates](double later, double earlier) {
    return difference(later, earlier) / rates.seconds;
  };
  rates.lookups = a_second(present.lookups, past.lookups);
  rates.asked = a_second(present.asked, past.asked);
  rates.found = a_second(present.found(), past.found());
  rates.load_bytes = a_second(present.load_bytes, past.load_bytes);
  rates.store_bytes = a_second(present.store_bytes, past.store_bytes);
  rates.loads_failed = a_second(present.loads_failed, past.loads_failed);
  const Json none = Json::object();
  const Json earlier = before.status.value("counters", none);
  const Json later = now.status.value("counters", none);
  rates.requests = a_second(number_of(later, "requests"), number_of(earlier, "requests"));
  rates.evicted = a_second(number_of(later, "evicted"), number_of(earlier, "evicted"));
  rates.committed = a_second(number_of(later, "committed"), number_of(earlier, "committed"));
  return rates;
}

std::string a_second(double rate) {
  return show_count(static_cast<uint64_t>(rate + 0.5)) + "/s";
}

Json busiest_sessions(const Json& status) {
  std::vector<Json> sessions(list_of(status, "sessions").begin(),
                             list_of(status, "sessions").end());
  const auto traffic = [](const Json& session) {
    const Json counters = session.value("counters", Json::object());
    return number_of(counters, "load_bytes") + number_of(counters, "store_bytes");
  };
  std::stable_sort(sessions.begin(), sessions.end(),
                   [&traffic](const Json& a, const Json& b) { return traffic(a) > traffic(b); });
  return Json(sessions);
}

std::string frame(const CommandContext& context, const Sample& now, const Rates& rates) {
  std::ostringstream out;
  const std::string health = text_of(now.status, "health");
  out << paint(context.color, color_of_state(health), printable(health)) << "  kvtierd "
      << printable(text_of(now.status, "version")) << ", up "
      << show_seconds(number_of(now.status, "uptime_seconds")) << "\n";
  for (const Json& problem : list_of(now.status, "problems")) {
    if (problem.is_string()) {
      out << paint(context.color, Color::kYellow, printable(problem.get<std::string>())) << "\n";
    }
  }
  out << "\n";
  if (rates.seconds > 0) {
    out << "hit rate " << show_percent(rates.found, rates.asked) << "   look-ups "
        << a_second(rates.lookups) << "   load " << show_bytes(rates.load_bytes) << "/s   store "
        << show_bytes(rates.store_bytes) << "/s\n"
        << "requests " << a_second(rates.requests) << "   stored " << a_second(rates.committed)
        << "   evicted " << a_second(rates.evicted) << "   failed loads "
        << a_second(rates.loads_failed) << "\n";
  }
  out << lookup_line(now.status) << "\n" << session_line(now.status) << "\n\n";
  tier_table(list_of(now.status, "tiers")).print(out, context.color);
  out << "\n";
  session_table(busiest_sessions(now.status)).print(out, context.color);
  return out.str();
}

Json rates_json(const Rates& rates) {
  return {{"seconds", rates.seconds},
          {"lookups_per_second", rates.lookups},
          {"chunks_asked_per_second", rates.asked},
          {"chunks_found_per_second", rates.found},
          {"load_bytes_per_second", rates.load_bytes},
          {"store_bytes_per_second", rates.store_bytes},
          {"loads_failed_per_second", rates.loads_failed},
          {"requests_per_second", rates.requests},
          {"committed_per_second", rates.committed},
          {"evicted_per_second", rates.evicted}};
}

int sample(const CommandContext& context, Sample& taken) {
  DaemonAnswer answer = ask_daemon(context, "GET", "/v1/status");
  taken = {std::move(answer.json), SteadyClock::now()};
  return answer.status;
}

int print_once(const CommandContext& context) {
  Sample now;
  if (const int status = sample(context, now); status != kExitOk) return status;
  context.out << frame(context, now, Rates());
  return kExitOk;
}

int print_rates(const CommandContext& context, std::chrono::milliseconds interval) {
  Sample before, now;
  if (const int status = sample(context, before); status != kExitOk) return status;
  const timespec pause{interval.count() / 1000, interval.count() % 1000 * 1'000'000};
  nanosleep(&pause, nullptr);
  if (const int status = sample(context, now); status != kExitOk) return status;
  print_json(context, {{"rates", rates_json(rates_of(before, now))}, {"status", now.status}});
  return kExitOk;
}

// An error while live is shown in place; the daemon may come back.
int run_live(const CommandContext& context, std::chrono::milliseconds interval) {
  Sample before, now;
  if (const int status = sample(context, now); status != kExitOk) return status;
  Rates rates;
  LiveTerminal terminal;
  const std::string keys = paint(context.color, Color::kDim, "q quits, space refreshes") + "\n\n";
  for (;;) {
    terminal.show(keys + frame(context, now, rates));
    LiveTerminal::Event event = terminal.wait(interval);
    if (event == LiveTerminal::Event::kQuit) return kExitOk;
    std::ostringstream errors;
    CommandContext quiet{.out = context.out, .err = errors};
    quiet.socket = context.socket;
    before = now;
    while (sample(quiet, now) != kExitOk) {
      terminal.show(keys + errors.str());
      errors.str("");
      if (terminal.wait(interval) == LiveTerminal::Event::kQuit) return kExitOk;
    }
    rates = before.status.is_object() ? rates_of(before, now) : Rates();
  }
}

CommandRun setup(Options& options) {
  auto seconds = std::make_shared<double>(1);
  options.value("--interval,-i", *seconds, "Seconds between two looks").range(0.1, 3600);
  return [seconds](CommandContext& context) -> int {
    const std::chrono::milliseconds interval(static_cast<int64_t>(*seconds * 1000));
    if (context.json) return print_rates(context, interval);
    if (!context.out_is_terminal || !context.in_is_terminal) return print_once(context);
    return run_live(context, interval);
  };
}

constexpr CommandExample kExamples[] = {
    {"kvtier top", "live; q quits"},
    {"kvtier top -i 5 --json", "rates over five seconds, once"},
};

}  // namespace

const Command& top_command() {
  static const Command command{
      .group = "",
      .name = "top",
      .summary = "The daemon live: rates, tiers, the busiest clients",
      .description =
          "Full screen on a terminal; otherwise it prints once. With --json it watches "
          "for one interval\nand prints the rates.",
      .examples = kExamples,
      .setup = setup};
  return command;
}

}  // namespace kvtier::tools
