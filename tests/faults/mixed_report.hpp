// From the records of the mixed load to numbers: medians of those who were not killed, with and
// without kills, pair by pair; CPU per byte. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/faults/mixed_record.hpp"

namespace kvtier::faults {

// One second or so of the load. victim: the client killed at its begin, or kClients.
struct Interval {
  size_t pair = 0;
  bool counted = false;
  bool kills = false;
  size_t victim = kClients;
  double daemon_cpu_s = 0;
};

struct ActReport {
  double without_us = 0, with_us = 0;  // medians over all pairs
  double longest_ms = 0;               // of one call, or of one of its chunks; with kills
  double ratio = 0;                    // the median of the pairs' ratios
  uint64_t samples_without = 0, samples_with = 0;
};

struct MixedReport {
  std::array<ActReport, kActs> acts;
  // Client calls, and the daemon's CPU spread over everybody's bytes.
  double client_without = 0, client_with = 0;  // CPU s/GB
  double daemon_without = 0, daemon_with = 0;
  double cpu_ratio = 0;    // of the sums, median of the pairs
  double worst_ratio = 0;  // of all above
  uint64_t requests = 0, chunks_asked = 0, chunks_hit = 0, chunks_stored = 0, refused = 0;
  uint64_t wrong_bytes = 0, failed_calls = 0, corrupt = 0;
  uint64_t stalls = 0;  // intervals in which a client that was not killed finished no call
  double bytes_gb = 0;
  std::string first_failure;
};

MixedReport make_report(const MixedRecord& record, const std::vector<Interval>& intervals);
std::string table_of(const MixedReport& report);
nlohmann::json json_of(const MixedReport& report);

}  // namespace kvtier::faults
