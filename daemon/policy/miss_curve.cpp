// Reuse distances of sampled and hot keys. One thread.
#include "daemon/policy/miss_curve.hpp"

#include <algorithm>
#include <bit>

namespace kvtier::daemon {

namespace {
constexpr size_t kMomentsMin = 1024;
constexpr size_t kMomentsPerUse = 2;  // of a sampled key that turns out to be hot
// Uses that sampled ones do not speak for yet are shared out over so many sampled ones.
constexpr double kOwedSpread = 64;
constexpr uint32_t kMissedBits = 1u << 19;  // 64 KiB a generation, a quarter of them set
// One use in four is looked at for hot keys; a key is hot when it is seen twice among the 8,192
// looked at last. Many such uses of one key would otherwise count either
// 64-fold or not at all.
constexpr uint32_t kLookSpread = 8;  // 1 to 7 uses from look to look
constexpr size_t kCandidates = 8192;
constexpr uint32_t kHotSeen = 2;
}  // namespace

void MissCurve::add(uint32_t moment, uint64_t weight) {
  for (size_t i = moment + size_t{1}; i < tree_.size(); i += i & (~i + 1)) tree_[i] += weight;
}

uint64_t MissCurve::sum_before(uint32_t moment) const {
  uint64_t sum = 0;
  for (size_t i = moment; i > 0; i &= i - 1) sum += tree_[i];
  return sum;
}

// How many chunks that are not hot so many sampled ones stand for: the resident ones are counted,
// of those used before them a sampled one stands for 2^shift.
double MissCurve::stands_for(uint64_t sampled) const {
  const uint64_t others = resident_ - std::min(resident_, resident_hot_);
  if (sampled > resident_sampled_) {
    return static_cast<double>(others + ((sampled - resident_sampled_) << shift_));
  }
  return static_cast<double>(sampled * others) /
         static_cast<double>(std::max<uint64_t>(resident_sampled_, 1));
}

// Distinct chunks used between its last use and the path of now, and itself.
double MissCurve::distance(const Place& place) const {
  if (place.moment >= path_began_) return 1;
  const uint64_t between = sum_before(path_began_) - sum_before(place.moment + 1);
  return static_cast<double>(between >> 32) + stands_for(between & UINT32_MAX) + 1;
}

// All of a path is one moment: what is nearer to its tail was not used "since".
void MissCurve::begin_path(const Access& access) {
  const bool goes_on =
      access.position < position_ || (!access.was_resident && access.position == position_ + 1);
  position_ = access.position;
  if (goes_on) return;
  path_began_ = next_;
  path_counted_ = false;
}

void MissCurve::used(uint64_t now_ns, const Access& access) {
  begin_path(access);
  if (next_ + kMomentsPerUse > tags_.size()) tidy();
  const uint32_t tag = tag_of_key(access.key);
  Place* place = find(tag);
  const bool is_hot = place != nullptr && (place->list & kHot) != 0;
  const Kind kind = is_hot ? kHit : kind_of(access, tag);
  if (!is_hot) owed_[kind] += 1;
  if (is_hot || is_sampled(tag)) {
    count(now_ns, access, place, kind);
    if (place == nullptr) {
      place = track(tag);
    } else {
      renew(*place);
    }
    set_resident(*place, access.was_resident);
  }
  if (!is_hot && --until_candidate_ == 0) look_for_hot(access, tag);
}

// A wrong guess costs nothing but precision: whatever the kinds are, each is counted as often as it
// was.
MissCurve::Kind MissCurve::kind_of(const Access& access, uint32_t tag) {
  if (access.was_resident) return kHit;
  if (missed_[0].empty() || missed_bits_ > kMissedBits / 4) {
    missed_[0].swap(missed_[1]);
    missed_[0].assign(kMissedBits / 64, 0);
    missed_[1].resize(kMissedBits / 64);
    missed_bits_ = 0;
  }
  const uint32_t bit = (tag >> 1) % kMissedBits;
  const uint64_t mask = uint64_t{1} << (bit & 63);
  uint64_t& word = missed_[0][bit / 64];
  const bool known = ((word | missed_[1][bit / 64]) & mask) != 0;
  if ((word & mask) == 0) ++missed_bits_;
  word |= mask;
  return known ? kMissed : kNew;
}

void MissCurve::count(uint64_t now_ns, const Access& access, Place* place, Kind kind) {
  double weight = 1;
  if (place == nullptr || (place->list & kHot) == 0) {
    double& owed = owed_[kind];
    const double usual = static_cast<double>(1u << shift_);
    weight = std::max(usual + (owed - usual) / kOwedSpread, 0.0);
    owed -= weight;
  }
  windows_.add(now_ns, {.distance = place == nullptr ? 0 : distance(*place),
                        .weight = {weight * access.worth.tokens, weight * access.worth.seconds},
                        .begins_path = !path_counted_});
  path_counted_ = true;
}

// The access was not of a hot key.
void MissCurve::look_for_hot(const Access& access, uint32_t tag) {
  random_ = random_ * 1664525u + 1013904223u;  // Numerical Recipes; prompts have periods
  until_candidate_ = 1 + (random_ >> 16) % (kLookSpread - 1);
  candidates_.hold(kCandidates);
  ++candidate_clock_;
  Place* seen = candidates_.find(tag);
  if (seen == nullptr) {
    seen = candidates_.slot_for(tag, candidate_clock_);
    *seen = {tag, 0, 0};
  }
  seen->moment = candidate_clock_ & SlotLists::kMomentMask;
  seen->list = (seen->list + 1) & 63;
  if (seen->list < kHotSeen || hot_ >= kHotMax) return;
  seen->tag = 0;
  Place* place = find(tag);
  if (place == nullptr) {
    place = track(tag);
    if (access.was_resident) set_resident(*place, true);
  }
  set_hot(*place, true);
}

// A new key, used now.
MissCurve::Place* MissCurve::track(uint32_t tag) {
  Place* place = tracked_.slot_for(tag, next_);
  if (place->tag != 0) untrack(*place);
  *place = {tag, 0, next_ & SlotLists::kMomentMask};
  tags_[next_] = tag;
  add(next_++, weight_of(*place));
  ++live_;
  return place;
}

// A tracked key, used again.
void MissCurve::renew(Place& place) {
  add(place.moment, ~weight_of(place) + 1);
  tags_[place.moment] = 0;
  place.moment = next_ & SlotLists::kMomentMask;
  tags_[next_] = place.tag;
  add(next_++, weight_of(place));
}

void MissCurve::untrack(Place& place) {
  set_resident(place, false);
  set_hot(place, false);
  add(place.moment, ~uint64_t{0});  // less one
  tags_[place.moment] = 0;
  place = Place{};
  --live_;
}

void MissCurve::set_resident(Place& place, bool resident) {
  if (((place.list & kResident) != 0) == resident) return;
  place.list ^= kResident;
  uint64_t& count = (place.list & kHot) != 0 ? resident_hot_ : resident_sampled_;
  count = resident ? count + 1 : count - 1;
}

void MissCurve::set_hot(Place& place, bool hot) {
  if (((place.list & kHot) != 0) == hot) return;
  const bool resident = (place.list & kResident) != 0;
  set_resident(place, false);
  add(place.moment, ~weight_of(place) + 1);
  place.list ^= kHot;
  add(place.moment, weight_of(place));
  hot_ = hot ? hot_ + 1 : hot_ - 1;
  if (hot) note_in_filter(place.tag);
  set_resident(place, resident);
}

void MissCurve::entered(const ChunkKey& key) {
  ++resident_;
  if (Place* place = find(tag_of_key(key))) set_resident(*place, true);
}

void MissCurve::left(const ChunkKey& key) {
  if (resident_ > 0) --resident_;
  if (Place* place = find(tag_of_key(key))) set_resident(*place, false);
}

// No moment is left: those in use are counted from 0 again. What is too much goes: hot keys not
// used for longest are no longer hot; the oldest keys, or, where the rest would not reach far
// enough, half of the sample.
void MissCurve::tidy() {
  uint64_t surplus_hot = hot_ >= kHotMax ? kHotMax / 8 : 0;
  uint64_t surplus = live_ >= kTrackedMax ? kTrackedMax / 8 : 0;
  if (surplus > 0 && ((live_ - hot_) << shift_) < 2 * reach_) {
    ++shift_;
    surplus = 0;
  }
  for (uint32_t moment = 0; moment < next_; ++moment) {
    if (tags_[moment] == 0) continue;
    Place& place = *tracked_.find(tags_[moment]);
    if (surplus_hot > 0 && (place.list & kHot) != 0) {
      set_hot(place, false);
      --surplus_hot;
    }
    const bool goes = surplus > 0 || ((place.list & kHot) == 0 && !is_sampled(place.tag));
    if (!goes) continue;
    if (surplus > 0) --surplus;
    untrack(place);
  }
  std::vector<uint32_t> before;
  before.swap(tags_);
  const size_t moments = std::max(std::bit_ceil(static_cast<size_t>(live_) + 1) * 2, kMomentsMin);
  tags_.assign(moments, 0);
  tree_.assign(moments + 1, 0);
  tracked_.hold(moments);
  filter_ = {};
  const uint32_t end = next_;
  bool path_moved = false;
  next_ = 0;
  for (uint32_t moment = 0; moment < end; ++moment) {
    if (moment >= path_began_ && !path_moved) {
      path_began_ = next_;
      path_moved = true;
    }
    if (before[moment] == 0) continue;
    Place* place = tracked_.find(before[moment]);  // a table that doubles loses nothing
    place->moment = next_ & SlotLists::kMomentMask;
    if ((place->list & kHot) != 0) note_in_filter(place->tag);
    tags_[next_] = place->tag;
    add(next_++, weight_of(*place));
  }
  if (!path_moved) path_began_ = next_;
}

uint64_t MissCurve::bytes() const {
  return sizeof *this + tags_.capacity() * sizeof tags_[0] + tree_.capacity() * sizeof tree_[0] +
         (tracked_.size() + candidates_.size()) * sizeof(Place) + 2 * missed_[0].size() * 8;
}

}  // namespace kvtier::daemon
