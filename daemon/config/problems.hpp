// What is wrong with a configuration, where, and what to do: values and their rendering in the
// style of a compiler. Pure, any thread. Never prints.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvtier::daemon {

// One row a kind of problem; the code is stable and documented in kvtier.toml(5).
enum class ProblemCode : uint8_t {
  kSyntax,
  kUnreadable,
  kUnknownName,
  kWrongType,
  kBadValue,
  kOutOfRange,
  kNotAChoice,
  kMissing,
  kDuplicate,
  kConflict,
  kUnsupported,
  kTooMany,
};
struct ProblemRow {
  ProblemCode code;
  std::string_view name;  // "C001"
  std::string_view summary;
};
std::span<const ProblemRow> problem_rows();

struct ConfigProblem {
  std::string code;  // "C003"
  std::string file;
  uint32_t line = 0;    // from 1; 0: the problem has no place in the text
  uint32_t column = 0;  // from 1, in characters
  uint32_t width = 1;   // characters to underline
  std::string text_line;
  std::string message;
  std::string label;  // short, behind the carets; may be empty
  std::string help;   // what to do; may be empty
};

// A program reports this many and then says that there are more.
inline constexpr size_t kProblemsMax = 100;

enum class Color : uint8_t { kNever, kAlways };

// error[C003]: unknown option 'capacty' in [host]
//   --> /etc/kvtier/kvtier.toml:27:1
//    |
// 27 | capacty = "4TiB"
//    | ^^^^^^^
//    = help: did you mean 'capacity'?
// Control characters of the text are shown as '?', so that a file cannot drive the terminal.
std::string render_problems(const std::vector<ConfigProblem>& problems, Color color);

// The candidate with the smallest edit distance (insert, delete, replace, swap), if it is close
// enough to be a slip of the pen; else empty.
std::string_view nearest_name(std::string_view name, std::span<const std::string_view> candidates);

}  // namespace kvtier::daemon
