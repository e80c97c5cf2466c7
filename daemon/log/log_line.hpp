// How a message looks: for the journal, as logfmt, or for a person. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "daemon/log/log_level.hpp"

namespace kvtier::daemon {

struct LogRecord {
  uint64_t realtime_ns = 0;  // since 1970, UTC
  LogLevel level = LogLevel::kInfo;
  uint16_t number = 0;  // of the code; 0: a debug message without one
  uint64_t suppressed = 0;
  std::string_view message;
};

// journal: <4>KV2004: message (3 more suppressed)
// logfmt:  ts=2026-01-02T03:04:05.678Z level=warning code=KV2004 msg="message" suppressed=3
// text:    2026-01-02 03:04:05.678 warning KV2004: message (3 more suppressed)
// Ends with a newline and has no other: control characters become escapes, so that what a client
// says cannot forge a line.
std::string render_line(LogFormat format, const LogRecord& record);

// 2026-01-02T03:04:05.678Z
std::string utc_text(uint64_t realtime_ns);

// What kAuto means for this descriptor: journal if the service manager says that it reads it
// ($JOURNAL_STREAM names its device and inode), text on a terminal, else logfmt.
LogFormat choose_log_format(LogFormat format, int fd);

}  // namespace kvtier::daemon
