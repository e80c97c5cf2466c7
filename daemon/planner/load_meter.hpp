// What loads from a tier have been measured to cost: an exponentially weighted bandwidth and
// latency from the reports of clients and transfers. Core thread. Hostile reports are refused.
#pragma once

#include <cmath>
#include <cstdint>

namespace kvtier::daemon {

class LoadMeter {
 public:
  LoadMeter() = default;
  LoadMeter(double bandwidth_bytes_per_s, double latency_s)
      : bandwidth_(bandwidth_bytes_per_s), latency_s_(latency_s) {}

  // A load of `bytes` took `seconds`. False, and nothing changes, for what cannot be: not finite,
  // not positive, or beyond any machine.
  bool report(uint64_t bytes, double seconds) {
    if (!std::isfinite(seconds) || seconds <= 0 || bytes == 0) return false;
    const double rate = static_cast<double>(bytes) / seconds;
    if (rate < kRateMin || rate > kRateMax) return false;
    bandwidth_ += (samples_ == 0 ? 1.0 : kWeight) * (rate - bandwidth_);
    ++samples_;
    return true;
  }

  double bandwidth_bytes_per_s() const { return bandwidth_; }
  double latency_s() const { return latency_s_; }
  uint64_t samples() const { return samples_; }

 private:
  static constexpr double kWeight = 1.0 / 16;  // about the last 16 reports count
  static constexpr double kRateMin = 1e3;      // bytes a second
  static constexpr double kRateMax = 1e13;

  double bandwidth_ = 0;
  double latency_s_ = 0;
  uint64_t samples_ = 0;
};

}  // namespace kvtier::daemon
