// What is remembered of keys that are not resident: by a 32-bit tag of the key, its class and the
// moment of its last use. Sets of eight; a full set gives up its oldest. 8 bytes a place, of a
// fixed number of places until grow(). A foreign key with the same tag in the same set is taken for
// the known one (8 in 4 billion look-ups a full table): that may cost a hit, nothing else. Core
// thread.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <vector>

#include "daemon/policy/slot_lists.hpp"
#include "kvtier/wire/types.hpp"

namespace kvtier::daemon {

// Keys are hashes already, in the daemon; a trace's ids are not, so they are mixed once more.
inline uint32_t tag_of_key(const ChunkKey& key) {
  const uint64_t mixed = (key.lo ^ (key.hi * 0x9E3779B97F4A7C15)) * 0xD6E8FEB86659FD93;
  return static_cast<uint32_t>(mixed >> 32) | 1;  // 0 is an empty place
}

class TagTable {
 public:
  struct Place {
    uint32_t tag = 0;
    uint32_t list : 6 = 0;
    uint32_t moment : 26 = 0;
  };
  static constexpr size_t kWays = 8;

  // At least so many places; what was known is forgotten when it has to grow.
  void hold(size_t places) {
    if (places <= places_.size()) return;
    std::vector<Place> before(std::bit_ceil(std::max(places, kWays)));
    before.swap(places_);
    for (const Place& place : before) {
      if (place.tag != 0) *slot_for(place.tag, place.moment) = place;
    }
  }
  size_t size() const { return places_.size(); }
  Place* find(uint32_t tag) {
    Place* set = set_of(tag);
    for (size_t i = 0; set != nullptr && i < kWays; ++i) {
      if (set[i].tag == tag) return &set[i];
    }
    return nullptr;
  }
  // A free place of the tag's set, or its oldest by age_of(place): overwrite it.
  template <std::invocable<const Place&> AgeOf>
  Place* slot_for(uint32_t tag, const AgeOf& age_of) {
    Place* set = set_of(tag);
    Place* oldest = set;
    for (size_t i = 0; i < kWays; ++i) {
      if (set[i].tag == 0) return &set[i];
      if (age_of(set[i]) > age_of(*oldest)) oldest = &set[i];
    }
    return oldest;
  }
  Place* slot_for(uint32_t tag, uint32_t now) {
    return slot_for(
        tag, [now](const Place& place) { return (now - place.moment) & SlotLists::kMomentMask; });
  }
  auto begin() const { return places_.begin(); }
  auto end() const { return places_.end(); }

 private:
  // By the high bits: the low ones choose what is sampled.
  Place* set_of(uint32_t tag) {
    if (places_.empty()) return nullptr;
    const uint64_t sets = places_.size() / kWays;
    return &places_[((uint64_t{tag} * sets) >> 32) * kWays];
  }

  std::vector<Place> places_;
};

}  // namespace kvtier::daemon
