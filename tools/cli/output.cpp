// See output.hpp.
#include "tools/cli/output.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <ostream>

namespace kvtier::tools {
namespace {

std::string number(const char* format, double value, const char* unit) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return std::string(text) + " " + unit;
}

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

}  // namespace

std::string show_bytes(double bytes) {
  static constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  // 1023.95 would be shown as 1024.0.
  while (bytes >= (unit == 0 ? 1024 : 1023.95) && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return number(unit == 0 ? "%.0f" : "%.1f", bytes, kUnits[unit]);
}

std::string show_count(uint64_t count) {
  std::string text = std::to_string(count);
  for (size_t at = text.size(); at > 3;) text.insert(at -= 3, 1, ',');
  return text;
}

std::string show_seconds(double seconds) {
  if (seconds < 1e-6) return number("%.0f", seconds * 1e9, "ns");
  if (seconds < 1e-3) return number("%.3g", seconds * 1e6, "us");
  if (seconds < 1) return number("%.3g", seconds * 1e3, "ms");
  if (seconds < 60) return number("%.3g", seconds, "s");
  const auto whole = static_cast<uint64_t>(seconds);
  const auto pair = [](uint64_t first, const char* unit, uint64_t second, const char* smaller) {
    return std::to_string(first) + " " + unit + " " + std::to_string(second) + " " + smaller;
  };
  if (whole < 3600) return pair(whole / 60, "min", whole % 60, "s");
  if (whole < 86'400) return pair(whole / 3600, "h", whole / 60 % 60, "min");
  return pair(whole / 86'400, "d", whole / 3600 % 24, "h");
}

std::string show_percent(double part, double whole) {
  return whole <= 0 ? "-" : number("%.1f", 100 * part / whole, "%");
}

std::string printable(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // The C1 controls are U+0080 to U+009F, in UTF-8 C2 80 to C2 9F.
    const bool c1 =
        byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (c1) ++i;
    out += byte < 0x20 || byte == 0x7f || c1 ? '?' : text[i];
  }
  return out;
}

std::string paint(bool color, Color which, std::string_view text) {
  static constexpr std::array kCodes = {"0", "1", "2", "31", "32", "33", "36"};
  if (!color || which == Color::kPlain) return std::string(text);
  return std::string("\033[") + kCodes[static_cast<size_t>(which)] + "m" + std::string(text) +
         "\033[0m";
}

Color color_of_state(std::string_view state) {
  if (state == "good" || state == "on" || state == "attached" || state == "valid" ||
      state == "ok") {
    return Color::kGreen;
  }
  if (state == "off" || state == "note") return Color::kDim;
  if (state == "degraded" || state == "draining" || state == "unverified" || state == "orphaned" ||
      state == "granted") {
    return Color::kYellow;
  }
  return Color::kRed;
}

size_t display_width(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(c); }));
}

Table::Cell::Cell(std::string shown, Color shade) : text(printable(shown)), color(shade) {}

void Table::row(std::vector<Cell> cells) {
  cells.resize(columns_.size(), Cell(""));
  rows_.push_back(std::move(cells));
}

void Table::print(std::ostream& out, bool color, size_t indent) const {
  if (rows_.empty()) return;
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = display_width(columns_[i].title);
    for (const auto& cells : rows_) width = std::max(width, display_width(cells[i].text));
    widths.push_back(width);
  }
  const auto line = [&](const auto& text_of, const auto& color_of) {
    std::string text(indent, ' ');
    for (size_t i = 0; i < columns_.size(); ++i) {
      const std::string& shown = text_of(i);
      const std::string pad(widths[i] - display_width(shown), ' ');
      const bool right = columns_[i].align == Align::kRight;
      if (right) text += pad;
      text += paint(color, color_of(i), shown);
      const bool last = i + 1 == columns_.size();
      if (!right && !last) text += pad;
      if (!last) text += "  ";
    }
    while (text.ends_with(' ')) text.pop_back();
    out << text << "\n";
  };
  line([this](size_t i) -> const std::string& { return columns_[i].title; },
       [](size_t) { return Color::kBold; });
  for (const auto& cells : rows_) {
    line([&cells](size_t i) -> const std::string& { return cells[i].text; },
         [&cells](size_t i) { return cells[i].color; });
  }
}

}  // namespace kvtier::tools
