// What computing tokens costs in a space: seconds = g + a*n + b*(n^2 - c^2)/2 for tokens c..n, by
// least squares with forgetting over the engine's reports, none of the three below 0. Before the
// first report, and when reports have grown old: what the model's FLOPs say, or an assumed time a
// token. Core thread. Hostile reports are refused. docs/planner.md has the formulas.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace kvtier::daemon {

class PrefillCost {
 public:
  struct Fit {
    double a = 0, b = 0, g = 0;
    double seconds(uint64_t tokens, uint64_t context) const;
  };

  // What the engine says of its model: FLOPs a token, FLOPs a token and position, FLOP/s that its
  // machine achieves. False for what cannot be.
  bool describe(double flops_token, double flops_pair, double flops_per_s);
  // Where neither reports nor FLOPs say anything.
  void assume(double seconds_per_token) { assumed_ = {seconds_per_token, 0, 0}; }

  // `tokens` new ones behind `context` earlier ones took `seconds`. False for what cannot be: not
  // finite, not positive, beyond any machine.
  bool report(uint64_t now_ns, uint64_t tokens, uint64_t context, double seconds);

  // What holds now, and how many reports it comes from (0: an assumption).
  Fit fit(uint64_t now_ns) const { return fresh(now_ns) ? fitted_ : base(); }
  uint64_t samples(uint64_t now_ns) const { return fresh(now_ns) ? samples_ : 0; }
  uint64_t refused() const { return refused_; }

  static constexpr uint64_t kStaleNs = 3'600'000'000'000;  // an hour without a report

 private:
  using Row = std::array<double, 3>;
  static constexpr double kForget = 1 - 1.0 / 64;  // about the last 64 reports count
  static constexpr uint64_t kTokensMax = uint64_t{1} << 32;
  static constexpr double kPerTokenMax = 60;    // seconds
  static constexpr double kPerTokenMin = 1e-9;  // a billion tokens a second: no machine
  static constexpr double kOutlier = 4;
  static constexpr uint32_t kOutliersMax = 3;  // in a row; more are how it is now

  Fit base() const { return described_.a > 0 ? described_ : assumed_; }
  bool fresh(uint64_t now_ns) const {
    return samples_ > 0 && (now_ns < reported_ns_ || now_ns - reported_ns_ < kStaleNs);
  }
  void add(const Row& row, double target, double weight);
  void solve();

  std::array<Row, 3> sums_ = {};  // of row x row
  Row rights_ = {};               // of row x target
  Fit fitted_, described_, assumed_;
  uint64_t samples_ = 0;
  uint64_t reported_ns_ = 0;
  uint64_t refused_ = 0;
  uint32_t outliers_ = 0;
};

}  // namespace kvtier::daemon
