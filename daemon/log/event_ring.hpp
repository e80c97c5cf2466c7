// The newest messages of the log, kept in memory for `kvtier events` and support bundles: a bounded
// ring, the oldest fall out. Any thread; a short lock, taken at the log's limited rate only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/log/log_codes.hpp"

namespace kvtier::daemon {

struct LogEvent {
  uint64_t sequence = 0;     // from 1, without gaps, in the order of adding
  uint64_t realtime_ns = 0;  // since 1970, UTC
  LogCode code = LogCode::kReady;
  uint64_t suppressed = 0;  // messages of this code that the rate limit held back before this one
  std::string message;
};

struct EventBatch {
  std::vector<LogEvent> events;  // oldest first
  uint64_t lost = 0;             // fell out before they were asked for
};

class EventRing {
 public:
  static constexpr size_t kEventsMax = 1024;

  explicit EventRing(size_t events_max = kEventsMax) : events_(events_max) {}

  void add(LogCode code, uint64_t realtime_ns, uint64_t suppressed, std::string_view message);
  // At most `count_max` events after the one with this sequence: the oldest of them, so that asking
  // again with the last one's sequence goes through all.
  EventBatch after(uint64_t sequence, size_t count_max) const;

 private:
  mutable std::mutex mutex_;
  std::vector<LogEvent> events_;  // the one with sequence s at s % size
  uint64_t last_ = 0;
};

}  // namespace kvtier::daemon
