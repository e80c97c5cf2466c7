// The two words that configure the log. Plain enums, so that the configuration can hold them.
#pragma once

#include <cstdint>

namespace kvtier::daemon {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };

// kAuto: journal under the service manager, text on a terminal, logfmt otherwise.
enum class LogFormat : uint8_t { kAuto, kJournal, kLogfmt, kText };

}  // namespace kvtier::daemon
