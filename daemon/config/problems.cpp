// Rendering of configuration problems and the search for the nearest name. Pure.
#include "daemon/config/problems.hpp"

#include <algorithm>
#include <array>
#include <numeric>

namespace kvtier::daemon {
namespace {

constexpr std::array<ProblemRow, 12> kRows = {{
    {ProblemCode::kSyntax, "C001", "the text is not TOML, or says a thing twice"},
    {ProblemCode::kUnreadable, "C002", "a file or drop-in folder cannot be read"},
    {ProblemCode::kUnknownName, "C003", "no option or table has this name"},
    {ProblemCode::kWrongType, "C004", "the value has another type than the option"},
    {ProblemCode::kBadValue, "C005", "the value is malformed: a bad unit, address, path or name"},
    {ProblemCode::kOutOfRange, "C006", "the value is outside the option's range"},
    {ProblemCode::kNotAChoice, "C007", "the value is none of the words the option knows"},
    {ProblemCode::kMissing, "C008", "something that must be said is missing"},
    {ProblemCode::kDuplicate, "C009", "two entries claim the same name, uid or socket"},
    {ProblemCode::kConflict, "C010", "options contradict each other; the message has the sums"},
    {ProblemCode::kUnsupported, "C011", "this version cannot do it"},
    {ProblemCode::kTooMany, "C012", "more of something than the daemon handles"},
}};

constexpr size_t kNameBytesMax = 64;   // longer names are not compared
constexpr size_t kLineShownMax = 160;  // characters of a line that are shown

struct Paint {
  const char *error, *bold, *frame, *help, *reset;
};
constexpr Paint kPlain = {"", "", "", "", ""};
constexpr Paint kColored = {"\x1b[1;31m", "\x1b[1m", "\x1b[1;34m", "\x1b[1;36m", "\x1b[0m"};

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}
bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

// Printable, tabs as one blank so that carets stand right.
std::string shown(std::string_view text) {
  std::string result;
  for (const char c : text) result += c == '\t' ? ' ' : is_control(c) ? '?' : c;
  return result;
}

// A long line is cut to the part around the carets. Positions are in characters, not bytes.
struct Window {
  std::string text;
  size_t skip = 0;    // blanks before the carets
  size_t carets = 1;  //
};

Window window(const ConfigProblem& problem) {
  std::vector<std::string> characters;
  for (const char c : shown(problem.text_line)) {
    if (characters.empty() || !is_continuation(c)) characters.emplace_back();
    characters.back() += c;
  }
  const size_t at = problem.column == 0 ? 0 : problem.column - 1;
  const size_t first = at < kLineShownMax / 2 ? 0 : at - kLineShownMax / 4;
  const size_t last = std::min(characters.size(), first + kLineShownMax);
  Window result;
  if (first != 0) result.text = "...";
  result.skip = result.text.size() + at - first;
  for (size_t i = first; i < last; ++i) result.text += characters[i];
  if (last < characters.size()) result.text += "...";
  const size_t room = last > at ? last - at : 1;
  result.carets = std::clamp<size_t>(problem.width, 1, room);
  return result;
}

void render(const ConfigProblem& problem, const Paint& paint, std::string& out) {
  const std::string line = std::to_string(problem.line);
  const std::string margin(problem.line == 0 ? 1 : line.size(), ' ');
  out += paint.error + ("error[" + problem.code + "]") + paint.reset + paint.bold + ": " +
         shown(problem.message) + paint.reset + "\n";
  out += margin + paint.frame + " --> " + paint.reset + shown(problem.file);
  if (problem.line != 0) {
    out += ":" + line + ":" + std::to_string(problem.column) + "\n";
    const Window part = window(problem);
    out += margin + paint.frame + " |" + paint.reset + "\n";
    out += paint.frame + line + " |" + paint.reset + " " + part.text + "\n";
    out += margin + paint.frame + " |" + paint.reset + " " + std::string(part.skip, ' ') +
           paint.error + std::string(part.carets, '^');
    if (!problem.label.empty()) out += " " + shown(problem.label);
    out += paint.reset;
  }
  out += "\n";
  if (!problem.help.empty()) {
    out += margin + paint.frame + " = " + paint.reset + paint.help + "help" + paint.reset + ": " +
           shown(problem.help) + "\n";
  }
}

// Optimal string alignment: a swap of neighbours is one mistake.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

}  // namespace

std::span<const ProblemRow> problem_rows() {
  return kRows;
}

std::string render_problems(const std::vector<ConfigProblem>& problems, Color color) {
  const Paint& paint = color == Color::kAlways ? kColored : kPlain;
  std::string out;
  for (const ConfigProblem& problem : problems) {
    if (!out.empty()) out += "\n";
    render(problem, paint, out);
  }
  return out;
}

std::string_view nearest_name(std::string_view name, std::span<const std::string_view> candidates) {
  std::string_view best;
  size_t best_distance = SIZE_MAX;
  if (name.size() > kNameBytesMax) return best;
  for (const std::string_view candidate : candidates) {
    // A word cut short, such as "warn", is one mistake.
    const bool cut = name.size() >= 3 && candidate.starts_with(name);
    const size_t distance = cut ? 1 : edit_distance(name, candidate);
    // A third of the letters may be wrong, and one in the shortest names.
    const size_t allowed = std::max<size_t>(1, std::max(name.size(), candidate.size()) / 3);
    if (distance <= allowed && distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace kvtier::daemon
