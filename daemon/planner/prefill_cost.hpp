// What computing tokens costs in a space: seconds = g + a*n + b*(n^2 - c^2)/2 for tokens c..n, from
// the engine's reports. Here a first, simple fit: the exponentially weighted time a token, b = g =
// 0. Core thread. Hostile reports are refused.
#pragma once

#include <cmath>
#include <cstdint>

namespace kvtier::daemon {

class PrefillCost {
 public:
  // `tokens` new ones behind `context` earlier ones took `seconds`. False for what cannot be.
  bool report(uint64_t tokens, uint64_t context, double seconds) {
    if (!std::isfinite(seconds) || seconds <= 0 || tokens == 0) return false;
    if (tokens > kTokensMax || context > kTokensMax) return false;
    const double per_token = seconds / static_cast<double>(tokens);
    if (per_token > kPerTokenMax) return false;
    a_ += (samples_ == 0 ? 1.0 : kWeight) * (per_token - a_);
    ++samples_;
    return true;
  }

  double a() const { return a_; }
  double b() const { return 0; }
  double g() const { return 0; }
  uint64_t samples() const { return samples_; }

 private:
  static constexpr double kWeight = 1.0 / 16;
  static constexpr uint64_t kTokensMax = uint64_t{1} << 32;
  static constexpr double kPerTokenMax = 60;  // seconds

  double a_ = 0;
  uint64_t samples_ = 0;
};

}  // namespace kvtier::daemon
