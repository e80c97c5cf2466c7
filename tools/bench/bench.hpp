// What every benchmark of `kvtier bench` is given and gives back. A benchmark measures one thing
// and, interleaved with it, the limit it is judged by. Plain data and pure helpers; one thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "kvtier/result.hpp"

namespace kvtier::tools {

struct BenchOptions {
  std::string what;
  std::string socket;  // of a running daemon; empty: spawn one
  uint64_t chunk_bytes = 2u << 20;
  uint64_t entries = 1'000'000;      // lookup, memory, restart: resident chunks
  uint64_t pool_bytes = 2ull << 30;  // load, store: working set
  uint32_t repeats = 9;
  double seconds = 20;                 // idle; nvme: about so long for each depth
  uint32_t depth = 8;                  // nvme: transfers at once
  bool unregistered_buffers = false;   // nvme: nvme.registered_buffers = "never"
  uint64_t slab_bytes = 512ull << 20;  // nvme: chunks on the disk, with headers
  std::string folder = ".";            // nvme: where the slab is made; its file system is measured
  std::string huge_pages = "auto";
  bool nvme = false;  // memory, restart: with an NVMe tier
  bool redis = true;
  std::function<void(const std::string&)> note;  // progress and remarks for a person
};

struct BenchResult {
  double ours = 0;
  double limit = 0;
  std::string limit_name;
  std::string unit;
  bool is_rate = true;  // higher is better
  std::optional<double> cpu_s_per_gb;
  nlohmann::ordered_json more = nlohmann::ordered_json::object();
  std::string explanation;  // one line: what was measured

  double ratio() const {
    const double above = is_rate ? ours : limit;
    const double below = is_rate ? limit : ours;
    return below > 0 ? above / below : 0;
  }
};

Result<BenchResult> bench_lookup(const BenchOptions& options);
Result<BenchResult> bench_lease(const BenchOptions& options);
Result<BenchResult> bench_load(const BenchOptions& options);
Result<BenchResult> bench_store(const BenchOptions& options);
Result<BenchResult> bench_memory(const BenchOptions& options);
Result<BenchResult> bench_restart(const BenchOptions& options);
Result<BenchResult> bench_nvme_read(const BenchOptions& options);
Result<BenchResult> bench_nvme_write(const BenchOptions& options);
Result<BenchResult> bench_plan(const BenchOptions& options);
Result<BenchResult> bench_prefix(const BenchOptions& options);
Result<BenchResult> bench_idle(const BenchOptions& options);

// The value below or at which `share` (0 to 1) of the values lie; 0 of none.
double quantile(std::vector<double> values, double share);
inline double median(std::vector<double> values) {
  return quantile(std::move(values), 0.5);
}

}  // namespace kvtier::tools
