// The writing end of the session's touch log (protocol.md, section 5). Any thread, one short lock a
// batch; never waits for the daemon: what does not fit is dropped and counted by the caller.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "kvtier/wire/session.hpp"

namespace kvtier::client {

class TouchLog {
 public:
  TouchLog(wire::SessionHeader* header, std::atomic<uint64_t>* ring, uint32_t entries)
      : header_(header),
        ring_(ring),
        entries_(entries),
        tail_(header->touch_tail.load(std::memory_order_relaxed)) {}

  // Logs next() until it gives an empty place. Returns the number dropped.
  template <typename Next>
  uint64_t append(Next&& next) {
    const std::lock_guard lock(mutex_);
    uint64_t dropped = 0;
    uint32_t room = entries_ - (tail_ - header_->touch_head.load(std::memory_order_acquire));
    if (room > entries_) room = 0;  // a head that is ahead of the tail is not believed
    for (uint64_t word = next(); word != 0; word = next()) {
      if (room == 0) {
        ++dropped;
        continue;
      }
      ring_[tail_ & (entries_ - 1)].store(word, std::memory_order_relaxed);
      ++tail_;
      --room;
    }
    header_->touch_tail.store(tail_, std::memory_order_release);
    return dropped;
  }

 private:
  wire::SessionHeader* header_;
  std::atomic<uint64_t>* ring_;
  uint32_t entries_;
  std::mutex mutex_;
  uint32_t tail_;
};

}  // namespace kvtier::client
