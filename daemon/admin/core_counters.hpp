// One row a counter: how the core's and the clients' counters are called in JSON and in metrics.
// Constant data, any thread. To count something more: a field in snapshot.hpp, a row here.
#pragma once

#include <span>

#include "daemon/core/snapshot.hpp"

namespace kvtier::daemon {

enum class MetricType : uint8_t { kCounter, kGauge };

struct CoreCounterRow {
  uint64_t CoreCounters::*field;
  const char* json;                        // name of the field
  const char* metric;                      // rows of one metric stand together
  const char* labels = "";                 // kind="checksum"
  const char* help = "";                   // on the first row of a metric
  MetricType type = MetricType::kCounter;  //
  double scale = 1;                        // to base units
};
std::span<const CoreCounterRow> core_counter_rows();

// Clients write these themselves: the metrics say what the clients say.
struct ClientCounterRow {
  wire::Counter counter;
  const char* json;
  const char* metric;  // null: part of kvtier_lookup_chunks_total or kvtier_lookup_tokens_total
  const char* labels = "";
  const char* help = "";
  double scale = 1;
};
std::span<const ClientCounterRow> client_counter_rows();

}  // namespace kvtier::daemon
