// See event_ring.hpp.
#include "daemon/log/event_ring.hpp"

#include <algorithm>

namespace kvtier::daemon {

void EventRing::add(LogCode code, uint64_t realtime_ns, uint64_t suppressed,
                    std::string_view message) {
  const std::lock_guard lock(mutex_);
  LogEvent& event = events_[++last_ % events_.size()];
  event.sequence = last_;
  event.realtime_ns = realtime_ns;
  event.code = code;
  event.suppressed = suppressed;
  event.message.assign(message);
}

EventBatch EventRing::after(uint64_t sequence, size_t count_max) const {
  const std::lock_guard lock(mutex_);
  EventBatch batch;
  const uint64_t oldest = last_ >= events_.size() ? last_ - events_.size() + 1 : 1;
  if (sequence < oldest - 1) {
    batch.lost = oldest - 1 - sequence;
    sequence = oldest - 1;
  }
  while (sequence < last_ && batch.events.size() < count_max) {
    batch.events.push_back(events_[++sequence % events_.size()]);
  }
  return batch;
}

}  // namespace kvtier::daemon
