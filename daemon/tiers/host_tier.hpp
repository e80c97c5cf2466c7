// Host memory: segments of slots, each segment one sealed memfd of one tenant and one slot size.
// Creates, populates and frees segments on workers while serving; hands out free slots; knows
// nothing of keys, leases or policies. Core thread. Memory moves between tenants only by freeing a
// segment and creating another.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/memory/memfd.hpp"
#include "daemon/tiers/slot_table.hpp"
#include "daemon/workers/executor.hpp"
#include "kvtier/wire/types.hpp"

namespace kvtier::daemon {

enum class Want : uint8_t { kAuto, kNever, kRequire };

struct HostTierOptions {
  uint64_t capacity_bytes = 0;                  // of all segments together; 0: off
  uint64_t segment_bytes_min = 32 * wire::MiB;  // a power of two
  Want huge_pages = Want::kAuto;
  Want lock = Want::kAuto;
  uint64_t slots_max = 0;  // ids in the slot table
  uint64_t epoch = 0;
  uint64_t next_uid = 1;
  // Of the machine and the daemon's control group; asked on workers. Empty: never a reason to stop.
  std::function<uint64_t()> memory_left_bytes = {};
};

using TenantNumber = uint32_t;

struct Segment {
  TenantNumber tenant = 0;
  uint32_t number = 0;  // within the tenant, as in places
  uint64_t uid = 0;     // unique in the epoch
  Memfd memory;
  Fd read_only;
  uint64_t slot_bytes = 0;
  uint64_t accounted_bytes = 0;  // of the capacity
  uint32_t slots = 0;
  SlotId first = kNoSlot;
  uint32_t populated = 0;  // slots that may be used
  uint32_t queued = 0;     // slots whose population was asked for
  uint32_t used = 0;       // not free: granted, valid, retired, quarantined
  bool draining = false;   // no slot of it is handed out any more
  bool locked = true;      // in memory, as far as populated
  bool growth = true;      // until populated it counts as memory that is on its way
  uint32_t registered =
      0;  // slots, from the first, that the tier below knows (Tier::register_memory)

  uint64_t bytes() const { return memory.mapping.bytes(); }
};

// Told about segments so that it can publish them. Core thread.
class SegmentListener {
 public:
  virtual ~SegmentListener() = default;
  // Before anybody learns of it. An error, and the segment is not made.
  virtual Status segment_made(const Segment& segment) = 0;
  virtual void segment_created(const Segment& segment) = 0;
  virtual void segment_freed(const Segment& segment) = 0;
};

enum class Growth : uint8_t {
  kStarted,   // a segment is being created now
  kUnderWay,  // one was being created or populated already
  kNoRoom,    // the capacity is used up by segments
  kTooSmall,  // the whole capacity does not hold one slot of this size
  kFailed,    // the last attempt failed (message()); tried again after a while
};

class HostTier {
 public:
  static Result<std::unique_ptr<HostTier>> create(const HostTierOptions& options,
                                                  Executor& executor, SegmentListener& listener);

  // On the slot table of the daemon before.
  static Result<std::unique_ptr<HostTier>> adopt(const HostTierOptions& options, Executor& executor,
                                                 SegmentListener& listener,
                                                 std::unique_ptr<SlotTable> slots);
  // A segment of the daemon before, with its number and slots; in no order. Its slots are handed
  // out only after settle(), which counts them by their states. Errors: corrupt (its number or
  // slots are another's, or the memory is too small).
  Result<Segment*> adopt_segment(Segment segment);
  // After the last of them. Errors: corrupt.
  Status adopted();
  void settle(Segment& segment);

  // A free slot of the size, state still kFree; kNoSlot when there is none at the moment.
  SlotId take(TenantNumber tenant, uint64_t slot_bytes);
  // The slot is free again; nobody can read or write it.
  void give_back(SlotId slot);
  // Asks for another segment of the size for the tenant.
  Growth grow(TenantNumber tenant, uint64_t slot_bytes, uint64_t now_ns);
  // Grows ahead of need when free slots run low and there is room.
  void grow_ahead(TenantNumber tenant, uint64_t slot_bytes, uint64_t now_ns);

  // Goes on with what a full job queue interrupted; once in a while.
  void tend();

  // No slot of the segment is handed out any more; it is freed when the last used one is given
  // back.
  void drain(Segment& segment);

  SlotTable& slots() { return *slots_; }
  Segment& segment_of(SlotId slot) { return *segments_[segment_of_slot_[slot]]; }
  std::byte* data(SlotId slot);
  wire::Place place(SlotId slot);
  // The slot that a place names, if it exists; the generation is not compared.
  SlotId slot_at(TenantNumber tenant, wire::Place place) const;
  Segment* find_segment(TenantNumber tenant, uint32_t number);

  template <typename Visit>
  void each_segment(Visit&& visit) {
    for (auto& segment : segments_) {
      if (segment != nullptr) visit(*segment);
    }
  }

  const HostTierOptions& options() const { return options_; }
  uint64_t allocated_bytes() const { return allocated_bytes_; }
  uint64_t tenant_bytes(TenantNumber tenant) const;
  uint64_t free_slots(TenantNumber tenant, uint64_t slot_bytes) const;
  bool growing(TenantNumber tenant, uint64_t slot_bytes) const;
  uint64_t segment_bytes_for(uint64_t slot_bytes) const;
  // What went wrong last with memory, for operators; empty if nothing.
  const std::string& message() const { return message_; }
  bool huge_pages() const { return huge_pages_; }
  uint64_t unlocked_bytes() const { return unlocked_bytes_; }

 private:
  struct Pool {
    std::vector<SlotId> free;
    uint32_t growing = 0;    // segments being created, or not wholly populated
    uint64_t failed_ns = 0;  // time of the last failure, 0: none
    uint32_t slots = 0;      // populated
  };
  struct Tenant {
    std::map<uint64_t, Pool> pools;           // by slot size
    std::vector<uint32_t> segments;           // number -> index in segments_, or none
    std::vector<uint32_t> generation_floors;  // number -> lowest usable generation
    uint64_t bytes = 0;
  };
  struct Creation;
  Segment& enlist(std::unique_ptr<Segment> segment);

  HostTier(const HostTierOptions& options, Executor& executor, SegmentListener& listener);
  Tenant& tenant(TenantNumber number);
  const Pool* find_pool(TenantNumber tenant, uint64_t slot_bytes) const;
  bool pick_number(Tenant& tenant, uint32_t* number);
  void created(const std::shared_ptr<Creation>& creation);
  void populate_next(Segment& segment);
  void free_if_drained(Segment& segment);

  HostTierOptions options_;
  Executor& executor_;
  SegmentListener& listener_;
  std::unique_ptr<SlotTable> slots_;
  std::vector<Tenant> tenants_;
  std::vector<std::unique_ptr<Segment>> segments_;
  std::vector<uint32_t> segment_of_slot_;  // by slot id
  uint64_t allocated_bytes_ = 0;           // created or being created
  uint64_t unlocked_bytes_ = 0;
  uint64_t next_uid_ = 1;
  uint64_t clock_ns_ = 0;  // of the last call that had the time
  bool huge_pages_ = false;
  std::string message_;
  std::vector<std::pair<SlotId, uint32_t>> adopted_runs_;
};

}  // namespace kvtier::daemon
