// Lists of slots by class, each in the order of last use, with the moment of it and a tag of the
// key: what the policies that keep classes have in common. 16 bytes a slot. Core thread; never
// chooses a victim itself.
//
// Time is counted in uses (inserts and touches), not seconds: a policy then does the same for a
// replay at any speed, and clocks that run backwards mean nothing to it. 26 bits of it are kept; an
// age beyond 67 million uses wraps round, and the chunk counts as younger than it is.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "daemon/memory/slot_id.hpp"

namespace kvtier::daemon {

class SlotLists {
 public:
  static constexpr uint32_t kLists = 32;  // the last index, 63, is free for "not resident"
  static constexpr uint32_t kNowhere = 63;
  static constexpr uint32_t kEnded = 16;  // lists from here on: the same classes, said to be over
  static constexpr uint32_t kMomentMask = (1u << 26) - 1;

  bool resident(SlotId slot) const { return slot < nodes_.size() && nodes_[slot].list != kNowhere; }
  uint32_t list_of(SlotId slot) const { return nodes_[slot].list; }
  uint32_t tag_of(SlotId slot) const { return nodes_[slot].tag; }
  uint32_t moment_of(SlotId slot) const { return nodes_[slot].moment; }
  void set_moment(SlotId slot, uint32_t moment) { nodes_[slot].moment = moment & kMomentMask; }
  SlotId oldest(uint32_t list) const { return ends_[list].oldest; }
  // The oldest slot of the list that is younger than 2^(mark / 2) uses or so (first_age), kNoSlot
  // if there is none. Marks follow the clock when asked, each slot is passed by each mark once.
  SlotId mark(uint32_t list, uint32_t mark, uint32_t now) {
    SlotId& slot = marks_[list][mark];
    while (slot != kNoSlot && ((now - nodes_[slot].moment) & kMomentMask) >= age_of_mark(mark)) {
      slot = nodes_[slot].newer;
    }
    return slot;
  }
  // 64, 96, 128, 192, ...
  static constexpr uint32_t age_of_mark(uint32_t mark) {
    return (mark % 2 == 0 ? 64u : 96u) << (mark / 2);
  }
  static constexpr uint32_t kMarks = 32;
  SlotId newer(SlotId slot) const { return nodes_[slot].newer; }
  uint64_t size(uint32_t list) const { return ends_[list].size; }
  uint64_t size() const { return size_; }

  // The slot must not be resident.
  void push_newest(SlotId slot, uint32_t list, uint32_t tag, uint32_t moment) {
    if (slot >= nodes_.size()) nodes_.resize(size_t{slot} + 1);
    Ends& ends = ends_[list];
    Node& node = nodes_[slot];
    node.older = ends.newest;
    node.newer = kNoSlot;
    node.tag = tag;
    node.list = list & 63;
    node.moment = moment & kMomentMask;
    (ends.newest == kNoSlot ? ends.oldest : nodes_[ends.newest].newer) = slot;
    ends.newest = slot;
    for (SlotId& mark : marks_[list]) {
      if (mark == kNoSlot) mark = slot;
    }
    ++ends.size;
    ++size_;
  }
  // The slot must be resident.
  void remove(SlotId slot) {
    Node& node = nodes_[slot];
    Ends& ends = ends_[node.list];
    (node.older == kNoSlot ? ends.oldest : nodes_[node.older].newer) = node.newer;
    (node.newer == kNoSlot ? ends.newest : nodes_[node.newer].older) = node.older;
    for (SlotId& mark : marks_[node.list]) {
      if (mark == slot) mark = node.newer;
    }
    --ends.size;
    --size_;
    node.list = kNowhere;
  }

 private:
  struct Node {
    SlotId older = kNoSlot;
    SlotId newer = kNoSlot;
    uint32_t tag = 0;
    uint32_t list : 6 = kNowhere;
    uint32_t moment : 26 = 0;
  };
  static_assert(sizeof(Node) == 16);
  struct Ends {
    SlotId oldest = kNoSlot;
    SlotId newest = kNoSlot;
    uint64_t size = 0;
  };

  std::vector<Node> nodes_;
  static constexpr std::array<SlotId, kMarks> no_marks() {
    std::array<SlotId, kMarks> none{};
    none.fill(kNoSlot);
    return none;
  }
  static std::array<std::array<SlotId, kMarks>, kLists> nothing_marked() {
    std::array<std::array<SlotId, kMarks>, kLists> none{};
    none.fill(no_marks());
    return none;
  }

  std::array<Ends, kLists> ends_;
  std::array<std::array<SlotId, kMarks>, kLists> marks_ = nothing_marked();
  uint64_t size_ = 0;
};

}  // namespace kvtier::daemon
