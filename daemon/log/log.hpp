// The daemon's log. Any thread, the core thread included: a call formats into a fixed buffer and
// puts the line into a bounded queue; a thread of the log writes it. When the reader is slow the
// oldest lines are dropped and counted: no caller ever waits for a terminal, a pipe or the journal.
// Library code does not log; it returns an Error. Token ids, salts and whole keys are never logged:
// arguments are numbers and text only, and a key is shown through key_prefix.hpp.
#pragma once

#include <fmt/core.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

#include "daemon/log/event_ring.hpp"
#include "daemon/log/log_codes.hpp"
#include "daemon/log/log_level.hpp"
#include "kvtier/result.hpp"

namespace kvtier::daemon {

// Longer messages are cut; even when every byte has to be escaped, a line stays below PIPE_BUF.
inline constexpr size_t kLogMessageBytesMax = 960;
inline constexpr uint64_t kLogBurstMax = 20;               // of one code at once,
inline constexpr uint64_t kLogIntervalNs = 1'000'000'000;  // then one a second

struct LogOptions {
  LogFormat format = LogFormat::kAuto;
  LogLevel level = LogLevel::kInfo;
  int fd = 2;                                   // not closed; must outlive the log
  size_t queue_lines_max = 1024;                // about 400 bytes each
  uint64_t stop_wait_ns = 500'000'000;          // what a reader that does not read gets at the end
  std::function<uint64_t()> monotonic_ns = {};  // for tests; empty: the machine's clocks
  std::function<uint64_t()> realtime_ns = {};
};

// One log with its thread. The daemon has one, see start_log(); tests make their own.
class Log {
 public:
  // Errors: system (no thread or descriptor to be had).
  static Result<std::unique_ptr<Log>> open(const LogOptions& options);
  // Writes what is queued, and how many messages were suppressed, but waits no longer than
  // stop_wait_ns for a reader. No other thread may still use the log.
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  bool wants(LogLevel level) const;
  void set_level(LogLevel level);

  void event(LogCode code, fmt::string_view format, fmt::format_args arguments);
  void debug(fmt::string_view format, fmt::format_args arguments);

  // The newest messages with a code, as far as `level` lets them through.
  const EventRing& events() const;
  // Of this log, so that sequences of two daemons are not taken for one.
  uint64_t opened_ns() const;

  uint64_t lines_dropped() const;        // because the reader was slow
  uint64_t messages_suppressed() const;  // by the rate limit

 private:
  struct Parts;
  explicit Log(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

// The log of the process. Before start_log() and after stop_log() messages go nowhere. Both are for
// the main thread, while no other thread logs.
Status start_log(const LogOptions& options);
void stop_log();
Log* process_log();  // null if there is none

// What a message may be made of.
template <typename T>
concept Loggable = std::is_arithmetic_v<std::remove_cvref_t<T>> ||
                   std::convertible_to < const std::remove_cvref_t<T>
&, std::string_view > ;

// Writes a message at the level of its row: log_event(LogCode::kReady, "serving on {}", path).
template <Loggable... Arguments>
void log_event(LogCode code, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  Log* log = process_log();
  if (log == nullptr || !log->wants(log_code_row(code).level)) return;
  log->event(code, format, fmt::make_format_args(arguments...));
}

// For the person who debugs the daemon: without a code and without a limit, off by default.
template <Loggable... Arguments>
void log_debug(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  Log* log = process_log();
  if (log == nullptr || !log->wants(LogLevel::kDebug)) return;
  log->debug(format, fmt::make_format_args(arguments...));
}

}  // namespace kvtier::daemon
