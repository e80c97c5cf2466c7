// What benchmarks make of many samples; see bench.hpp.
#include <algorithm>
#include <cmath>

#include "tools/bench/bench.hpp"

namespace kvtier::tools {

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto last = static_cast<double>(values.size() - 1);
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(std::lround(share * last));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace kvtier::tools
