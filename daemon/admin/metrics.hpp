// What Prometheus scrapes: text format 0.0.4 from one table of metrics, a row each. The admin
// thread only (LookupTotals remembers). Never shows keys; labels are tiers, tenants and fixed
// words.
//
// Invariant: for each tenant, kvtier_lookup_chunks_total over tier = host, device, nvme, remote and
// miss adds up to kvtier_lookup_chunks_asked_total; the same for tokens.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "daemon/admin/core_counters.hpp"
#include "daemon/admin/process_usage.hpp"
#include "daemon/core/snapshot.hpp"

namespace kvtier::daemon {

// Chunks or tokens that one tenant's clients asked for, by where they were found.
struct LookupTotal {
  uint64_t by_tier[wire::kTierCount] = {};
  uint64_t miss = 0;
  uint64_t asked = 0;  // the sum of the above
};

// Clients count while we read: what was asked and what was found do not fit together at every
// moment. Misses are what they were at most, so that no counter ever falls.
class LookupTotals {
 public:
  struct OfTenant {
    LookupTotal chunks, tokens;
  };
  OfTenant update(const TenantSnapshot& tenant);

 private:
  struct Misses {
    uint64_t chunks = 0, tokens = 0;
  };
  std::map<std::string, Misses> misses_;  // tenants are bounded by the configuration
};

struct MetricSource {
  const CoreSnapshot& core;
  const ProcessUsage& process;
  const std::vector<LookupTotals::OfTenant>& lookups;  // by tenant, as in core.tenants
};

// Collects the samples of one metric.
class MetricSink {
 public:
  MetricSink(const char* name, std::string& out) : name_(name), out_(out) {}
  void add(double value) { add("", value); }
  void add(std::string_view labels, double value);  // labels as they stand in the text
  void add(std::string_view labels, uint64_t value);

 private:
  const char* name_;
  std::string& out_;
};

struct MetricRow {
  const char* name;
  MetricType type;
  const char* unit;  // bytes, seconds, chunks ...; for the documentation
  const char* help;
  void (*read)(const MetricSource& source, MetricSink& sink);
};
// All but the counters that are rows of core_counters.hpp.
std::span<const MetricRow> metric_rows();

// name="value" with the value escaped.
std::string label(std::string_view name, std::string_view value);

// `lookups` keeps what it must between scrapes.
std::string render_metrics(const CoreSnapshot& snapshot, const ProcessUsage& process,
                           LookupTotals& lookups);

// A table in Markdown of every metric: docs/metrics.md is this, checked by a test.
std::string metrics_manual();

}  // namespace kvtier::daemon
