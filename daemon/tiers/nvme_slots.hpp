// Which slot of which segment of which device holds what: allocation, and what of it can be given
// back. Memory only; 12 bytes a slot. Core thread; never reads or writes a device.
//
// A segment belongs to one tenant and one slot size while it holds anything; empty, it is free for
// all. Places are numbered from the bottom, a run of them for each segment in use.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "daemon/tiers/nvme_format.hpp"
#include "daemon/tiers/tier.hpp"

namespace kvtier::daemon::nvme {

enum class SlotState : uint8_t {
  kFree,
  kUnknown,  // after a restart, until its record was found or the last one was
  kWriting,
  kValid,
  kForgetting,  // its record's removal is queued
  kForgotten,   // removed, but still being read
};

struct Slot {
  uint32_t segment = 0;  // index into segments()
  uint32_t value = 0;    // free: 1 + the next free slot of the segment, or 0; else pages written
  SlotState state = SlotState::kFree;
  uint8_t readers = 0;
  bool is_bad = false;  // could not be read: not used again by this process
};
static_assert(sizeof(Slot) == 12);

struct Segment {
  uint32_t device = 0;
  uint32_t tenant = 0;           // index into tenants()
  SegmentDescriptor descriptor;  // as on the device, or on its way there
  TierPlace first_place = 0;     // 0: free
  uint32_t slots = 0;
  uint32_t free_head = 0;
  uint32_t free_count = 0;
  uint32_t used = 0;  // slots in any state but free and unknown
  uint32_t bad = 0;
  bool is_recovering = false;
  bool is_draining = false;
  bool is_preparing = false;
  bool is_dirty = false;   // the descriptor is not on the device: before anything else
  bool is_listed = false;  // in its class's list of segments with free slots
};

class Slots {
 public:
  // Descriptors of all its segments, in order. The segments that are assigned are recovering.
  uint32_t add_device(const Superblock& superblock, std::vector<SegmentDescriptor> descriptors);

  uint32_t intern_tenant(const std::string& name);
  const std::vector<std::string>& tenants() const { return tenants_; }

  // A free slot, or 0. Where its segment is dirty, the descriptor is to be written before it.
  TierPlace take(uint32_t device, uint32_t tenant, uint64_t slot_bytes);
  void free(TierPlace place);

  Slot& slot(TierPlace place) { return slots_[place - 1]; }
  bool is_place(TierPlace place) const { return place > 0 && place <= slots_.size(); }
  Segment& segment(uint32_t number) { return segments_[number]; }
  Segment& segment_of(TierPlace place) { return segments_[slot(place).segment]; }
  uint32_t segment_count(uint32_t device) const { return devices_[device].superblock.segments; }
  uint32_t segment_number(uint32_t device, uint32_t segment) const {
    return devices_[device].first_segment + segment;
  }
  uint32_t slot_in_segment(TierPlace place) { return place - segment_of(place).first_place; }
  uint64_t offset_of(TierPlace place);
  uint64_t slots_max() const { return slots_max_; }

  // State changes that counters follow.
  void set_state(TierPlace place, SlotState state);

  // The place of a recovering segment's slot, or 0.
  TierPlace recovering_place(uint32_t device, uint32_t segment, uint32_t slot);
  // What was not found is free.
  void end_recovery(uint32_t device);

  uint64_t room(uint32_t device, uint32_t tenant, uint64_t slot_bytes) const;
  uint32_t device_of(TierPlace place) const { return segments_[slots_[place - 1].segment].device; }
  size_t make_room(uint32_t tenant, uint64_t slot_bytes, std::span<TierPlace> out);

  uint64_t used_bytes(uint32_t device) const { return devices_[device].used_bytes; }
  uint64_t used_bytes() const;
  // A free segment that was never written whole, or UINT32_MAX.
  uint32_t unprepared(uint32_t device);
  void end_preparing(uint32_t segment, bool is_prepared);
  uint64_t prepared_segments(uint32_t device) const { return devices_[device].prepared; }

 private:
  struct Device {
    Superblock superblock;
    uint32_t first_segment = 0;
    uint64_t used_bytes = 0;
    uint32_t next_sequence = 1;
    uint32_t prepared = 0;
    std::vector<uint32_t> free_segments;
  };
  using ClassKey = std::pair<uint32_t, uint64_t>;  // tenant, slot bytes
  struct ClassOnDevice {
    uint64_t free = 0;           // slots
    uint64_t forgetting = 0;     // slots that will be
    std::vector<uint32_t> open;  // segments with free slots
  };
  struct Class {
    uint32_t segments = 0;
    std::map<uint32_t, ClassOnDevice> on;  // by device
  };
  uint32_t open_segment(uint32_t device, const ClassKey& key);
  uint32_t assign(uint32_t device, const ClassKey& key);
  void list(uint32_t segment);
  void release(uint32_t segment);
  void push_free(uint32_t segment, uint32_t slot);
  TierPlace take_places(uint32_t count);
  void give_places(TierPlace first, uint32_t count);
  ClassOnDevice& counts_of(const Segment& segment) {
    return classes_[class_of(segment)].on[segment.device];
  }
  ClassKey class_of(const Segment& segment) const {
    return {segment.tenant, segment.descriptor.slot_bytes};
  }
  uint32_t choose_donor(const ClassKey& wanted);

  std::vector<Device> devices_;
  std::vector<Segment> segments_;
  std::vector<Slot> slots_;
  std::vector<std::string> tenants_;
  std::map<ClassKey, Class> classes_;
  std::map<TierPlace, uint32_t> free_places_;  // runs: first place, how many
  uint32_t draining_ = UINT32_MAX;
  uint64_t slots_max_ = 0;
};

}  // namespace kvtier::daemon::nvme
