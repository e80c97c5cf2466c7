// A meter of loads as operators see it. Pure.
#pragma once

#include "daemon/core/snapshot.hpp"
#include "daemon/planner/tier_meter.hpp"

namespace kvtier::daemon {

inline void fill_meter(const TierMeter& meter, uint64_t now_ns, TierSnapshot* shown) {
  const auto seconds = [&meter](double share) {
    return static_cast<double>(meter.times_ns().quantile(share)) * 1e-9;
  };
  shown->load_bandwidth = meter.bandwidth_bytes_per_s(now_ns);
  shown->load_latency_s = meter.latency_s();
  shown->load_bandwidth_p10 = static_cast<double>(meter.rates().quantile(0.1));
  shown->load_bandwidth_p50 = static_cast<double>(meter.rates().quantile(0.5));
  shown->load_time_p50_s = seconds(0.5);
  shown->load_time_p99_s = seconds(0.99);
  shown->load_samples = meter.samples();
  shown->load_errors = meter.errors();
}

}  // namespace kvtier::daemon
