// The rows of the messages and the document made from them. Constant data.
#include "daemon/log/log_codes.hpp"

#include <array>
#include <cstddef>

namespace kvtier::daemon {
namespace {

constexpr std::array kRows = {
#define KVTIER_LOG_CODE(name, number, level, summary, remedy) \
  LogCodeRow{#name, number, LogLevel::level, summary, remedy},
#include "daemon/log/log_codes.inc"
#undef KVTIER_LOG_CODE
};
static_assert(kRows.size() == static_cast<size_t>(LogCode::kCount));

constexpr bool numbers_ascend() {
  for (size_t i = 1; i < kRows.size(); ++i) {
    if (kRows[i - 1].number >= kRows[i].number) return false;
  }
  return kRows.front().number >= 1000 && kRows.back().number <= 9999;
}
static_assert(numbers_ascend(), "log_codes.inc: sort the rows by number, use each number once");

}  // namespace

std::span<const LogCodeRow> log_code_rows() {
  return kRows;
}

const LogCodeRow& log_code_row(LogCode code) {
  return kRows.at(static_cast<size_t>(code));
}

std::string log_code_name(LogCode code) {
  std::string name;
  for (const char c : log_code_row(code).enumerator.substr(1)) {
    const bool upper = c >= 'A' && c <= 'Z';
    if (upper && !name.empty()) name += '_';
    name += upper ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return name;
}

std::string_view log_level_name(LogLevel level) {
  constexpr std::array<std::string_view, 4> kNames = {"debug", "info", "warning", "error"};
  return kNames.at(static_cast<size_t>(level));
}

std::string messages_document() {
  std::string out =
      "# Messages of kvtierd\n\n"
      "Every message in the log starts with a code that keeps its meaning across versions. Each "
      "code\n"
      "is limited in rate; a message says how many of its kind were suppressed before it. The log\n"
      "never contains token ids or salts, and of a key at most the first 8 hex digits.\n\n"
      "This page is made from `daemon/log/log_codes.inc`; a test compares them.\n\n"
      "| code | level | what it means | what to do |\n| --- | --- | --- | --- |\n";
  for (const LogCodeRow& row : kRows) {
    out += "| KV" + std::to_string(row.number) + " | " + std::string(log_level_name(row.level)) +
           " | " + std::string(row.summary) + " | " + std::string(row.remedy) + " |\n";
  }
  return out;
}

}  // namespace kvtier::daemon
