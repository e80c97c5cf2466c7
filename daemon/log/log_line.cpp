// How a message looks. Pure, but for choose_log_format, which looks at a descriptor.
#include "daemon/log/log_line.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "daemon/log/log_codes.hpp"

namespace kvtier::daemon {
namespace {

enum class Quotes : uint8_t { kKeep, kEscape };

void append_escaped(std::string& out, std::string_view text, Quotes quotes) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, c == '\n' ? "\\n" : "\\x%02x", byte);
      out += escape;
      continue;
    }
    if (quotes == Quotes::kEscape && (c == '"' || c == '\\')) out += '\\';
    out += c;
  }
}

std::string time_text(uint64_t realtime_ns, const char* pattern) {
  const auto seconds = static_cast<time_t>(realtime_ns / 1'000'000'000);
  const auto milliseconds = static_cast<unsigned>(realtime_ns / 1'000'000 % 1000);
  tm parts{};
  gmtime_r(&seconds, &parts);
  char date[40], text[48];
  if (std::strftime(date, sizeof date, pattern, &parts) == 0) date[0] = 0;
  std::snprintf(text, sizeof text, "%s.%03u", date, milliseconds);
  return text;
}

// Of syslog(3).
char priority(LogLevel level) {
  constexpr char kPriorities[] = {'7', '6', '4', '3'};
  return kPriorities[static_cast<size_t>(level)];
}

void append_message(std::string& out, const LogRecord& record) {
  if (record.number != 0) out += "KV" + std::to_string(record.number) + ": ";
  append_escaped(out, record.message, Quotes::kKeep);
  if (record.suppressed != 0) {
    out += " (" + std::to_string(record.suppressed) + " more suppressed)";
  }
}

}  // namespace

std::string render_line(LogFormat format, const LogRecord& record) {
  std::string out;
  if (format == LogFormat::kJournal) {
    out += {'<', priority(record.level), '>'};
    append_message(out, record);
  } else if (format == LogFormat::kText) {
    out += time_text(record.realtime_ns, "%Y-%m-%d %H:%M:%S") + " ";
    out += std::string(log_level_name(record.level)) + " ";
    append_message(out, record);
  } else {
    out += "ts=" + utc_text(record.realtime_ns);
    out += " level=" + std::string(log_level_name(record.level));
    if (record.number != 0) out += " code=KV" + std::to_string(record.number);
    out += " msg=\"";
    append_escaped(out, record.message, Quotes::kEscape);
    out += '"';
    if (record.suppressed != 0) out += " suppressed=" + std::to_string(record.suppressed);
  }
  return out + "\n";
}

std::string utc_text(uint64_t realtime_ns) {
  return time_text(realtime_ns, "%Y-%m-%dT%H:%M:%S") + "Z";
}

LogFormat choose_log_format(LogFormat format, int fd) {
  if (format != LogFormat::kAuto) return format;
  struct stat found;
  const char* stream = std::getenv("JOURNAL_STREAM");
  if (stream != nullptr && fstat(fd, &found) == 0) {
    const std::string name = std::to_string(found.st_dev) + ":" + std::to_string(found.st_ino);
    if (name == stream) return LogFormat::kJournal;
  }
  return isatty(fd) == 1 ? LogFormat::kText : LogFormat::kLogfmt;
}

}  // namespace kvtier::daemon
