// After how many uses of the tier a chunk of each class is used again: learnt from a sample of the
// keys, resident or not, so that what the policy does not keep does not look useless. From it the
// worth of keeping a chunk of a class and an age: hits expected per chunk and use of the tier, over
// the best horizon (the Gittins index of the chunk; Aggarwal and Beckmann's hit density is the
// same for the horizon "until evicted"). Core thread. 32 x 64 x 3 floats and the sample's table.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "daemon/policy/tag_table.hpp"

namespace kvtier::daemon {

class ReuseTimes {
 public:
  // The key was used at `now` and belongs to `list` from here on.
  void used(uint32_t tag, uint32_t list, uint32_t now);
  // Another class for a key that is known, by advice.
  void reclassed(uint32_t tag, uint32_t list);
  // Learns from what was seen, once in a quarter of the tier's size; half of what is known is
  // forgotten in eight times its size: long enough for a sample to mean something, short enough to
  // follow a day's traffic.
  void refresh(uint32_t now, uint64_t resident, uint64_t sampled_resident);
  // Never of an age that does not occur: 0.
  float worth(uint32_t list, uint32_t age) const { return worth_[list][bucket_of(age)]; }

 private:
  static constexpr size_t kAges = 54;  // two an octave, up to 2^26 uses
  using Ages = std::array<float, kAges>;

  static size_t bucket_of(uint32_t age);
  void learn(uint32_t now);

  TagTable sample_;
  std::array<Ages, SlotLists::kLists> reused_{};
  std::array<Ages, SlotLists::kLists> lost_{};  // left the sample unseen: age at that moment
  std::array<Ages, SlotLists::kLists> worth_{};
  uint32_t learnt_at_ = 0;
};

}  // namespace kvtier::daemon
