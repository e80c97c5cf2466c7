// The writing end of the session's ring of plan records (protocol.md, section 5). Any thread, one
// short lock a record; never waits: the oldest record is overwritten. Nothing is written for a
// daemon that gave no room.
#pragma once

#include <mutex>

#include "kvtier/wire/plan_record.hpp"
#include "kvtier/wire/session.hpp"

namespace kvtier::client {

class PlanLog {
 public:
  PlanLog(wire::SessionHeader* header, wire::PlanCell* cells, uint32_t entries)
      : header_(header),
        cells_(cells),
        entries_(entries),
        tail_(header->plan_tail.load(std::memory_order_relaxed)) {}

  bool kept() const { return entries_ != 0; }
  void append(const wire::PlanRecord& record) {
    if (!kept()) return;
    const std::lock_guard lock(mutex_);
    wire::write_plan_cell(cells_[tail_ & (entries_ - 1)], tail_, record);
    header_->plan_tail.store(++tail_, std::memory_order_release);
  }

 private:
  wire::SessionHeader* header_;
  wire::PlanCell* cells_;
  uint32_t entries_;
  std::mutex mutex_;
  uint32_t tail_;
};

}  // namespace kvtier::client
