// What reads from a tier cost, from its completions: bytes a second while any read is under way,
// and what a read takes when nothing is queued in front of it. Core thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "daemon/planner/load_meter.hpp"

namespace kvtier::daemon {

class TransferMeter {
 public:
  void begun(uint64_t now_ns) {
    if (under_way_++ != 0) return;
    window_begin_ns_ = now_ns;
    window_bytes_ = 0;
  }

  // One that took `seconds`, of `bytes`; 0 bytes: it failed.
  void ended(uint64_t now_ns, uint64_t bytes, double seconds) {
    const bool alone = under_way_ == 1;
    if (under_way_ > 0) --under_way_;
    window_bytes_ += bytes;
    const uint64_t window_ns = now_ns - window_begin_ns_;
    // A window: a drained queue, or long enough to be a measurement by itself.
    if (window_bytes_ > 0 && (under_way_ == 0 || window_ns >= kWindowNs)) {
      bandwidth_.report(window_bytes_,
                        static_cast<double>(std::max<uint64_t>(window_ns, 1)) * 1e-9);
      window_begin_ns_ = now_ns;
      window_bytes_ = 0;
    }
    if (alone && bytes > 0 && bandwidth_.bandwidth_bytes_per_s() > 0) {
      const double moving = static_cast<double>(bytes) / bandwidth_.bandwidth_bytes_per_s();
      latency_s_ += kWeight * (std::max(seconds - moving, 0.0) - latency_s_);
    }
  }

  double bandwidth_bytes_per_s() const { return bandwidth_.bandwidth_bytes_per_s(); }
  double latency_s() const { return latency_s_; }
  uint64_t samples() const { return bandwidth_.samples(); }

 private:
  static constexpr uint64_t kWindowNs = 20'000'000;
  static constexpr double kWeight = 1.0 / 16;

  LoadMeter bandwidth_;
  double latency_s_ = 0;
  uint64_t under_way_ = 0;
  uint64_t window_begin_ns_ = 0;
  uint64_t window_bytes_ = 0;
};

}  // namespace kvtier::daemon
