// Which messages the daemon can log: one row each in log_codes.inc, with a stable code that stands
// in the log and in docs/messages.md. Constant data, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "daemon/log/log_level.hpp"

namespace kvtier::daemon {

// In the order of the numbers; the values are positions in log_code_rows().
enum class LogCode : uint16_t {
#define KVTIER_LOG_CODE(name, number, level, summary, remedy) name,
#include "daemon/log/log_codes.inc"
#undef KVTIER_LOG_CODE
  kCount
};

struct LogCodeRow {
  std::string_view enumerator;  // "kSessionAttached"
  uint16_t number;
  LogLevel level;
  std::string_view summary;
  std::string_view remedy;
};

std::span<const LogCodeRow> log_code_rows();
const LogCodeRow& log_code_row(LogCode code);

std::string log_code_name(LogCode code);          // "session_attached"
std::string_view log_level_name(LogLevel level);  // "warning"

// docs/messages.md is this text, checked by a test.
std::string messages_document();

}  // namespace kvtier::daemon
