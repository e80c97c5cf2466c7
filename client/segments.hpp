// The segments that this attachment has mapped: looked up without a lock by every match and load,
// mapped at first use, given up when the daemon publishes another uid for their number.
//
// A mapping is found through one atomic pointer a segment number. It is unmapped only after it was
// taken from the table and both reader counts were seen at zero since: whoever could still have it
// (a Use, taken before the table is read) counts in one of them, and new ones do not find it.
// tests/client/segments_test.cpp interleaves it. What is in a segment is written by all clients of
// the tenant; this file reads none of it.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "client/control.hpp"
#include "client/mapping.hpp"
#include "kvtier/wire/lookup.hpp"

namespace kvtier::client {

struct SegmentMapping {
  uint32_t number = 0;
  uint64_t uid = 0;
  uint32_t slots = 0;
  uint64_t slot_bytes = 0;
  Mapping memory;
  // By slot: what was found in the header of which generation (header_check.hpp); 0 nothing.
  // From calloc, so that it costs memory only where it is used.
  struct Free {
    void operator()(std::atomic<uint64_t>* words) const;
  };
  std::unique_ptr<std::atomic<uint64_t>[], Free> verified;
  // Maintenance thread only: how far the memory is populated, and what says where it has holes.
  uint64_t populated_bytes = 0;
  Fd file;

  std::byte* slot(uint32_t number_of_slot) const {
    return memory.data() + number_of_slot * slot_bytes;
  }
};

class Segments {
 public:
  // Holds every mapping found while it lives. Move-only; cheap: one atomic add.
  class Use {
   public:
    Use() = default;
    explicit Use(Segments* segments) : segments_(segments), side_(segments->enter()) {}
    Use(Use&& other) noexcept
        : segments_(std::exchange(other.segments_, nullptr)), side_(other.side_) {}
    Use& operator=(Use&& other) noexcept {
      end();
      segments_ = std::exchange(other.segments_, nullptr);
      side_ = other.side_;
      return *this;
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() { end(); }
    void end() {
      if (segments_ != nullptr) segments_->leave(side_);
      segments_ = nullptr;
    }

   private:
    Segments* segments_ = nullptr;
    uint32_t side_ = 0;
  };

  // Throws bad_alloc. `kick_fd` wakes the maintenance thread when there is memory to populate.
  Segments(const wire::PublishedView& view, ControlChannel* control, Access access, int kick_fd);
  ~Segments();

  // The mapping of a place's segment as it is published now, or null when it is not mapped yet (or
  // the place is out of its bounds). For holders of a Use. No system call.
  const SegmentMapping* find(wire::Place place) const {
    if (place.segment() >= segments_max_) return nullptr;
    const SegmentMapping* mapping = table_[place.segment()].load(std::memory_order_acquire);
    if (mapping == nullptr || place.slot() >= mapping->slots) return nullptr;
    const uint64_t uid = view_.segments[place.segment()].uid.load(std::memory_order_acquire);
    return mapping->uid == uid ? mapping : nullptr;
  }
  // find(), asking the daemon for the segment when needed. Throws bad_alloc.
  // Errors: deadline, unavailable, not_found (the segment is gone), incompatible, system.
  Result<const SegmentMapping*> get(wire::Place place, Clock::time_point deadline);

  // For the maintenance thread. tick() gives up mappings whose segment is gone; populate() does one
  // piece and says whether there is more to do. Only what the daemon has filled is populated: a
  // page that this process were the first to touch would be charged to the engine's memory.
  void tick();
  bool populate();
  bool any() const { return mapped_.load(std::memory_order_relaxed) != 0; }
  // For tests: mappings populated, and mappings given up but not unmapped yet.
  uint64_t populated() const { return populated_.load(std::memory_order_relaxed); }
  size_t retired() {
    const std::lock_guard lock(mutex_);
    return retired_.size() + dying_.size();
  }

 private:
  friend class Use;
  // seq_cst: comes before the table is read, see retire().
  uint32_t enter() {
    const uint32_t side = side_.load(std::memory_order_relaxed);
    readers_[side].count.fetch_add(1, std::memory_order_seq_cst);
    return side;
  }
  void leave(uint32_t side) { readers_[side].count.fetch_sub(1, std::memory_order_release); }

  Result<const SegmentMapping*> map(uint32_t number, uint64_t uid, Clock::time_point deadline);
  void retire(SegmentMapping* mapping);
  void reclaim();

  struct alignas(64) Readers {
    std::atomic<uint64_t> count{0};
  };
  const wire::PublishedView view_;
  const uint32_t segments_max_;
  ControlChannel* const control_;
  const Access access_;
  const int kick_fd_;
  std::unique_ptr<std::atomic<SegmentMapping*>[]> table_;
  std::atomic<uint32_t> mapped_{0};
  std::atomic<uint64_t> populated_{0};
  std::atomic<uint32_t> side_{0};
  std::array<Readers, 2> readers_;

  std::mutex mutex_;  // of what is below; never held during a system call that could wait
  std::vector<std::unique_ptr<SegmentMapping>> mappings_;
  std::vector<std::unique_ptr<SegmentMapping>> retired_;  // since the last reclaim began
  std::vector<std::unique_ptr<SegmentMapping>> dying_;    // out of the table since before
  std::array<bool, 2> seen_empty_ = {};                   // since dying_ was filled
};

}  // namespace kvtier::client
