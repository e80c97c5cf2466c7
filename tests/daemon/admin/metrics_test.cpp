// The metrics as Prometheus reads them: the checks of `promtool check metrics`, that nothing the
// core counts is forgotten, and that what was found and missed adds up to what was asked.
#include "daemon/admin/metrics.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "tests/daemon/admin/fake_core.hpp"

namespace kvtier::daemon {
namespace {

struct Sample {
  std::string name, labels;
  double value;
};

// Fails the test on whatever Prometheus would refuse.
std::vector<Sample> parse(const std::string& text) {
  static const std::regex name("[a-zA-Z_:][a-zA-Z0-9_:]*");
  static const std::regex line_form(
      R"rx(([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+))rx");
  std::map<std::string, std::string> types;
  std::set<std::string> helps, seen, closed;
  std::vector<Sample> samples;
  std::string current, line;
  EXPECT_TRUE(text.ends_with("\n"));
  for (std::istringstream lines(text); std::getline(lines, line);) {
    std::istringstream words(line);
    std::string hash, kind, metric, rest;
    if (line.starts_with("#")) {
      words >> hash >> kind >> metric;
      std::getline(words, rest);
      EXPECT_TRUE(std::regex_match(metric, name)) << line;
      if (kind == "HELP") {
        EXPECT_TRUE(helps.insert(metric).second) << "second HELP: " << line;
        EXPECT_GT(rest.size(), 5u) << line;
      } else {
        EXPECT_EQ(kind, "TYPE") << line;
        EXPECT_TRUE(types.emplace(metric, rest.substr(1)).second) << "second TYPE: " << line;
        EXPECT_TRUE(rest == " counter" || rest == " gauge") << line;
        EXPECT_TRUE(helps.contains(metric)) << "no HELP before " << line;
        if (!current.empty()) closed.insert(current);
        current = metric;
      }
      continue;
    }
    std::smatch found;
    if (!std::regex_match(line, found, line_form)) {
      ADD_FAILURE() << "not a sample: " << line;
      continue;
    }
    EXPECT_EQ(found[1], current) << "a sample away from its TYPE: " << line;
    EXPECT_FALSE(closed.contains(found[1])) << "samples of one metric apart: " << line;
    EXPECT_TRUE(seen.insert(found[1].str() + "{" + found[2].str() + "}").second)
        << "twice: " << line;
    samples.push_back({found[1], found[2], std::stod(found[3])});
  }
  for (const auto& [metric, type] : types) {
    EXPECT_EQ(type == "counter", metric.ends_with("_total")) << metric;
    EXPECT_TRUE(metric.starts_with("kvtier_")) << metric;
    EXPECT_FALSE(std::regex_search(metric, std::regex("_(ns|ms|us|kib|mib|percent)(_|$)")))
        << "not a base unit: " << metric;
  }
  return samples;
}

double value_of(const std::vector<Sample>& samples, const std::string& name,
                const std::string& labels) {
  for (const Sample& sample : samples) {
    if (sample.name == name && sample.labels == labels) return sample.value;
  }
  ADD_FAILURE() << "no sample " << name << "{" << labels << "}";
  return -1;
}

std::vector<Sample> scrape(const CoreSnapshot& core) {
  LookupTotals lookups;
  return parse(render_metrics(core, read_process_usage(), lookups));
}

TEST(Metrics, DevicesHaveSamplesEachAndABudgetOnlyWhereThereIsOne) {
  const std::vector<Sample> samples = scrape(sample_snapshot());
  const std::string device = "device=\"/mnt/nvme0\"";
  EXPECT_EQ(value_of(samples, "kvtier_nvme_operations_total", device + ",direction=\"read\""), 10);
  EXPECT_EQ(value_of(samples, "kvtier_nvme_bytes_total", device + ",direction=\"write\""), 41e6);
  EXPECT_EQ(value_of(samples, "kvtier_nvme_state", device + ",state=\"ok\""), 1);
  EXPECT_EQ(value_of(samples, "kvtier_nvme_state", device + ",state=\"failed\""), 0);
  EXPECT_DOUBLE_EQ(value_of(samples, "kvtier_nvme_write_amplification", device), 1.05);
  EXPECT_EQ(value_of(samples, "kvtier_nvme_budget_left_bytes", device + ",window=\"day\""), 1e6);
  for (const Sample& sample : samples) {
    EXPECT_EQ(sample.labels.find("window=\"second\""), std::string::npos);
  }
}

TEST(Metrics, AreWhatPrometheusAccepts) {
  EXPECT_GT(scrape(sample_snapshot()).size(), 100u);
}

TEST(Metrics, OfADaemonWithoutTenantsAreAcceptedToo) {
  CoreSnapshot core;
  EXPECT_GT(scrape(core).size(), 30u);
}

TEST(Metrics, EveryCoreCounterIsExportedOnce) {
  const auto samples = scrape(sample_snapshot());
  std::set<double> values;
  for (const Sample& sample : samples) {
    values.insert(sample.value);
    values.insert(std::round(sample.value * 1e9));  // those in nanoseconds
  }
  for (size_t i = 0; i < sizeof(CoreCounters) / sizeof(uint64_t); ++i) {
    EXPECT_TRUE(values.contains(static_cast<double>(70'001 + i))) << "counter number " << i;
  }
  std::set<std::string> names;
  for (const CoreCounterRow& row : core_counter_rows()) EXPECT_TRUE(names.insert(row.json).second);
}

TEST(Metrics, EveryClientCounterIsExportedOrPartOfTheLookupTotals) {
  std::set<uint32_t> rows;
  for (const ClientCounterRow& row : client_counter_rows()) {
    EXPECT_TRUE(rows.insert(static_cast<uint32_t>(row.counter)).second) << row.json;
    const std::string json = row.json;
    const bool lookup = json.starts_with("chunks_") || json.starts_with("tokens_");
    EXPECT_EQ(row.metric == nullptr, lookup) << row.json;
  }
  EXPECT_EQ(rows.size(), static_cast<size_t>(wire::Counter::kCount));
}

TEST(Metrics, HitsAndMissesAddUpToWhatWasAsked) {
  CoreSnapshot core = sample_snapshot();
  auto& counters = core.tenants[0].counters;
  counters[static_cast<size_t>(wire::Counter::kChunksAsked)] = 100;
  counters[static_cast<size_t>(wire::Counter::kChunksHost)] = 60;
  counters[static_cast<size_t>(wire::Counter::kChunksDevice)] = 3;
  counters[static_cast<size_t>(wire::Counter::kChunksNvme)] = 20;
  counters[static_cast<size_t>(wire::Counter::kChunksRemote)] = 1;
  const auto samples = scrape(core);
  double sum = 0;
  for (const char* tier : {"host", "device", "nvme", "remote", "miss"}) {
    sum += value_of(samples, "kvtier_lookup_chunks_total",
                    "tenant=\"default\",tier=\"" + std::string(tier) + "\"");
  }
  EXPECT_EQ(sum, 100);
  EXPECT_EQ(value_of(samples, "kvtier_lookup_chunks_total", "tenant=\"default\",tier=\"miss\""),
            16);
  EXPECT_EQ(value_of(samples, "kvtier_lookup_chunks_asked_total", "tenant=\"default\""), 100);
}

TEST(Metrics, CountersNeverFallWhileAClientIsInTheMiddleOfCounting) {
  LookupTotals lookups;
  TenantSnapshot tenant;
  tenant.name = "a";
  auto& asked = tenant.counters[static_cast<size_t>(wire::Counter::kChunksAsked)];
  auto& host = tenant.counters[static_cast<size_t>(wire::Counter::kChunksHost)];
  asked = 10, host = 4;
  EXPECT_EQ(lookups.update(tenant).chunks.miss, 6u);
  host = 8;  // found is counted, asked not yet
  const auto torn = lookups.update(tenant).chunks;
  EXPECT_EQ(torn.miss, 6u);
  EXPECT_EQ(torn.asked, 14u);
  asked = 14;
  EXPECT_EQ(lookups.update(tenant).chunks.asked, 14u);
  host = UINT64_MAX;  // a client that writes nonsense
  EXPECT_EQ(lookups.update(tenant).chunks.miss, 6u);
}

TEST(Metrics, LabelValuesAreEscaped) {
  EXPECT_EQ(label("tenant", "a\"b\\c\nd"), "tenant=\"a\\\"b\\\\c\\nd\"");
}

TEST(Metrics, UnlimitedIsNoNumber) {
  for (const Sample& sample : scrape(sample_snapshot())) {
    EXPECT_NE(sample.name, "kvtier_tier_capacity_chunks");
    EXPECT_NE(sample.name, "kvtier_tenant_host_max_bytes");
  }
}

TEST(Metrics, AreDocumentedRowByRow) {
  std::ifstream file(KVTIER_SOURCE_DIR "/docs/metrics.md");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  EXPECT_NE(text.find(metrics_manual()), std::string::npos)
      << "docs/metrics.md must contain this table:\n"
      << metrics_manual();
}

TEST(ProcessUsage, KnowsItsOwnProcess) {
  const ProcessUsage usage = read_process_usage();
  EXPECT_GT(usage.rss_anonymous_bytes, 100'000u);
  EXPECT_GE(usage.open_fds, 3u);
  EXPECT_GT(usage.open_fds_max, usage.open_fds);
  EXPECT_GE(usage.threads, 1u);
  EXPECT_NEAR(usage.start_time_seconds, static_cast<double>(time(nullptr)), 3600);
}

}  // namespace
}  // namespace kvtier::daemon
