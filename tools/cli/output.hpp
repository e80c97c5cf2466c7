// How the CLI shows things to people: units, colours, tables. Pure but for writing to a stream; one
// thread. Text that came from elsewhere never drives the terminal: control characters become '?'.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace kvtier::tools {

std::string show_bytes(double bytes);                 // "1.5 GiB"
std::string show_count(uint64_t count);               // "1,234,567"
std::string show_seconds(double seconds);             // "3 h 12 min", "4.2 s", "250 us"
std::string show_percent(double part, double whole);  // "81.2 %", "-" of nothing
std::string printable(std::string_view text);

enum class Color : uint8_t { kPlain, kBold, kDim, kRed, kGreen, kYellow, kCyan };
std::string paint(bool color, Color which, std::string_view text);
// "good", "on", "attached" are green, "degraded" and "draining" yellow, the rest red.
Color color_of_state(std::string_view state);

// Columns of a print in characters, UTF-8 counted by code points.
size_t display_width(std::string_view text);

// Aligned columns. Cells are made printable.
class Table {
 public:
  enum class Align : uint8_t { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  struct Cell {
    Cell(std::string shown, Color shade = Color::kPlain);  // NOLINT: cells are written as text
    Cell(const char* shown) : Cell(std::string(shown)) {}
    std::string text;
    Color color;
  };
  void row(std::vector<Cell> cells);
  size_t rows() const { return rows_.size(); }
  // Each line begins with `indent` spaces. Nothing for a table without rows.
  void print(std::ostream& out, bool color, size_t indent = 0) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace kvtier::tools
