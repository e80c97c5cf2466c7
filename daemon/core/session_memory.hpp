// One session's shared memory, as the daemon sees it: created, sealed and laid out here. The layout
// words in the memory are for the client; the daemon believes only its own copies below.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "daemon/memory/memfd.hpp"
#include "kvtier/wire/plan_record.hpp"
#include "kvtier/wire/session.hpp"

namespace kvtier::daemon {

// Sizes in entries (powers of two where rings) and bytes.
struct SessionLayout {
  uint32_t submission_entries = 256;
  uint32_t completion_entries = 1024;
  uint32_t lease_cells = 4096;
  uint32_t touch_entries = 16384;
  uint64_t argument_bytes = wire::MiB;
};
// Records of plans, for `kvtier explain`. Not part of the layout: those of a session of the daemon
// before are not read.
inline constexpr uint32_t kPlanEntries = 64;

class SessionMemory {
 public:
  // Errors: system, out_of_memory.
  static Result<SessionMemory> create(const SessionLayout& layout, uint32_t session,
                                      uint64_t epoch);

  // That of a session of the daemon before; `layout` is what the manifest says. Errors: corrupt
  // (the memory is not of that layout), system.
  static Result<SessionMemory> adopt(Fd fd, const SessionLayout& layout);

  const SessionLayout& layout() const { return layout_; }
  const Fd& fd() const { return memory_.fd; }
  uint64_t bytes() const { return memory_.mapping.bytes(); }

  wire::SessionHeader& header() const { return *header_; }
  const wire::Submission& submission(uint32_t index) const {
    return submissions_[index & (layout_.submission_entries - 1)];
  }
  wire::Completion& completion(uint32_t index) const {
    return completions_[index & (layout_.completion_entries - 1)];
  }
  uint64_t touch(uint32_t index) const {
    return touches_[index & (layout_.touch_entries - 1)].load(std::memory_order_relaxed);
  }
  // Cells that were ever used, by the client's word, cut to what exists.
  uint32_t cells_used() const {
    const uint32_t mark = header_->cells_high_water.load(std::memory_order_acquire);
    return mark < layout_.lease_cells ? mark : layout_.lease_cells;
  }
  uint64_t cell(uint32_t index) const { return cells_[index].load(std::memory_order_acquire); }
  std::byte* arguments() const { return arguments_; }
  // Null where the memory is of a daemon before.
  const wire::PlanCell* plan(uint32_t index) const {
    return plans_ == nullptr ? nullptr : &plans_[index & (kPlanEntries - 1)];
  }

 private:
  SessionMemory() = default;
  struct Parts;
  static Parts parts_of(const SessionLayout& layout);
  void point_at(const Parts& parts);

  SessionLayout layout_;
  Memfd memory_;
  wire::SessionHeader* header_ = nullptr;
  const wire::Submission* submissions_ = nullptr;
  wire::Completion* completions_ = nullptr;
  const std::atomic<uint64_t>* cells_ = nullptr;
  const std::atomic<uint64_t>* touches_ = nullptr;
  std::byte* arguments_ = nullptr;
  const wire::PlanCell* plans_ = nullptr;
};

}  // namespace kvtier::daemon
