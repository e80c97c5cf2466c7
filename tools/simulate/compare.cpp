// The paired bootstrap over runs of requests. Pure.
#include "tools/simulate/compare.hpp"

#include <algorithm>
#include <random>
#include <vector>

namespace kvtier::tools {

namespace {
constexpr size_t kDraws = 2000;
// As many runs as let the mean of runs be normal, as few as keep most of a session's requests in
// one.
constexpr size_t kRuns = 100;

struct Sums {
  double asked = 0, a = 0, b = 0;
  void add(const Sums& other) {
    asked += other.asked;
    a += other.a;
    b += other.b;
  }
};
}  // namespace

Difference compare(std::span<const uint32_t> asked, std::span<const uint32_t> hits_a,
                   std::span<const uint32_t> hits_b, uint64_t seed) {
  Difference found;
  const size_t count = std::min({asked.size(), hits_a.size(), hits_b.size()});
  const size_t length = std::max<size_t>(1, (count + kRuns - 1) / kRuns);
  std::vector<Sums> runs;
  Sums all;
  for (size_t i = 0; i < count; ++i) {
    if (i % length == 0) runs.emplace_back();
    const Sums one = {static_cast<double>(asked[i]), static_cast<double>(hits_a[i]),
                      static_cast<double>(hits_b[i])};
    runs.back().add(one);
    all.add(one);
  }
  found.runs = runs.size();
  if (all.asked <= 0) return found;
  found.rate_a = all.a / all.asked;
  found.rate_b = all.b / all.asked;
  std::mt19937_64 random(seed);
  std::vector<double> draws;
  size_t below = 0, above = 0;
  for (size_t draw = 0; draw < kDraws; ++draw) {
    Sums sum;
    for (size_t i = 0; i < runs.size(); ++i) sum.add(runs[random() % runs.size()]);
    const double difference = sum.asked > 0 ? (sum.b - sum.a) / sum.asked : 0;
    draws.push_back(difference);
    if (difference <= 0) ++below;
    if (difference >= 0) ++above;
  }
  std::sort(draws.begin(), draws.end());
  found.low = draws[kDraws / 40];
  found.high = draws[kDraws - 1 - kDraws / 40];
  // One more on either side: no finite number of draws shows that chance never does it.
  const auto tail = static_cast<double>(std::min(below, above) + 1);
  found.p = std::min(1.0, 2 * tail / static_cast<double>(kDraws + 1));
  return found;
}

}  // namespace kvtier::tools
