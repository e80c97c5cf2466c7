#include "tests/faults/mixed_report.hpp"

#include <algorithm>
#include <cstdio>
#include <map>

namespace kvtier::faults {
namespace {

constexpr uint64_t kSamplesMin = 20;  // fewer say nothing of a pair

double median(std::vector<double>& values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// A client that was killed at the begin of this interval or of the one before is left out.
bool survived(const std::vector<Interval>& intervals, size_t interval, size_t client) {
  return intervals[interval].victim != client &&
         (interval == 0 || intervals[interval - 1].victim != client);
}

struct Samples {
  std::map<size_t, std::vector<double>> by_pair[2];  // [with kills][pair]
  std::vector<double> all[2];
};

ActReport report_act(Samples& samples) {
  ActReport report;
  report.samples_without = samples.all[0].size();
  report.samples_with = samples.all[1].size();
  for (const double us : samples.all[1]) report.longest_ms = std::max(report.longest_ms, us * 1e-3);
  report.without_us = median(samples.all[0]);
  report.with_us = median(samples.all[1]);
  std::vector<double> ratios;
  for (auto& [pair, with] : samples.by_pair[1]) {
    std::vector<double>& without = samples.by_pair[0][pair];
    if (with.size() < kSamplesMin || without.size() < kSamplesMin) continue;
    ratios.push_back(median(with) / median(without));
  }
  report.ratio = median(ratios);
  return report;
}

struct Cpu {
  double client_s = 0, client_gb = 0;  // of those who were not killed
  double daemon_s = 0, all_gb = 0;
  double client() const { return client_gb > 0 ? client_s / client_gb : 0; }
  double daemon() const { return all_gb > 0 ? daemon_s / all_gb : 0; }
};

void report_cpu(const MixedRecord& record, const std::vector<Interval>& intervals,
                MixedReport* report) {
  std::map<size_t, Cpu> by_pair[2];
  Cpu sum[2];
  for (size_t i = 0; i < intervals.size(); ++i) {
    if (!intervals[i].counted) continue;
    const size_t kind = intervals[i].kills ? 1 : 0;
    for (Cpu* cpu : {&sum[kind], &by_pair[kind][intervals[i].pair]}) {
      cpu->daemon_s += intervals[i].daemon_cpu_s;
      for (size_t client = 0; client < kClients; ++client) {
        const ClientRecord& one = record.clients[client];
        const double gb = static_cast<double>(one.bytes[i].load()) * 1e-9;
        cpu->all_gb += gb;
        if (!survived(intervals, i, client)) continue;
        cpu->client_gb += gb;
        cpu->client_s += static_cast<double>(one.cpu_ns[i].load()) * 1e-9;
      }
    }
  }
  report->client_without = sum[0].client();
  report->client_with = sum[1].client();
  report->daemon_without = sum[0].daemon();
  report->daemon_with = sum[1].daemon();
  report->bytes_gb = sum[0].all_gb + sum[1].all_gb;
  std::vector<double> ratios;
  for (const auto& [pair, with] : by_pair[1]) {
    const Cpu& without = by_pair[0][pair];
    const double base = without.client() + without.daemon();
    if (base > 0) ratios.push_back((with.client() + with.daemon()) / base);
  }
  report->cpu_ratio = median(ratios);
}

}  // namespace

MixedReport make_report(const MixedRecord& record, const std::vector<Interval>& intervals) {
  MixedReport report;
  std::array<Samples, kActs> samples;
  for (size_t client = 0; client < kClients; ++client) {
    const ClientRecord& one = record.clients[client];
    std::vector<bool> moved(intervals.size());
    const uint64_t count = one.samples_count.load(std::memory_order_acquire);
    for (uint64_t i = 0; i < count; ++i) {
      const Sample& sample = one.samples[i];
      if (sample.interval >= intervals.size()) continue;
      const Interval& interval = intervals[sample.interval];
      moved[sample.interval] = true;
      if (!interval.counted || !survived(intervals, sample.interval, client)) continue;
      Samples& of_act = samples[static_cast<size_t>(sample.act)];
      const double us = sample.nanoseconds * 1e-3;
      of_act.all[interval.kills].push_back(us);
      of_act.by_pair[interval.kills][interval.pair].push_back(us);
    }
    for (size_t i = 0; i < intervals.size(); ++i) {
      report.stalls += intervals[i].counted && survived(intervals, i, client) && !moved[i];
    }
    report.requests += one.requests.load();
    report.chunks_asked += one.chunks_asked.load();
    report.chunks_hit += one.chunks_hit.load();
    report.chunks_stored += one.chunks_stored.load();
    report.refused += one.refused.load();
    report.wrong_bytes += one.wrong_bytes.load();
    report.failed_calls += one.failed_calls.load();
    report.corrupt += one.corrupt.load();
    if (report.first_failure.empty()) report.first_failure = one.first_failure;
  }
  report_cpu(record, intervals, &report);
  report.worst_ratio = report.cpu_ratio;
  for (size_t i = 0; i < kActs; ++i) {
    report.acts[i] = report_act(samples[i]);
    report.worst_ratio = std::max(report.worst_ratio, report.acts[i].ratio);
  }
  return report;
}

std::string table_of(const MixedReport& report) {
  char line[160];
  std::string table =
      "| what | median without kills | with kills | ratio | longest with kills | samples |\n"
      "|---|---|---|---|---|---|\n";
  for (size_t i = 0; i < kActs; ++i) {
    const ActReport& act = report.acts[i];
    std::snprintf(line, sizeof line, "| %s | %.1f us | %.1f us | %.2f | %.0f ms | %llu, %llu |\n",
                  kActNames[i], act.without_us, act.with_us, act.ratio, act.longest_ms,
                  static_cast<unsigned long long>(act.samples_without),
                  static_cast<unsigned long long>(act.samples_with));
    table += line;
  }
  std::snprintf(line, sizeof line,
                "| CPU s/GB, clients + daemon | %.3f + %.4f | %.3f + %.4f | %.2f | | |\n",
                report.client_without, report.daemon_without, report.client_with,
                report.daemon_with, report.cpu_ratio);
  return table + line;
}

nlohmann::json json_of(const MixedReport& report) {
  nlohmann::json acts = nlohmann::json::object();
  for (size_t i = 0; i < kActs; ++i) {
    const ActReport& act = report.acts[i];
    acts[kActNames[i]] = {{"without_kills_us", act.without_us},
                          {"with_kills_us", act.with_us},
                          {"ratio", act.ratio},
                          {"longest_with_kills_ms", act.longest_ms},
                          {"samples", {act.samples_without, act.samples_with}}};
  }
  return {{"medians", acts},
          {"cpu_s_per_gb",
           {{"clients", {report.client_without, report.client_with}},
            {"daemon", {report.daemon_without, report.daemon_with}},
            {"ratio", report.cpu_ratio}}},
          {"worst_ratio", report.worst_ratio},
          {"requests", report.requests},
          {"chunks_asked", report.chunks_asked},
          {"chunks_hit", report.chunks_hit},
          {"chunks_stored", report.chunks_stored},
          {"refused_busy", report.refused},
          {"gigabytes", report.bytes_gb},
          {"wrong_bytes", report.wrong_bytes},
          {"failed_calls", report.failed_calls},
          {"corrupt", report.corrupt},
          {"stalls", report.stalls},
          {"first_failure", report.first_failure}};
}

}  // namespace kvtier::faults
