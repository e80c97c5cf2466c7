// Admission by the quantile of ranks offered. Core thread.
#include "daemon/policy/admission.hpp"

#include <algorithm>
#include <cmath>

namespace kvtier::daemon {

namespace {
constexpr double kRemembered = 4096;  // offers, after which half of them is forgotten
constexpr size_t kRefusedKept = 65536;
constexpr uint32_t kUsesMax = 63;  // six bits
// A rank falls to half at this position: a chunk there is reached in half of the prompts or less.
constexpr float kHalfPosition = 32;
// What is said to be over, beside one that was used once: behind nearly everything else.
constexpr float kOver = 1.0F / 64;
}  // namespace

uint32_t Admission::uses_before(const ChunkKey& key) {
  const TagTable::Place* known = refused_.find(tag_of_key(key));
  return known == nullptr ? 0 : known->list;
}

bool Admission::admits(const ChunkKey& key, uint32_t uses, uint32_t position, double share) {
  ++offered_so_far_;
  const uint32_t tag = tag_of_key(key);
  if (passes(tag, uses, position, share)) return true;
  refused_.hold(kRefusedKept);
  TagTable::Place* place = refused_.find(tag);
  if (place == nullptr) place = refused_.slot_for(tag, offered_so_far_ & SlotLists::kMomentMask);
  *place = {tag, std::min(uses, kUsesMax) & kUsesMax, offered_so_far_ & SlotLists::kMomentMask};
  return false;
}

bool Admission::passes(uint32_t tag, uint32_t uses, uint32_t position, double share) {
  const float known = uses == 0 ? kOver : static_cast<float>(uses);
  const float rank = known / (1 + static_cast<float>(position) / kHalfPosition);
  const auto bucket = static_cast<size_t>(
      std::clamp((std::log2(rank) + 16) * kRanksPerOctave, 0.0F, static_cast<float>(kRanks - 1)));
  if (offers_ >= kRemembered) {
    for (double& count : offered_) count /= 2;
    offers_ /= 2;
  }
  offered_[bucket] += 1;
  offers_ += 1;
  double better = 0;
  for (size_t i = bucket + 1; i < kRanks; ++i) better += offered_[i];
  // Of those that are equal only as large a part as is left; the same keys each time.
  const double left = share * offers_ - better;
  return left > offered_[bucket] * static_cast<double>(tag >> 16) / 65536;
}

}  // namespace kvtier::daemon
