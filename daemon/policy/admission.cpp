// Admission by the quantile of ranks offered. Core thread.
#include "daemon/policy/admission.hpp"

#include <algorithm>
#include <cmath>

namespace kvtier::daemon {

namespace {
constexpr double kRemembered = 4096;  // offers, after which half of them is forgotten
// A rank falls to half at this position: a chunk there is reached in half of the prompts or less.
constexpr float kHalfPosition = 32;
}  // namespace

bool Admission::admits(float worth, uint32_t position, double share) {
  const float known = worth < 0 ? 1.0F : worth;
  const float rank = known / (1 + static_cast<float>(position) / kHalfPosition);
  const auto bucket = static_cast<size_t>(
      std::clamp(std::log2(std::max(rank, 1e-9F)) * 4 + static_cast<float>(kRanks) - 1, 0.0F,
                 static_cast<float>(kRanks - 1)));
  if (offers_ >= kRemembered) {
    for (double& count : offered_) count /= 2;
    offers_ /= 2;
  }
  offered_[bucket] += 1;
  offers_ += 1;
  double better = 0;
  for (size_t i = bucket + 1; i < kRanks; ++i) better += offered_[i];
  return better < share * offers_;
}

}  // namespace kvtier::daemon
