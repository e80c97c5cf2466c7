// The fit: normal equations of relative errors, solved for the best of the seven sets of
// coefficients that are not 0 whose solution has no negative one. With three unknowns that is
// exact and a few hundred nanoseconds a report. Core thread.
#include "daemon/planner/prefill_cost.hpp"

#include <algorithm>
#include <limits>

namespace kvtier::daemon {
namespace {

// Units that bring the coefficients of usual models near to 1: 0.1 ms a token, 1 ns a token and
// position, 1 ms a call. They only condition the equations.
constexpr std::array<double, 3> kUnits = {1e-4, 1e-9, 1e-3};
// A pull towards what was assumed, in the proportion of its parts: all that a first report says is
// how fast the machine is, not what depends on the length. A thousandth once there are many.
constexpr double kRidge = 1e-3;
constexpr double kProportion = 4;  // over the square of how many reports there are

std::array<double, 3> features(uint64_t tokens, uint64_t context) {
  const auto n = static_cast<double>(tokens);
  const auto c = static_cast<double>(context);
  return {n, n * c + n * n / 2, 1};
}

// Solves the equations of the coefficients in `mask`; false when they are singular.
bool solve_set(unsigned mask, const std::array<std::array<double, 3>, 3>& sums,
               const std::array<double, 3>& rights, std::array<double, 3>* result) {
  std::array<size_t, 3> at = {};
  size_t count = 0;
  for (size_t i = 0; i < 3; ++i) {
    if ((mask >> i & 1) != 0) at[count++] = i;
  }
  double m[3][4] = {};
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j < count; ++j) m[i][j] = sums[at[i]][at[j]];
    m[i][3] = rights[at[i]];
  }
  for (size_t i = 0; i < count; ++i) {
    if (!(m[i][i] > 1e-300)) return false;  // sums of squares: no pivoting needed
    for (size_t k = i + 1; k < count; ++k) {
      const double factor = m[k][i] / m[i][i];
      for (size_t j = i; j < count; ++j) m[k][j] -= factor * m[i][j];
      m[k][3] -= factor * m[i][3];
    }
  }
  *result = {};
  for (size_t i = count; i-- > 0;) {
    double value = m[i][3];
    for (size_t j = i + 1; j < count; ++j) value -= m[i][j] * (*result)[at[j]];
    (*result)[at[i]] = value / m[i][i];
  }
  return true;
}

}  // namespace

double PrefillCost::Fit::seconds(uint64_t tokens, uint64_t context) const {
  const auto x = features(tokens, context);
  return a * x[0] + b * x[1] + g;
}

bool PrefillCost::describe(double flops_token, double flops_pair, double flops_per_s) {
  const auto sound = [](double value, double most) {
    return std::isfinite(value) && value >= 0 && value <= most;
  };
  if (!sound(flops_token, 1e18) || flops_token <= 0 || !sound(flops_pair, 1e12) ||
      !sound(flops_per_s, 1e20) || flops_per_s <= 0) {
    ++refused_;
    return false;
  }
  described_ = {flops_token / flops_per_s, flops_pair / flops_per_s, 0};
  if (samples_ > 0) solve();
  return true;
}

bool PrefillCost::report(uint64_t now_ns, uint64_t tokens, uint64_t context, double seconds) {
  const double per_token = seconds / static_cast<double>(std::max<uint64_t>(tokens, 1));
  if (!std::isfinite(seconds) || seconds <= 0 || tokens == 0 || tokens > kTokensMax ||
      context > kTokensMax || per_token > kPerTokenMax || per_token < kPerTokenMin) {
    ++refused_;
    return false;
  }
  if (!fresh(now_ns)) {  // what was known is of another time
    sums_ = {};
    rights_ = {};
    samples_ = 0;
    outliers_ = 0;
  }
  double weight = 1;
  if (samples_ >= 4) {
    const double ratio = seconds / std::max(fitted_.seconds(tokens, context), 1e-12);
    const bool far = ratio > kOutlier || ratio < 1 / kOutlier;
    outliers_ = far ? outliers_ + 1 : 0;
    if (far && outliers_ <= kOutliersMax) weight = 1.0 / 64;
    if (outliers_ == kOutliersMax + 1) {  // the engine, or its machine, is another one
      sums_ = {};
      rights_ = {};
      samples_ = 0;
      outliers_ = 0;
    }
  }
  Row row = features(tokens, context);
  for (size_t i = 0; i < 3; ++i) row[i] *= kUnits[i] / seconds;
  add(row, 1, weight);
  ++samples_;
  reported_ns_ = now_ns;
  solve();
  return true;
}

void PrefillCost::add(const Row& row, double target, double weight) {
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 3; ++j) sums_[i][j] = kForget * sums_[i][j] + weight * row[i] * row[j];
    rights_[i] = kForget * rights_[i] + weight * row[i] * target;
  }
}

void PrefillCost::solve() {
  // The pull: as if each coefficient had been measured alone, in proportion to how well it is seen,
  // as a multiple of what was assumed: the one that fits the reports best.
  const Fit prior = base();
  Row wanted = {prior.a / kUnits[0], prior.b / kUnits[1], prior.g / kUnits[2]};
  double square = 0, product = 0;
  for (size_t i = 0; i < 3; ++i) {
    product += wanted[i] * rights_[i];
    for (size_t j = 0; j < 3; ++j) square += wanted[i] * sums_[i][j] * wanted[j];
  }
  const double multiple = square > 0 ? product / square : 0;
  for (double& one : wanted) one *= multiple;
  const auto count = static_cast<double>(samples_);
  const double strength =
      multiple > 0 ? std::max(kRidge, kProportion / (count * count + 1e-9)) : kRidge;
  auto sums = sums_;
  auto rights = rights_;
  for (size_t i = 0; i < 3; ++i) {
    const double pull = strength * sums_[i][i] + 1e-12;
    sums[i][i] += pull;
    rights[i] += pull * wanted[i];
  }
  double least = std::numeric_limits<double>::infinity();
  Row best = {};
  for (unsigned mask = 1; mask < 8; ++mask) {
    Row found = {};
    if (!solve_set(mask, sums, rights, &found)) continue;
    if (*std::min_element(found.begin(), found.end()) < 0) continue;
    double error = 0;  // but for a constant
    for (size_t i = 0; i < 3; ++i) {
      for (size_t j = 0; j < 3; ++j) error += found[i] * sums[i][j] * found[j];
      error -= 2 * found[i] * rights[i];
    }
    if (error < least) {
      least = error;
      best = found;
    }
  }
  fitted_ = {best[0] * kUnits[0], best[1] * kUnits[1], best[2] * kUnits[2]};
}

}  // namespace kvtier::daemon
