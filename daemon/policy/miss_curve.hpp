// Miss-ratio curves of live traffic: what tiers of other sizes would hit under LRU. SHARDS
// (Waldspurger et al., FAST'15): of one key in 64 every use is followed, and how many distinct
// chunks were used since the one before tells which sizes would have hit. Three things make the
// sample good enough to advise from: the hottest keys, which a sample either misses or
// overrates, are found online and followed exactly; uses that hit, missed, or are
// of new keys are each weighed by how many of them there really were; and a sampled key stands for
// as many as it does among the chunks that are resident, which are counted. Owned by one thread,
// the core's in the daemon. 0.9 MiB at most, as large as the traffic asks for.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "daemon/policy/curve_windows.hpp"
#include "daemon/policy/tag_table.hpp"

namespace kvtier::daemon {

class MissCurve {
 public:
  struct Access {
    ChunkKey key;
    uint32_t position = 0;      // in its chain
    bool was_resident = false;  // false: it had to be computed, and is being stored
    CurveSum worth;             // tokens, and the seconds that computing them takes
  };
  // Paths come tail to head; chunks that are stored may come head to tail.
  void used(uint64_t now_ns, const Access& access);
  // Into the tier and out of it, for whatever reason.
  void entered(const ChunkKey& key);
  void left(const ChunkKey& key);
  // Distances up to twice so many chunks are told; the sample grows thinner where it must.
  void set_reach(uint64_t chunks) { reach_ = chunks; }

  CurveReading read(size_t window, uint64_t now_ns) const { return windows_.read(window, now_ns); }
  uint32_t sample_shift() const { return shift_; }  // one key in 2^shift
  uint64_t hot_keys() const { return hot_; }
  uint64_t bytes() const;

  static constexpr uint32_t kShiftMin = 6;
  static constexpr uint64_t kTrackedMax = 16383;
  static constexpr uint64_t kHotMax = 8192;

 private:
  // Bits that hot keys have set, so that most keys cost no look into the table.
  static constexpr uint32_t kFilterBits = 65536;
  bool may_be_tracked(uint32_t tag) const {
    return is_sampled(tag) || ((filter_[tag >> 22] >> ((tag >> 16) & 63)) & 1) != 0;
  }
  void note_in_filter(uint32_t tag) { filter_[tag >> 22] |= uint64_t{1} << ((tag >> 16) & 63); }

  // Of a tracked key, in TagTable::Place::list.
  static constexpr uint32_t kHot = 1, kResident = 2;
  using Place = TagTable::Place;
  enum Kind : uint8_t { kHit, kMissed, kNew, kKinds };  // of a use

  bool is_sampled(uint32_t tag) const {
    return (tag & (((1u << shift_) - 1) << 1)) == 0;  // bit 0 is always 1
  }
  static uint64_t weight_of(const Place& place) {
    return (place.list & kHot) != 0 ? uint64_t{1} << 32 : 1;
  }
  double stands_for(uint64_t sampled) const;
  double distance(const Place& place) const;
  Place* find(uint32_t tag) { return may_be_tracked(tag) ? tracked_.find(tag) : nullptr; }
  void begin_path(const Access& access);
  Kind kind_of(const Access& access, uint32_t tag);
  void count(uint64_t now_ns, const Access& access, Place* place, Kind kind);
  void look_for_hot(const Access& access, uint32_t tag);
  Place* track(uint32_t tag);
  void renew(Place& place);
  void untrack(Place& place);
  void set_resident(Place& place, bool resident);
  void set_hot(Place& place, bool hot);
  void tidy();
  void add(uint32_t moment, uint64_t weight);
  uint64_t sum_before(uint32_t moment) const;

  TagTable tracked_;  // Place::moment: its number in the order of last use
  // Over moments: whose last use it was, and a Fenwick tree of hot (upper half) and sampled keys.
  std::vector<uint32_t> tags_;
  std::vector<uint64_t> tree_;
  uint32_t next_ = 0;        // moment
  uint32_t path_began_ = 0;  // moment
  uint32_t position_ = 0;
  bool path_counted_ = false;  // in the windows
  uint64_t live_ = 0, hot_ = 0;
  uint64_t resident_ = 0, resident_hot_ = 0, resident_sampled_ = 0;
  uint64_t reach_ = 0;
  uint32_t shift_ = kShiftMin;
  // Of uses of keys that are not hot, by kind: how many, less what sampled ones were counted for.
  std::array<double, kKinds> owed_{};
  // Keys that missed of late, a bit each, in two generations: whether a miss is of a new key.
  std::array<std::vector<uint64_t>, 2> missed_;
  uint32_t missed_bits_ = 0;  // set in the younger one
  std::array<uint64_t, kFilterBits / 64> filter_{};
  TagTable candidates_;  // Place::list: how often it was seen
  uint32_t candidate_clock_ = 0;
  uint32_t until_candidate_ = 1;
  uint32_t random_ = 1;
  CurveWindows windows_;
};

}  // namespace kvtier::daemon
