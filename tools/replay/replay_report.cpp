#include "tools/replay/replay_report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <ostream>

#include "tools/cli/output.hpp"
#include "tools/replay/recompute_cost.hpp"

namespace kvtier::tools {
namespace {

double ratio(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

double gbps(uint64_t bytes, double seconds) {
  return seconds <= 0 ? 0 : static_cast<double>(bytes) / seconds / 1e9;
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string percent(double share) {
  return fixed(100 * share, 2) + " %";
}

// Rows of a name, a value and what it means.
class Rows {
 public:
  Rows(std::ostream& out, bool color) : out_(out), color_(color) {}
  void row(const std::string& name, const std::string& value, const std::string& about,
           Color shade = Color::kPlain) {
    const auto pad = [](const std::string& text, size_t width) {
      const size_t used = display_width(text);
      return std::string(used < width ? width - used : 1, ' ');
    };
    out_ << "  " << name << pad(name, 20) << paint(color_, shade, value);
    if (!about.empty()) out_ << pad(value, 15) << paint(color_, Color::kDim, about);
    out_ << "\n";
  }
  void title(const std::string& text) {
    out_ << "\n" << paint(color_, Color::kBold, printable(text)) << "\n";
  }

 private:
  std::ostream& out_;
  bool color_;
};

std::string tier_text(const ReplayDaemon& daemon) {
  if (daemon.host_chunks) return show_count(*daemon.host_chunks) + " chunks of host memory";
  return show_bytes(static_cast<double>(daemon.host_bytes)) + " of host memory";
}

void print_hits(const ReplayReport& report, Rows& rows) {
  const ReplayTotals& totals = report.outcome.totals;
  rows.row("hit rate", percent(ratio(totals.tokens_hit, totals.tokens_asked)),
           "of all prompt tokens were found and need not be computed again", Color::kGreen);
  const uint64_t host = totals.blocks_hit - totals.blocks_hit_nvme;
  rows.row("  in host memory", percent(ratio(host, totals.blocks_asked)),
           show_count(host) + " of " + show_count(totals.blocks_asked) + " chunks asked");
  rows.row("  on nvme", percent(ratio(totals.blocks_hit_nvme, totals.blocks_asked)),
           show_count(totals.blocks_hit_nvme) + " chunks, brought before they were loaded");
  // Of a cache that is empty at the start: where the daemon had chunks of the trace already, what
  // it found can be more, and nothing is to be said.
  const bool began_warm =
      ratio(totals.blocks_hit, totals.blocks_asked) > report.asked.hit_rate_infinite() + 1e-9;
  if (report.asked.requests == totals.requests && report.asked.requests > 0 && !began_warm) {
    rows.row("  best possible", percent(report.asked.hit_rate_infinite()),
             "of the chunks: a cache that never forgets (" +
                 show_count(report.asked.blocks_unique) + " chunks)");
  }
}

void print_bytes(const ReplayReport& report, Rows& rows) {
  const ReplayTotals& totals = report.outcome.totals;
  rows.row("loaded", show_bytes(static_cast<double>(totals.bytes_loaded)),
           fixed(gbps(totals.bytes_loaded, totals.load_seconds), 2) +
               " GB/s while loading: copied out and checked");
  std::string stored =
      fixed(gbps(totals.bytes_stored, totals.store_seconds), 2) + " GB/s while storing";
  if (totals.busy_seconds > 0.01) {
    stored += ", and " + show_seconds(totals.busy_seconds) + " of waiting for room";
  }
  rows.row("stored", show_bytes(static_cast<double>(totals.bytes_stored)), stored);
  rows.row("look-up", show_seconds(totals.lookup.quantile_ns(0.5) * 1e-9),
           "half of all prompts were looked up in this time; p99 " +
               show_seconds(totals.lookup.quantile_ns(0.99) * 1e-9));
}

void print_cost(const ReplayReport& report, Rows& rows) {
  const ReplayTotals& totals = report.outcome.totals;
  rows.row("recomputing", show_seconds(totals.recompute_seconds),
           std::string("of GPU time for what was found (") + kLlama8bOnH100.name + ")");
  const double bytes = static_cast<double>(totals.tokens_hit) *
                       static_cast<double>(kLlama8bOnH100.kv_bytes_per_token);
  const double speed = gbps(totals.bytes_loaded, totals.load_seconds);
  if (speed > 0) {
    rows.row("  loading instead", show_seconds(bytes / 1e9 / speed),
             "at the speed above and the model's 128 KiB a token, on one core");
  }
}

void print_faults(const ReplayReport& report, Rows& rows) {
  const ReplayTotals& totals = report.outcome.totals;
  if (report.options.verify) {
    rows.row("wrong bytes", show_count(totals.wrong_bytes), "every byte of every hit was compared",
             totals.wrong_bytes == 0 ? Color::kGreen : Color::kRed);
  } else {
    rows.row("wrong bytes", "not looked for", "--verify compares every byte");
  }
  rows.row("failed calls", show_count(totals.failed_calls), printable(totals.first_failure),
           totals.failed_calls == 0 ? Color::kGreen : Color::kRed);
  if (totals.blocks_dropped > 0) {
    rows.row("dropped", show_count(totals.blocks_dropped), "chunks not stored: no room just then");
  }
}

}  // namespace

std::string replay_json(const ReplayReport& report) {
  const ReplayTotals& totals = report.outcome.totals;
  nlohmann::ordered_json json;
  json["trace"] = printable(report.trace);
  json["generated"] = report.generated;
  json["policy"] = report.daemon.policy;
  json["clients"] = report.options.clients;
  json["host_chunks"] = report.daemon.host_chunks
                            ? nlohmann::ordered_json(*report.daemon.host_chunks)
                            : nlohmann::ordered_json();
  json["host_bytes"] = report.daemon.host_bytes;
  json["nvme_bytes"] = report.daemon.nvme_bytes;
  json["requests"] = totals.requests;
  json["blocks_asked"] = totals.blocks_asked;
  json["blocks_hit"] = totals.blocks_hit;
  json["hit_rate"] = ratio(totals.blocks_hit, totals.blocks_asked);
  json["tokens_asked"] = totals.tokens_asked;
  json["tokens_hit"] = totals.tokens_hit;
  json["hit_rate_tokens"] = ratio(totals.tokens_hit, totals.tokens_asked);
  json["hits_by_tier"] = {{"host", totals.blocks_hit - totals.blocks_hit_nvme},
                          {"nvme", totals.blocks_hit_nvme}};
  json["blocks_stored"] = totals.blocks_stored;
  json["blocks_present"] = totals.blocks_present;
  json["blocks_declined"] = totals.blocks_declined;
  json["blocks_dropped"] = totals.blocks_dropped;
  json["wrong_bytes"] =
      report.options.verify ? nlohmann::ordered_json(totals.wrong_bytes) : nlohmann::ordered_json();
  json["failed_calls"] = totals.failed_calls;
  json["first_failure"] = totals.first_failure.empty()
                              ? nlohmann::ordered_json()
                              : nlohmann::ordered_json(totals.first_failure);
  json["bytes_loaded"] = totals.bytes_loaded;
  json["bytes_stored"] = totals.bytes_stored;
  json["load_gbps"] = gbps(totals.bytes_loaded, totals.load_seconds);
  json["store_gbps"] = gbps(totals.bytes_stored, totals.store_seconds);
  json["busy_seconds"] = totals.busy_seconds;
  json["lookup_us"] = {{"p50", totals.lookup.quantile_ns(0.5) / 1e3},
                       {"p99", totals.lookup.quantile_ns(0.99) / 1e3}};
  json["recompute_seconds"] = totals.recompute_seconds;
  json["recompute_assumes"] = kLlama8bOnH100.name;
  json["seconds"] = report.outcome.seconds;
  json["interrupted"] = report.outcome.interrupted;
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void print_replay(const ReplayReport& report, std::ostream& out, bool color) {
  const ReplayTotals& totals = report.outcome.totals;
  Rows rows(out, color);
  rows.title("Replay of " + report.trace);
  if (report.generated) rows.row("GENERATED", "no real traffic stands behind these numbers", "");
  if (report.outcome.interrupted) rows.row("INTERRUPTED", "what was done until then:", "");
  rows.row("requests", show_count(totals.requests),
           show_count(totals.tokens_asked) + " prompt tokens, in " +
               show_seconds(report.outcome.seconds));
  rows.row("cache", printable(report.daemon.policy),
           tier_text(report.daemon) + ", " + std::to_string(report.options.clients) +
               (report.options.clients == 1 ? " client" : " clients") + ", " +
               show_count(report.options.bytes_per_token) + " bytes a token");
  print_hits(report, rows);
  print_bytes(report, rows);
  print_cost(report, rows);
  print_faults(report, rows);
}

std::string progress_line(const ReplayProgress& progress, double share, unsigned columns) {
  std::string text;
  if (share >= 0) {
    const size_t width = std::clamp<size_t>(columns / 3, 10, 40);
    const auto full =
        static_cast<size_t>(std::lround(std::min(share, 1.0) * static_cast<double>(width)));
    text = "[" + std::string(full, '#') + std::string(width - full, '.') + "] " +
           fixed(100 * std::min(share, 1.0), 0) + " %  ";
  }
  text += show_count(progress.requests) + " requests  " +
          fixed(100 * ratio(progress.blocks_hit, progress.blocks_asked), 1) + " % hit  " +
          show_seconds(progress.seconds);
  if (text.size() + 1 > columns) text.resize(columns > 1 ? columns - 1 : 0);
  return text;
}

}  // namespace kvtier::tools
