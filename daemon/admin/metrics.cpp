// Renders the table of metrics; see metrics.hpp.
#include "daemon/admin/metrics.hpp"

#include <algorithm>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <cstring>

namespace kvtier::daemon {
namespace {

const char* type_name(MetricType type) {
  return type == MetricType::kCounter ? "counter" : "gauge";
}

void head(const char* name, MetricType type, const char* help, std::string& out) {
  out += std::string("# HELP ") + name + " " + help + "\n";
  out += std::string("# TYPE ") + name + " " + type_name(type) + "\n";
}

uint64_t counter(const TenantSnapshot& tenant, wire::Counter which) {
  return tenant.counters[static_cast<size_t>(which)];
}

using CounterOfTier = std::array<wire::Counter, wire::kTierCount>;  // by wire::Tier
constexpr CounterOfTier kChunks = {wire::Counter::kChunksHost, wire::Counter::kChunksDevice,
                                   wire::Counter::kChunksNvme, wire::Counter::kChunksRemote};
constexpr CounterOfTier kTokens = {wire::Counter::kTokensHost, wire::Counter::kTokensDevice,
                                   wire::Counter::kTokensNvme, wire::Counter::kTokensRemote};

LookupTotal total(const TenantSnapshot& tenant, wire::Counter asked, const CounterOfTier& found,
                  uint64_t& miss) {
  LookupTotal sum;
  for (size_t tier = 0; tier < found.size(); ++tier) {
    sum.by_tier[tier] = counter(tenant, found[tier]);
    sum.asked += sum.by_tier[tier];
  }
  const uint64_t wanted = counter(tenant, asked);
  if (wanted > sum.asked) miss = std::max(miss, wanted - sum.asked);
  sum.miss = miss;
  sum.asked += miss;
  return sum;
}

void render_core_counters(const CoreCounters& counters, std::string& out) {
  const char* metric = "";
  for (const CoreCounterRow& row : core_counter_rows()) {
    if (std::strcmp(row.metric, metric) != 0) head(row.metric, row.type, row.help, out);
    metric = row.metric;
    MetricSink sink(row.metric, out);
    const uint64_t value = counters.*row.field;
    if (row.scale == 1) {
      sink.add(row.labels, value);
    } else {
      sink.add(row.labels, static_cast<double>(value) * row.scale);
    }
  }
}

// Samples of one metric must stand together: metrics outside, tenants inside.
void render_client_counters(const std::vector<TenantSnapshot>& tenants, std::string& out) {
  const char* metric = "";
  for (const ClientCounterRow& row : client_counter_rows()) {
    if (row.metric == nullptr) continue;
    if (std::strcmp(row.metric, metric) != 0) head(row.metric, MetricType::kCounter, row.help, out);
    metric = row.metric;
    MetricSink sink(row.metric, out);
    for (const TenantSnapshot& tenant : tenants) {
      const std::string labels =
          label("tenant", tenant.name) + (*row.labels != '\0' ? "," : "") + row.labels;
      const uint64_t value = counter(tenant, row.counter);
      if (row.scale == 1) {
        sink.add(labels, value);
      } else {
        sink.add(labels, static_cast<double>(value) * row.scale);
      }
    }
  }
}

std::string manual_row(const char* name, MetricType type, const std::string& labels,
                       const std::string& help) {
  return std::string("| `") + name + "` | " + type_name(type) + " | " + labels + " | " + help +
         " |\n";
}

// Of labels as they stand in the text, the names: tenant="a",tier="b" -> tenant, tier.
std::string label_names(std::string_view labels) {
  std::string names;
  while (!labels.empty()) {
    const size_t equals = labels.find('=');
    if (equals == std::string_view::npos) break;
    names += (names.empty() ? "" : ", ") + std::string(labels.substr(0, equals));
    const size_t comma = labels.find("\",", equals);
    labels = comma == std::string_view::npos ? "" : labels.substr(comma + 2);
  }
  return names;
}

}  // namespace

std::string label(std::string_view name, std::string_view value) {
  std::string out(name);
  out += "=\"";
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + "\"";
}

void MetricSink::add(std::string_view labels, uint64_t value) {
  out_ += name_;
  if (!labels.empty()) out_.append("{").append(labels).append("}");
  out_ += " " + std::to_string(value) + "\n";
}

void MetricSink::add(std::string_view labels, double value) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;  // of any locale
  out_ += name_;
  if (!labels.empty()) out_.append("{").append(labels).append("}");
  out_.append(" ").append(text, end).append("\n");
}

LookupTotals::OfTenant LookupTotals::update(const TenantSnapshot& tenant) {
  Misses& misses = misses_[tenant.name];
  return {total(tenant, wire::Counter::kChunksAsked, kChunks, misses.chunks),
          total(tenant, wire::Counter::kTokensAsked, kTokens, misses.tokens)};
}

std::string render_metrics(const CoreSnapshot& snapshot, const ProcessUsage& process,
                           LookupTotals& lookups) {
  std::vector<LookupTotals::OfTenant> totals;
  for (const TenantSnapshot& tenant : snapshot.tenants) totals.push_back(lookups.update(tenant));
  const MetricSource source{snapshot, process, totals};
  std::string out;
  for (const MetricRow& row : metric_rows()) {
    head(row.name, row.type, row.help, out);
    MetricSink sink(row.name, out);
    row.read(source, sink);
  }
  render_core_counters(snapshot.counters, out);
  render_client_counters(snapshot.tenants, out);
  return out;
}

std::string metrics_manual() {
  // One of everything, so that every row shows its labels.
  CoreSnapshot sample;
  sample.tiers.resize(1);
  sample.tiers[0].capacity_chunks = 1;
  sample.tiers[0].devices.resize(1);
  sample.tiers[0].devices[0].budget_day_bytes_left = 1;
  sample.tenants.resize(1);
  const std::vector<LookupTotals::OfTenant> totals(1);
  const ProcessUsage process;
  std::string out =
      "| metric | type | labels | meaning |\n"
      "| --- | --- | --- | --- |\n";
  for (const MetricRow& row : metric_rows()) {
    std::string samples;
    MetricSink sink("", samples);
    row.read({sample, process, totals}, sink);
    const size_t open = samples.find('{');
    const std::string labels =
        open == 0 ? label_names(std::string_view(samples).substr(1, samples.find('}') - 1)) : "";
    out += manual_row(row.name, row.type, labels, row.help);
  }
  for (const CoreCounterRow& row : core_counter_rows()) {
    if (*row.help != '\0')
      out += manual_row(row.metric, row.type, label_names(row.labels), row.help);
  }
  for (const ClientCounterRow& row : client_counter_rows()) {
    if (*row.help == '\0') continue;
    const std::string more = label_names(row.labels);
    out += manual_row(row.metric, MetricType::kCounter,
                      "tenant" + (more.empty() ? "" : ", " + more), row.help);
  }
  return out;
}

}  // namespace kvtier::daemon
