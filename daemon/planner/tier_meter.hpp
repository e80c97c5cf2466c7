// What one tier does in one direction, live: bandwidth, latency, errors, with percentiles. From its
// transfers (begun, ended), or from reports of whole loads. Core thread; bounded; hostile reports
// are refused. docs/planner.md has the rules and their reasons.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "daemon/planner/histogram.hpp"

namespace kvtier::daemon {

class TierMeter {
 public:
  struct Options {
    double bandwidth_bytes_per_s = 0;  // assumed until measured; 0: nothing is
    double latency_s = 0;
    // Without a measurement for so long, what was measured last is forgiven step by step in favour
    // of the usual: a tier that is not used because it was slow must be tried again.
    uint64_t forgive_after_ns = 5'000'000'000;
  };
  TierMeter() = default;
  explicit TierMeter(const Options& options)
      : options_(options),
        bandwidth_(options.bandwidth_bytes_per_s),
        latency_s_(options.latency_s) {}

  void begun(uint64_t now_ns, uint64_t bytes) {
    if (under_way_ == 0) open_window(now_ns);
    alone_ = under_way_ == 0;
    ++under_way_;
    queued_bytes_ += bytes;
    next_bytes_ = bytes;
  }

  // One that took `seconds` and was to move `bytes`.
  void ended(uint64_t now_ns, uint64_t bytes, double seconds, bool good) {
    const bool alone = alone_ && under_way_ == 1;  // nothing in front, nothing behind
    if (under_way_ > 0) --under_way_;
    queued_bytes_ -= std::min(queued_bytes_, bytes);
    if (!good) {
      ++errors_;
      // Given up after a time in which it should have come: the tier is at most so fast.
      const double past = static_cast<double>(now_ns - window_begin_ns_) * 1e-9;
      const double most = static_cast<double>(window_bytes_ + bytes) / std::max(past, 1e-9);
      if (bandwidth_ > 0 && most < bandwidth_ / kJump) {
        sample(now_ns, window_bytes_ + bytes, past);
        open_window(now_ns);
      }
    } else {
      window_bytes_ += bytes;
      bytes_ += bytes;
      times_.add(to_ns(seconds));
    }
    const uint64_t window_ns = now_ns - window_begin_ns_;
    // A window: a drained queue, or long enough to be a measurement by itself.
    if (window_bytes_ > 0 && (under_way_ == 0 || window_ns >= kWindowNs)) {
      sample(now_ns, window_bytes_, static_cast<double>(std::max<uint64_t>(window_ns, 1)) * 1e-9);
      open_window(now_ns);
    }
    if (alone && good && bandwidth_ > 0) {
      const double moving = static_cast<double>(bytes) / bandwidth_;
      latency_s_ += kWeight * (std::max(seconds - moving, 0.0) - latency_s_);
    }
  }

  // A load of `bytes` took `seconds`, as a client says. False, and nothing changes, for what cannot
  // be: not finite, not positive, or beyond any machine.
  bool report(uint64_t now_ns, uint64_t bytes, double seconds) {
    if (!std::isfinite(seconds) || seconds <= 0 || bytes == 0) return false;
    const double rate = static_cast<double>(bytes) / seconds;
    if (rate < kRateMin || rate > kRateMax) return false;
    sample(now_ns, bytes, seconds);
    bytes_ += bytes;
    times_.add(to_ns(seconds));
    return true;
  }

  // Now: no more than what is under way shows, no less than forgiveness says.
  double bandwidth_bytes_per_s(uint64_t now_ns) const {
    double now = bandwidth_;
    if (samples_ > 0 && now_ns > measured_ns_ + options_.forgive_after_ns && under_way_ == 0) {
      const double usual = static_cast<double>(rates_.quantile(0.5));
      const double past =
          static_cast<double>(now_ns - measured_ns_ - options_.forgive_after_ns) * 1e-9;
      if (usual > now) now = std::min(usual, now * std::exp(past / kForgiveS));
    }
    if (under_way_ > 0 && now_ns > window_begin_ns_ + kWindowNs) {
      const double most = static_cast<double>(window_bytes_ + next_bytes_) /
                          (static_cast<double>(now_ns - window_begin_ns_) * 1e-9);
      now = now > 0 ? std::min(now, most) : now;
    }
    return now;
  }
  double latency_s() const { return latency_s_; }
  uint64_t samples() const { return samples_; }
  // Of the newest measurement; what is under way counts once it is overdue.
  uint64_t measured_ns() const { return measured_ns_; }
  uint64_t queued_bytes() const { return queued_bytes_; }
  uint64_t bytes() const { return bytes_; }
  uint64_t errors() const { return errors_; }
  const Histogram& rates() const { return rates_; }     // bytes a second
  const Histogram& times_ns() const { return times_; }  // of a transfer

 private:
  static constexpr uint64_t kWindowNs = 20'000'000;
  static constexpr double kWeight = 1.0 / 8;       // about the last 8 measurements count,
  static constexpr double kSettleS = 0.25;         // or those of this time
  static constexpr double kForgiveS = 0.2;         // a factor of e in so long
  static constexpr double kJump = 2.5;             // what two in a row agree on is no scatter
  static constexpr uint64_t kOldNs = 500'000'000;  // after so long one measurement is news enough
  static constexpr double kRateMin = 1e3;          // bytes a second
  static constexpr double kRateMax = 1e13;

  static uint64_t to_ns(double seconds) {
    return seconds > 0 && seconds < 1e9 ? static_cast<uint64_t>(seconds * 1e9) : 0;
  }
  void open_window(uint64_t now_ns) {
    window_begin_ns_ = now_ns;
    window_bytes_ = 0;
  }

  // The estimate moves by ratios, so that a hundredth is as far as a hundredfold.
  void sample(uint64_t now_ns, uint64_t bytes, double seconds) {
    const double rate = std::clamp(static_cast<double>(bytes) / seconds, kRateMin, kRateMax);
    rates_.add(static_cast<uint64_t>(rate));
    const double ratio = samples_ == 0 || bandwidth_ <= 0 ? 0 : rate / bandwidth_;
    const bool up = ratio > kJump;
    const bool down = ratio < 1 / kJump;
    const bool old = now_ns > measured_ns_ + kOldNs;
    if (ratio == 0 || ((up || down) && old) || (up && jumped_ > 0) || (down && jumped_ < 0)) {
      bandwidth_ = rate;
      jumped_ = 0;
    } else {
      const double weight = std::max(kWeight, 1 - std::exp(-seconds / kSettleS));
      bandwidth_ *= std::pow(ratio, weight);
      jumped_ = up ? 1 : down ? -1 : 0;
    }
    ++samples_;
    measured_ns_ = now_ns;
  }

  Options options_;
  double bandwidth_ = 0;
  double latency_s_ = 0;
  int jumped_ = 0;  // the last measurement was far above, or below
  uint64_t samples_ = 0;
  uint64_t measured_ns_ = 0;
  uint64_t under_way_ = 0;
  bool alone_ = false;
  uint64_t queued_bytes_ = 0;
  uint64_t next_bytes_ = 0;
  uint64_t window_begin_ns_ = 0;
  uint64_t window_bytes_ = 0;
  uint64_t bytes_ = 0;
  uint64_t errors_ = 0;
  Histogram rates_;
  Histogram times_;
};

}  // namespace kvtier::daemon
