// Ages in half octaves, survival by Kaplan-Meier, worth by the best horizon. Core thread.
#include "daemon/policy/reuse_times.hpp"

#include <algorithm>
#include <bit>

namespace kvtier::daemon {

namespace {
constexpr uint32_t kAge = SlotLists::kMomentMask;
constexpr uint64_t kSampleShare = 8;  // the sample follows keys for so many times the tier's size
constexpr uint64_t kRefreshUsesMin = 2048;
constexpr float kForget =
    0.9785F;                  // 0.5^(1/32): half in eight sizes, of which each has four refreshes
constexpr float kUnseen = 2;  // as if so many more had been seen and not used again

// The first age of a bucket: 0, 1, 2, 3, 4, 6, 8, 12, ...
float first_age(size_t bucket) {
  if (bucket < 2) return static_cast<float>(bucket);
  const float octave = static_cast<float>(uint64_t{1} << (bucket / 2));
  return bucket % 2 == 0 ? octave : octave * 1.5F;
}
}  // namespace

size_t ReuseTimes::bucket_of(uint32_t age) {
  if (age < 2) return age;
  const auto octave = static_cast<uint32_t>(std::bit_width(age) - 1);
  return std::min<size_t>(2 * octave + ((age >> (octave - 1)) & 1), kAges - 1);
}

void ReuseTimes::used(uint32_t tag, uint32_t list, uint32_t now) {
  if (sample_.size() == 0) sample_.hold(TagTable::kWays);
  TagTable::Place* place = sample_.find(tag);
  if (place != nullptr) {
    reused_[place->list][bucket_of((now - place->moment) & kAge)] += 1;
  } else {
    place = sample_.slot_for(tag, now);
    if (place->tag != 0) lost_[place->list][bucket_of((now - place->moment) & kAge)] += 1;
  }
  place->tag = tag;
  place->list = list & 63;
  place->moment = now & kAge;
}

void ReuseTimes::reclassed(uint32_t tag, uint32_t list) {
  TagTable::Place* place = sample_.find(tag);
  if (place != nullptr) place->list = list & 63;
}

void ReuseTimes::refresh(uint32_t now, uint64_t resident, uint64_t sampled_resident) {
  if (((now - learnt_at_) & kAge) < std::max(resident / 4, kRefreshUsesMin)) return;
  learnt_at_ = now;
  sample_.hold(std::bit_ceil(sampled_resident) * kSampleShare);
  learn(now);
}

void ReuseTimes::learn(uint32_t now) {
  std::array<Ages, SlotLists::kLists> waiting{};
  for (const TagTable::Place& place : sample_) {
    if (place.tag != 0) waiting[place.list][bucket_of((now - place.moment) & kAge)] += 1;
  }
  for (size_t list = 0; list < SlotLists::kLists; ++list) {
    Ages hazard;
    float alive = 0;
    for (size_t age = kAges; age-- > 0;) {
      const float unseen = lost_[list][age] + waiting[list][age];
      alive += reused_[list][age] + unseen;
      const float at_risk = alive - unseen / 2;
      hazard[age] = at_risk > 0 ? reused_[list][age] / (at_risk + kUnseen) : 0;
    }
    for (size_t age = 0; age < kAges; ++age) {
      float alive_share = 1, hits = 0, cost = 0, best = 0;
      for (size_t end = age; end < kAges; ++end) {
        float span = first_age(end + 1) - first_age(end);
        float used_again = hazard[end];
        if (end == age) {  // on average half of it has passed
          span /= 2;
          used_again /= 2;
        }
        hits += alive_share * used_again;
        cost += alive_share * span * (1 - used_again / 2);
        alive_share *= 1 - used_again;
        best = std::max(best, hits / cost);
      }
      // Along a path uses fall from head to tail, and a tail without its head is worth nothing: no
      // class is held to be worth less than one of fewer uses.
      const bool first = list % SlotLists::kEnded == 0;
      worth_[list][age] = first ? best : std::max(best, worth_[list - 1][age]);
    }
    for (size_t age = 0; age < kAges; ++age) {
      reused_[list][age] *= kForget;
      lost_[list][age] *= kForget;
    }
  }
}

}  // namespace kvtier::daemon
