// Classes by use and the orders over them. Core thread.
#include "daemon/policy/classes_policy.hpp"

#include <algorithm>
#include <bit>

namespace kvtier::daemon {

// Where the next victims are looked for: the oldest chunk of each class; for the order by worth
// also the oldest younger than each mark, because a chunk used a moment ago may be worth less than
// one that has waited for a while (its session thinks for a minute, or the live contexts exceed the
// tier).
struct ClassesPolicy::Cursors {
  static constexpr size_t kPerList = SlotLists::kMarks + 1;
  std::array<std::array<SlotId, kPerList>, SlotLists::kLists> next;
  std::array<std::array<SlotId, kPerList>, SlotLists::kLists> first;  // where each began
  std::array<uint32_t, SlotLists::kLists> used{};                     // of each
};

// One use more. Up to four they are counted, from there on in half octaves (6, 8, 12, 16 ... 192),
// by chance: 4 bits tell a prompt that all sessions share from one that a long session keeps using.
uint32_t ClassesPolicy::one_more(uint32_t list) const {
  const uint32_t uses = list % kEnded;
  if (uses == kUsesMax) return uses;
  const uint32_t rare = uses < 4 ? 0 : (uses - 2) / 2;  // one use in 2^rare makes the next class
  const uint32_t chance = (path_began_ * 0x9E3779B1u) >> 16;
  return (chance & ((1u << rare) - 1)) == 0 ? uses + 1 : uses;
}

void ClassesPolicy::used(SlotId slot, uint32_t tag, uint32_t uses) {
  lists_.push_newest(slot, uses, tag, path_began_);
  while (lists_.size() >> sample_shift_ > kSampledMax) ++sample_shift_;
  if (!is_sampled(tag)) return;
  times_.used(tag, uses, path_began_);
  times_.refresh(now_, lists_.size(), lists_.size() >> sample_shift_);
  sampled(tag, {.key = {tag, 0}, .position = position_, .tokens = 0, .bytes = 0});
}

// Paths come tail to head: a position that does not fall begins the next one. All of a path has
// one moment, so that its chunks have one age and its tail goes before its head.
void ClassesPolicy::count(uint32_t position) {
  ++now_;
  if (position >= position_) path_began_ = now_;
  position_ = position;
}

void ClassesPolicy::inserted(SlotId slot, const ChunkFacts& facts) {
  count(facts.position);
  if (lists_.resident(slot)) lists_.remove(slot);
  const uint32_t tag = tag_of_key(facts.key);
  const TagTable::Place* known = evicted_.find(tag);
  const uint32_t uses = known == nullptr ? 1 : one_more(known->list);
  used(slot, tag, uses);
}

void ClassesPolicy::touched(SlotId slot, uint32_t position) {
  if (!lists_.resident(slot)) return;
  count(position);
  const uint32_t tag = lists_.tag_of(slot);
  const uint32_t uses = one_more(lists_.list_of(slot));
  lists_.remove(slot);
  used(slot, tag, uses);
}

void ClassesPolicy::removed(SlotId slot, Removal how) {
  if (!lists_.resident(slot)) return;
  if (how == Removal::kEvicted) {
    evicted_.hold(std::max<size_t>(lists_.size(), 65536));
    const uint32_t tag = lists_.tag_of(slot);
    TagTable::Place* place = evicted_.find(tag);
    if (place == nullptr) place = evicted_.slot_for(tag, now_);
    place->tag = tag;
    place->list = lists_.list_of(slot) & 63;
    place->moment = now_ & SlotLists::kMomentMask;
  }
  lists_.remove(slot);
}

void ClassesPolicy::hinted(SlotId slot, Outlook outlook) {
  if (!lists_.resident(slot)) return;
  const uint32_t tag = lists_.tag_of(slot);
  const uint32_t uses = lists_.list_of(slot) % kEnded;
  const uint32_t list = outlook == Outlook::kNever ? kEnded + uses : uses;
  lists_.remove(slot);
  lists_.push_newest(slot, list, tag, path_began_);
  if (!is_sampled(tag)) return;
  times_.reclassed(tag, list);
  sampled_hint(tag, outlook);
}

float ClassesPolicy::worth(SlotId slot) const {
  if (!lists_.resident(slot)) return 0;
  return times_.worth(lists_.list_of(slot), age_of(slot));
}

// The chosen one is gone: its cursor moves on, up to where the next one began.
void ClassesPolicy::advance(Cursors& cursors, const Choice& chosen, const VictimFilter& filter) {
  std::array<SlotId, Cursors::kPerList>& next = cursors.next[chosen.list];
  SlotId slot = lists_.newer(chosen.slot);
  while (slot != kNoSlot && !filter.may_evict(slot)) slot = lists_.newer(slot);
  const bool caught_up = chosen.cursor + 1 < cursors.used[chosen.list] &&
                         slot == cursors.first[chosen.list][chosen.cursor + 1];
  next[chosen.cursor] = caught_up ? kNoSlot : slot;
}

// Of the candidates the one to go next; kNoSlot when there is none.
ClassesPolicy::Choice ClassesPolicy::choose(const Cursors& cursors) const {
  Choice best, ended;
  for (uint32_t list = 0; list < SlotLists::kLists; ++list) {
    for (uint32_t i = 0; i < cursors.used[list]; ++i) {
      const SlotId slot = cursors.next[list][i];
      if (slot == kNoSlot) continue;
      const uint32_t age = age_of(slot);
      const Choice one{list, i, slot, age, times_.worth(list, age)};
      if (list >= kEnded && (ended.slot == kNoSlot || one.worth < ended.worth)) ended = one;
      const bool worse = order_ == Order::kReuse && one.worth != best.worth ? one.worth < best.worth
                                                                            : age > best.age;
      if (best.slot == kNoSlot || worse) best = one;
    }
  }
  // What is said to be over goes first, unless experience with such advice says otherwise.
  const bool over = ended.slot != kNoSlot && (best.slot == kNoSlot || ended.worth <= best.worth);
  return over ? ended : best;
}

void ClassesPolicy::look(Cursors& cursors, uint32_t list, const VictimFilter& filter) {
  const auto add = [&](SlotId slot) {
    while (slot != kNoSlot && !filter.may_evict(slot)) slot = lists_.newer(slot);
    uint32_t& used = cursors.used[list];
    if (slot == kNoSlot || (used > 0 && cursors.next[list][used - 1] == slot)) return;
    cursors.first[list][used] = slot;
    cursors.next[list][used++] = slot;
  };
  cursors.used[list] = 0;
  if (lists_.size(list) == 0) return;
  add(lists_.oldest(list));
  if (cursors.used[list] == 0 || order_ != Order::kReuse) return;
  SlotId before = kNoSlot;
  for (uint32_t mark = SlotLists::kMarks; mark-- > 0;) {
    const SlotId slot = lists_.mark(list, mark, now_);
    if (slot == kNoSlot || lists_.moment_of(slot) == (path_began_ & SlotLists::kMomentMask)) break;
    if (slot != before) add(slot);
    before = slot;
  }
}

size_t ClassesPolicy::victims(std::span<SlotId> out, const VictimFilter& filter) {
  Cursors cursors;
  for (uint32_t list = 0; list < SlotLists::kLists; ++list) {
    look(cursors, list, filter);
  }
  size_t count = 0;
  while (count < out.size()) {
    const Choice next = choose(cursors);
    if (next.slot == kNoSlot) break;
    out[count++] = next.slot;
    advance(cursors, next, filter);
  }
  return count;
}

}  // namespace kvtier::daemon
