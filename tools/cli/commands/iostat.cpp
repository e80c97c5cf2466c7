// kvtier iostat: what each device of the tiers on disks does, a row a device and interval.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <ostream>

#include "tools/cli/commands/commands.hpp"
#include "tools/cli/commands/views.hpp"
#include "tools/cli/daemon_link.hpp"
#include "tools/cli/output.hpp"

namespace kvtier::tools {
namespace {

using SteadyClock = std::chrono::steady_clock;

struct Wanted {
  std::optional<double> interval;
  std::optional<uint64_t> count;
};

struct Sample {
  Json devices = Json::array();  // of all tiers
  double uptime_seconds = 0;
  SteadyClock::time_point when;
};

// What one device did between two looks.
struct Row {
  std::string device, state, reason;
  double reads_per_second = 0, writes_per_second = 0;
  double read_bytes_per_second = 0, write_bytes_per_second = 0;
  double read_milliseconds = 0, write_milliseconds = 0;  // mean of a transfer
  uint64_t queued = 0, in_flight = 0, errors = 0;
  double write_amplification = 0;
};

const Json* find(const Json& devices, const std::string& name) {
  for (const Json& device : devices) {
    if (text_of(device, "name") == name) return &device;
  }
  return nullptr;
}

// `before` may be null: everything since the start of the daemon.
Row row_of(const Json& now, const Json* before, double seconds) {
  const auto grown = [&](const char* name) {
    const double past = before == nullptr ? 0 : number_of(*before, name);
    const double present = number_of(now, name);
    return present >= past ? present - past : present;  // a restarted daemon counts from nothing
  };
  const auto rate = [&](double amount) { return seconds > 0 ? amount / seconds : 0; };
  const auto mean_ms = [](double sum, double count) { return count > 0 ? 1e3 * sum / count : 0; };
  Row row{.device = text_of(now, "name"),
          .state = text_of(now, "state"),
          .reason = text_of(now, "reason")};
  row.reads_per_second = rate(grown("reads"));
  row.writes_per_second = rate(grown("writes"));
  row.read_bytes_per_second = rate(grown("read_bytes"));
  row.write_bytes_per_second = rate(grown("write_bytes"));
  row.read_milliseconds = mean_ms(grown("read_seconds"), grown("reads"));
  row.write_milliseconds = mean_ms(grown("write_seconds"), grown("writes"));
  row.queued = count_of(now, "queued_reads") + count_of(now, "queued_writes");
  row.in_flight = count_of(now, "in_flight");
  row.errors = static_cast<uint64_t>(grown("read_errors") + grown("write_errors"));
  const double chunks = grown("chunk_write_bytes");
  if (chunks > 0) {
    row.write_amplification =
        std::max(0.0, grown("write_bytes") - grown("prepare_write_bytes")) / chunks;
  }
  return row;
}

int take(const CommandContext& context, Sample& sample) {
  const DaemonAnswer answer = ask_daemon(context, "GET", "/v1/status");
  if (!answer.ok()) return answer.status;
  sample = {.uptime_seconds = number_of(answer.json, "uptime_seconds"), .when = SteadyClock::now()};
  for (const Json& tier : list_of(answer.json, "tiers")) {
    for (const Json& device : list_of(tier, "devices")) sample.devices.push_back(device);
  }
  return kExitOk;
}

std::string decimal(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

void print(const CommandContext& context, const std::vector<Row>& rows) {
  constexpr auto kRight = Table::Align::kRight;
  Table table({{"DEVICE"},
               {"STATE"},
               {"r/s", kRight},
               {"w/s", kRight},
               {"rMB/s", kRight},
               {"wMB/s", kRight},
               {"r ms", kRight},
               {"w ms", kRight},
               {"QUEUED", kRight},
               {"ERRORS", kRight},
               {"AMPLIFICATION", kRight},
               {"REASON"}});
  for (const Row& row : rows) {
    table.row({row.device,
               {row.state, color_of_state(row.state)},
               decimal(row.reads_per_second, 1),
               decimal(row.writes_per_second, 1),
               decimal(row.read_bytes_per_second * 1e-6, 1),
               decimal(row.write_bytes_per_second * 1e-6, 1),
               decimal(row.read_milliseconds, 2),
               decimal(row.write_milliseconds, 2),
               show_count(row.queued + row.in_flight),
               show_count(row.errors),
               row.write_amplification > 0 ? decimal(row.write_amplification, 3) : "-",
               row.reason});
  }
  table.print(context.out, context.color);
}

Json json_of(const Row& row) {
  return {{"device", row.device},
          {"state", row.state},
          {"reason", row.reason},
          {"reads_per_second", row.reads_per_second},
          {"writes_per_second", row.writes_per_second},
          {"read_bytes_per_second", row.read_bytes_per_second},
          {"write_bytes_per_second", row.write_bytes_per_second},
          {"read_milliseconds", row.read_milliseconds},
          {"write_milliseconds", row.write_milliseconds},
          {"queued", row.queued},
          {"in_flight", row.in_flight},
          {"errors", row.errors},
          {"write_amplification",
           row.write_amplification > 0 ? Json(row.write_amplification) : Json()}};
}

// `before` may be null. The exit status: whether every device serves.
int report(const CommandContext& context, const Sample* before, const Sample& now) {
  const double seconds = before == nullptr
                             ? now.uptime_seconds
                             : std::chrono::duration<double>(now.when - before->when).count();
  std::vector<Row> rows;
  bool all_serve = true;
  for (const Json& device : now.devices) {
    const Json* earlier =
        before == nullptr ? nullptr : find(before->devices, text_of(device, "name"));
    rows.push_back(row_of(device, earlier, seconds));
    const std::string& state = rows.back().state;
    all_serve = all_serve && (state == "ok" || state == "starting");
  }
  if (context.json) {
    Json list = Json::array();
    for (const Row& row : rows) list.push_back(json_of(row));
    context.out << Json{{"seconds", seconds}, {"devices", std::move(list)}}.dump(
                       -1, ' ', false, Json::error_handler_t::replace)
                << "\n";
  } else if (rows.empty()) {
    context.err << "this daemon has no tier on disks (nvme.capacity is 0)\n";
  } else {
    print(context, rows);
  }
  context.out.flush();
  return all_serve ? kExitOk : kExitDegraded;
}

int run(const Wanted& wanted, const CommandContext& context) {
  Sample before, now;
  if (const int status = take(context, now); status != kExitOk) return status;
  if (!wanted.interval || (now.devices.empty() && !context.json)) {
    return report(context, nullptr, now);
  }
  const auto nanoseconds = static_cast<int64_t>(*wanted.interval * 1e9);
  int status = kExitOk;
  for (uint64_t i = 0; !wanted.count || i < *wanted.count; ++i) {
    const timespec pause{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
    nanosleep(&pause, nullptr);
    before = std::move(now);
    if (const int failed = take(context, now); failed != kExitOk) return failed;
    if (i > 0 && !context.json) context.out << "\n";
    status = report(context, &before, now);
    if (!context.out.good()) break;
  }
  return status;
}

CommandRun setup(Options& options) {
  auto wanted = std::make_shared<Wanted>();
  options.value("INTERVAL", wanted->interval, "Seconds between two looks; none: since the start")
      .range(0.1, 3600);
  options.value("COUNT", wanted->count, "How many intervals; none: until interrupted")
      .range(1, 1e9);
  return [wanted](CommandContext& context) -> int { return run(*wanted, context); };
}

constexpr CommandExample kExamples[] = {
    {"kvtier iostat", "once: means since the daemon started"},
    {"kvtier iostat 1", "every second what happened in it"},
    {"kvtier iostat 10 1 --json", "one interval, for a program"},
};

}  // namespace

const Command& iostat_command() {
  static const Command command{
      .group = "",
      .name = "iostat",
      .summary = "Reads and writes of each nvme device, since the start or live",
      .description =
          "Transfers and bytes a second, mean time of a transfer from being queued to its end,\n"
          "transfers queued and at the device, errors, and bytes written for each byte of chunks.\n"
          "Exit status 4 when a device is out of service.",
      .examples = kExamples,
      .setup = setup};
  return command;
}

}  // namespace kvtier::tools
