// Chunks in classes by how often they were used, with what is remembered of evicted ones, and two
// orders over them: the least recently used of all, or the class and age that are least worth
// keeping, by the reuse times learnt. The orders share all state, so that one can take over from
// the other at any moment. Advice that a session ended makes a class of its own: how far such
// advice can be trusted is learnt like everything else. Core thread. 24 bytes a slot (16 in lists,
// 8 for an evicted key), and under 400 KiB for the sample.
#pragma once

#include "daemon/policy/policy.hpp"
#include "daemon/policy/reuse_times.hpp"
#include "daemon/policy/slot_lists.hpp"

namespace kvtier::daemon {

class ClassesPolicy : public Policy {
 public:
  enum class Order : uint8_t { kLru, kReuse };
  explicit ClassesPolicy(Order order) : order_(order) {}

  void inserted(SlotId slot, const ChunkFacts& facts) override;
  void touched(SlotId slot, uint32_t position) override;
  void removed(SlotId slot, Removal how) override;
  size_t victims(std::span<SlotId> out, const VictimFilter& filter) override;
  void hinted(SlotId slot, Outlook outlook) override;
  float worth(SlotId slot) const override;

  // Of the tier at most so many slots' keys are followed for what is sampled.
  static constexpr uint64_t kSampledMax = 4096;

 protected:
  // Every use of a sampled key, for who compares orders.
  virtual void sampled(uint32_t, const ChunkFacts&) {}
  virtual void sampled_hint(uint32_t, Outlook) {}

  Order order_;
  SlotLists lists_;
  uint32_t sample_shift_ = 0;  // one key in 2^shift is sampled

 private:
  static constexpr uint32_t kEnded = SlotLists::kEnded;
  static constexpr uint32_t kUsesMax = 15;
  struct Cursors;
  struct Choice {
    uint32_t list = 0;
    uint32_t cursor = 0;
    SlotId slot = kNoSlot;
    uint32_t age = 0;
    float worth = 0;
  };

  bool is_sampled(uint32_t tag) const {
    return (tag & (((1u << sample_shift_) - 1) << 1)) == 0;  // bit 0 is always 1
  }
  uint32_t age_of(SlotId slot) const {
    return (now_ - lists_.moment_of(slot)) & SlotLists::kMomentMask;
  }
  uint32_t one_more(uint32_t list) const;
  void count(uint32_t position);
  void used(SlotId slot, uint32_t tag, uint32_t uses);
  void look(Cursors& cursors, uint32_t list, const VictimFilter& filter);
  void advance(Cursors& cursors, const Choice& chosen, const VictimFilter& filter);
  Choice choose(const Cursors& cursors) const;

  TagTable evicted_;
  ReuseTimes times_;
  uint32_t now_ = 0;         // uses so far
  uint32_t path_began_ = 0;  // the moment of the path being used
  uint32_t position_ = 0;
};

}  // namespace kvtier::daemon
