#include "daemon/tiers/nvme_slots.hpp"

#include <algorithm>

namespace kvtier::daemon::nvme {

constexpr uint32_t kNone = UINT32_MAX;
constexpr uint64_t kSmallestSlotBytes = 64 * wire::KiB;  // what the supported chunks need
constexpr uint32_t kSequenceGap = 1000;  // past what a descriptor that cannot be read may have had

uint32_t Slots::add_device(const Superblock& superblock,
                           std::vector<SegmentDescriptor> descriptors) {
  const auto number = static_cast<uint32_t>(devices_.size());
  Device& device = devices_.emplace_back();
  device.superblock = superblock;
  device.first_segment = static_cast<uint32_t>(segments_.size());
  slots_max_ += superblock.segments * (superblock.segment_bytes / kSmallestSlotBytes + 1);
  uint32_t sequence_max = 0;
  for (const SegmentDescriptor& descriptor : descriptors) {
    sequence_max = std::max(sequence_max, descriptor.sequence);
  }
  device.next_sequence = sequence_max + kSequenceGap;
  for (SegmentDescriptor& descriptor : descriptors) {
    const auto index = static_cast<uint32_t>(segments_.size());
    Segment& segment = segments_.emplace_back();
    segment.device = number;
    segment.descriptor = std::move(descriptor);
    if (segment.descriptor.prepared) ++device.prepared;
    if (segment.descriptor.slot_bytes == 0) {
      device.free_segments.push_back(index);
      continue;
    }
    segment.tenant = intern_tenant(segment.descriptor.tenant);
    segment.slots = static_cast<uint32_t>(superblock.segment_bytes / segment.descriptor.slot_bytes);
    segment.first_place = take_places(segment.slots);
    segment.is_recovering = true;
    ++classes_[class_of(segment)].segments;
    for (uint32_t i = 0; i < segment.slots; ++i) {
      slot(segment.first_place + i) = {index, 0, SlotState::kUnknown, 0, false};
    }
  }
  // Taken from the back: the first segments first.
  std::reverse(device.free_segments.begin(), device.free_segments.end());
  return number;
}

uint32_t Slots::intern_tenant(const std::string& name) {
  const auto found = std::find(tenants_.begin(), tenants_.end(), name);
  if (found != tenants_.end()) return static_cast<uint32_t>(found - tenants_.begin());
  tenants_.push_back(name);
  return static_cast<uint32_t>(tenants_.size() - 1);
}

TierPlace Slots::take_places(uint32_t count) {
  for (auto run = free_places_.begin(); run != free_places_.end(); ++run) {
    const auto [first, length] = *run;
    if (length < count) continue;
    free_places_.erase(run);
    if (length > count) free_places_[first + count] = length - count;
    return first;
  }
  // A run at the very top grows instead.
  if (!free_places_.empty()) {
    const auto [first, length] = *free_places_.rbegin();
    if (first + length == slots_.size() + 1) {
      free_places_.erase(first);
      slots_.resize(slots_.size() + count - length);
      return first;
    }
  }
  const auto first = static_cast<TierPlace>(slots_.size() + 1);
  slots_.resize(slots_.size() + count);
  return first;
}

void Slots::give_places(TierPlace first, uint32_t count) {
  auto next = free_places_.lower_bound(first);
  if (next != free_places_.end() && first + count == next->first) {
    count += next->second;
    next = free_places_.erase(next);
  }
  if (next != free_places_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == first) {
      before->second += count;
      return;
    }
  }
  free_places_[first] = count;
}

uint64_t Slots::offset_of(TierPlace place) {
  const Segment& segment = segment_of(place);
  return devices_[segment.device].superblock.segment_offset(segment.descriptor.segment) +
         uint64_t{place - segment.first_place} * segment.descriptor.slot_bytes;
}

void Slots::list(uint32_t number) {
  Segment& segment = segments_[number];
  if (segment.is_listed || segment.is_draining || segment.is_recovering) return;
  if (segment.free_count == 0) return;
  segment.is_listed = true;
  counts_of(segment).open.push_back(number);
}

void Slots::push_free(uint32_t number, uint32_t slot_number) {
  Segment& segment = segments_[number];
  Slot& freed = slot(segment.first_place + slot_number);
  freed.state = SlotState::kFree;
  freed.value = segment.free_head;
  segment.free_head = slot_number + 1;
  ++segment.free_count;
  if (!segment.is_draining) ++counts_of(segment).free;
}

uint32_t Slots::open_segment(uint32_t device, const ClassKey& key) {
  std::vector<uint32_t>& open = classes_[key].on[device].open;
  while (!open.empty()) {
    const Segment& segment = segments_[open.back()];
    if (segment.is_listed && segment.first_place != 0 && class_of(segment) == key &&
        segment.device == device && segment.free_count > 0 && !segment.is_draining) {
      return open.back();
    }
    segments_[open.back()].is_listed = false;
    open.pop_back();
  }
  return kNone;
}

// Best a free segment whose descriptor already says so, then one that was written before.
uint32_t Slots::assign(uint32_t device_number, const ClassKey& key) {
  Device& device = devices_[device_number];
  if (key.second > device.superblock.segment_bytes) return kNone;
  size_t best = SIZE_MAX;
  int best_score = -1;
  for (size_t i = device.free_segments.size(); i > 0; --i) {
    const Segment& segment = segments_[device.free_segments[i - 1]];
    if (segment.is_preparing) continue;
    const SegmentDescriptor& descriptor = segment.descriptor;
    const bool same =
        descriptor.slot_bytes == key.second && descriptor.tenant == tenants_[key.first];
    const int score = same ? 2 : descriptor.prepared ? 1 : 0;
    if (score <= best_score) continue;
    best = i - 1;
    best_score = score;
    if (same) break;
  }
  if (best == SIZE_MAX) return kNone;
  const uint32_t number = device.free_segments[best];
  device.free_segments.erase(device.free_segments.begin() + static_cast<ptrdiff_t>(best));
  Segment& segment = segments_[number];
  SegmentDescriptor& descriptor = segment.descriptor;
  if (best_score != 2) {
    if (!descriptor.tenant.empty() && descriptor.tenant != tenants_[key.first]) {
      descriptor.mixed = true;
    }
    descriptor.tenant = tenants_[key.first];
    descriptor.slot_bytes = key.second;
    descriptor.sequence = device.next_sequence++;
    segment.is_dirty = true;
  }
  segment.tenant = key.first;
  segment.slots = static_cast<uint32_t>(device.superblock.segment_bytes / key.second);
  segment.first_place = take_places(segment.slots);
  segment.free_head = segment.free_count = segment.used = segment.bad = 0;
  segment.is_draining = segment.is_listed = segment.is_recovering = false;
  ++classes_[key].segments;
  for (uint32_t i = segment.slots; i > 0; --i) {
    slot(segment.first_place + i - 1) = {number, 0, SlotState::kFree, 0, false};
    push_free(number, i - 1);
  }
  list(number);
  return number;
}

TierPlace Slots::take(uint32_t device, uint32_t tenant, uint64_t slot_bytes) {
  const ClassKey key = {tenant, slot_bytes};
  uint32_t number = open_segment(device, key);
  if (number == kNone) number = assign(device, key);
  if (number == kNone) return 0;
  Segment& segment = segments_[number];
  const TierPlace place = segment.first_place + segment.free_head - 1;
  Slot& found = slot(place);
  segment.free_head = found.value;
  --segment.free_count;
  --classes_[key].on[device].free;
  found.value = 0;
  found.state = SlotState::kWriting;
  ++segment.used;
  devices_[device].used_bytes += slot_bytes;
  return place;
}

void Slots::set_state(TierPlace place, SlotState state) {
  Slot& changed = slot(place);
  Segment& segment = segment_of(place);
  ClassOnDevice& of = counts_of(segment);
  const auto is_going = [](SlotState s) {
    return s == SlotState::kForgetting || s == SlotState::kForgotten;
  };
  if (is_going(changed.state)) --of.forgetting;
  if (is_going(state)) ++of.forgetting;
  if (changed.state == SlotState::kUnknown) {
    ++segment.used;
    devices_[segment.device].used_bytes += segment.descriptor.slot_bytes;
  }
  changed.state = state;
}

void Slots::free(TierPlace place) {
  set_state(place, SlotState::kWriting);  // leaves the counts of what goes
  const uint32_t number = slot(place).segment;
  Segment& segment = segments_[number];
  if (slot(place).is_bad) {
    ++segment.bad;
    return;  // stays used: its room is lost until the next start
  }
  --segment.used;
  devices_[segment.device].used_bytes -= segment.descriptor.slot_bytes;
  push_free(number, place - segment.first_place);
  if (segment.used == 0 && !segment.is_recovering) {
    release(number);
  } else {
    list(number);
  }
}

void Slots::release(uint32_t number) {
  Segment& segment = segments_[number];
  ClassOnDevice& of = counts_of(segment);
  if (!segment.is_draining) of.free -= segment.free_count;
  if (segment.is_listed) std::erase(of.open, number);
  --classes_[class_of(segment)].segments;
  give_places(segment.first_place, segment.slots);
  segment.first_place = 0;
  segment.slots = segment.free_head = segment.free_count = 0;
  segment.is_draining = segment.is_listed = false;
  if (draining_ == number) draining_ = kNone;
  devices_[segment.device].free_segments.push_back(number);
}

TierPlace Slots::recovering_place(uint32_t device, uint32_t segment_in_device,
                                  uint32_t slot_number) {
  if (segment_in_device >= segment_count(device)) return 0;
  const Segment& segment = segments_[segment_number(device, segment_in_device)];
  if (!segment.is_recovering || slot_number >= segment.slots) return 0;
  const TierPlace place = segment.first_place + slot_number;
  return slot(place).state == SlotState::kUnknown ? place : 0;
}

void Slots::end_recovery(uint32_t device) {
  for (uint32_t i = 0; i < segment_count(device); ++i) {
    const uint32_t number = segment_number(device, i);
    Segment& segment = segments_[number];
    if (!segment.is_recovering) continue;
    segment.is_recovering = false;
    for (uint32_t at = segment.slots; at > 0; --at) {
      if (slot(segment.first_place + at - 1).state == SlotState::kUnknown)
        push_free(number, at - 1);
    }
    if (segment.used == 0) {
      release(number);
    } else {
      list(number);
    }
  }
}

uint64_t Slots::room(uint32_t device, uint32_t tenant, uint64_t slot_bytes) const {
  const uint64_t in_segment = devices_[device].superblock.segment_bytes / slot_bytes;
  const uint64_t room = devices_[device].free_segments.size() * in_segment;
  const auto found = classes_.find({tenant, slot_bytes});
  if (found == classes_.end()) return room;
  const auto on = found->second.on.find(device);
  return on == found->second.on.end() ? room : room + on->second.free + on->second.forgetting;
}

// The class with the most segments gives the emptiest of them; not one that has as few as the one
// that asks, unless that has none: else two classes would take the same segment from each other.
uint32_t Slots::choose_donor(const ClassKey& wanted) {
  const uint32_t own = classes_[wanted].segments;
  uint32_t best = kNone;
  uint32_t best_segments = own == 0 ? 0 : own + 1;
  for (uint32_t i = 0; i < segments_.size(); ++i) {
    const Segment& segment = segments_[i];
    if (segment.first_place == 0 || segment.is_recovering || segment.bad > 0) continue;
    if (class_of(segment) == wanted) continue;
    if (devices_[segment.device].superblock.segment_bytes < wanted.second) continue;
    const uint32_t count = classes_[class_of(segment)].segments;
    const bool is_better = count > best_segments || (count == best_segments && best != kNone &&
                                                     segment.used < segments_[best].used);
    if (!is_better) continue;
    best = i;
    best_segments = count;
  }
  return best;
}

size_t Slots::make_room(uint32_t tenant, uint64_t slot_bytes, std::span<TierPlace> out) {
  const ClassKey wanted = {tenant, slot_bytes};
  if (draining_ == kNone) {
    draining_ = choose_donor(wanted);
    if (draining_ == kNone) return 0;
    Segment& donor = segments_[draining_];
    counts_of(donor).free -= donor.free_count;
    donor.is_draining = true;
  }
  const Segment& donor = segments_[draining_];
  size_t count = 0;
  for (uint32_t i = 0; i < donor.slots && count < out.size(); ++i) {
    if (slot(donor.first_place + i).state == SlotState::kValid)
      out[count++] = donor.first_place + i;
  }
  return count;
}

uint64_t Slots::used_bytes() const {
  uint64_t bytes = 0;
  for (const Device& device : devices_) bytes += device.used_bytes;
  return bytes;
}

uint32_t Slots::unprepared(uint32_t device) {
  for (const uint32_t number : devices_[device].free_segments) {
    Segment& segment = segments_[number];
    if (segment.descriptor.prepared || segment.is_preparing) continue;
    segment.is_preparing = true;
    return number;
  }
  return kNone;
}

void Slots::end_preparing(uint32_t number, bool is_prepared) {
  Segment& segment = segments_[number];
  segment.is_preparing = false;
  if (!is_prepared || segment.descriptor.prepared) return;
  segment.descriptor.prepared = true;
  ++devices_[segment.device].prepared;
}

}  // namespace kvtier::daemon::nvme
