// Sizes, times, shares and modes as people write them. Pure; see units.hpp.
#include "daemon/config/units.hpp"

#include <array>
#include <cstddef>
#include <span>

namespace kvtier::daemon {
namespace {

__extension__ using Wide = unsigned __int128;  // products of a unit and nine decimals need 80 bits

struct Unit {
  std::string_view name;
  uint64_t factor;
};

constexpr uint64_t kKiB = 1024;
constexpr std::array<Unit, 11> kSizeUnits = {{
    {"B", 1},
    {"KiB", kKiB},
    {"MiB", kKiB* kKiB},
    {"GiB", kKiB* kKiB* kKiB},
    {"TiB", kKiB* kKiB* kKiB* kKiB},
    {"PiB", kKiB* kKiB* kKiB* kKiB* kKiB},
    {"kB", 1000},
    {"MB", 1000'000},
    {"GB", 1000'000'000},
    {"TB", 1000'000'000'000},
    {"PB", 1000'000'000'000'000},
}};
constexpr std::array<Unit, 7> kDurationUnits = {{
    {"ns", 1},
    {"us", 1000},
    {"ms", 1000'000},
    {"s", 1000'000'000},
    {"m", 60ull * 1000'000'000},
    {"h", 3600ull * 1000'000'000},
    {"d", 86400ull * 1000'000'000},
}};
constexpr std::array<Unit, 1> kShareUnits = {{{"%", 10'000}}};

constexpr size_t kDigitsMax = 19;   // of the whole part: below 2^64
constexpr size_t kDecimalsMax = 9;  // of the fraction

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// A decimal number as digits: whole + fraction / 10^decimals.
struct Decimal {
  uint64_t whole = 0;
  uint64_t fraction = 0;
  uint64_t scale = 1;
  size_t length = 0;  // characters read; 0 if there is no such number
};

Decimal read_decimal(std::string_view text) {
  Decimal decimal;
  size_t at = 0;
  while (at < text.size() && is_digit(text[at])) {
    if (at >= kDigitsMax) return {};
    decimal.whole = decimal.whole * 10 + static_cast<uint64_t>(text[at++] - '0');
  }
  if (at == 0) return {};
  if (at < text.size() && text[at] == '.') {
    const size_t start = ++at;
    while (at < text.size() && is_digit(text[at])) {
      if (at - start >= kDecimalsMax) return {};
      decimal.fraction = decimal.fraction * 10 + static_cast<uint64_t>(text[at++] - '0');
      decimal.scale *= 10;
    }
    if (at == start) return {};
  }
  decimal.length = at;
  return decimal;
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// What the writer of an unknown unit probably meant: "gb" and "G" are GiB, "sec" is s.
std::string_view nearest_unit(std::string_view name, std::span<const Unit> units) {
  if (name.empty()) return {};
  for (const Unit& unit : units) {
    if (unit.name.size() == 3 && lower(unit.name[0]) == lower(name[0])) return unit.name;
  }
  if (name.starts_with("min")) return "m";
  for (const Unit& unit : units) {
    if (lower(unit.name[0]) == lower(name[0])) return unit.name;
  }
  return {};
}

struct Grammar {
  std::string_view what;     // "size"
  std::string_view example;  // for the help line
  std::span<const Unit> units;
};

UnitValue parse(std::string_view text, const Grammar& grammar) {
  const std::string what(grammar.what), example(grammar.example);
  const Decimal decimal = read_decimal(text);
  if (decimal.length == 0) {
    return {0, "'" + std::string(text) + "' is not a " + what, "write it as " + example};
  }
  std::string_view name = text.substr(decimal.length);
  while (!name.empty() && name.front() == ' ') name.remove_prefix(1);
  const Unit* found = nullptr;
  for (const Unit& unit : grammar.units) {
    if (unit.name == name) found = &unit;
  }
  const bool zero = decimal.whole == 0 && decimal.fraction == 0;
  if (name.empty() && zero) return {};
  if (name.empty()) {
    return {0, "'" + std::string(text) + "' has no unit", "write it as " + example};
  }
  if (found == nullptr) {
    const std::string_view nearest = nearest_unit(name, grammar.units);
    std::string help = "units are";
    for (const Unit& unit : grammar.units) help += " " + std::string(unit.name);
    if (!nearest.empty()) {
      help = "did you mean \"" + std::string(text.substr(0, decimal.length)) +
             std::string(nearest) + "\"? " + help;
    }
    return {0, "'" + std::string(name) + "' is not a unit of a " + what, help};
  }
  const UnitValue too_large = {0, "'" + std::string(text) + "' is too large for a " + what,
                               "write it as " + example};
  if (decimal.whole > INT64_MAX / found->factor) return too_large;
  const Wide scaled = (Wide{decimal.whole} * decimal.scale + decimal.fraction) * found->factor;
  if (scaled % decimal.scale != 0) {
    return {0, "'" + std::string(text) + "' is finer than this " + what + " can be",
            "use fewer decimals or a smaller unit"};
  }
  const Wide value = scaled / decimal.scale;
  if (value > Wide{INT64_MAX}) return too_large;
  return {static_cast<uint64_t>(value), {}, {}};
}

// The largest unit of the family that divides the value.
std::string format(uint64_t value, std::span<const Unit> units) {
  const Unit* best = units.data();
  for (const Unit& unit : units) {
    if (value % unit.factor == 0) best = &unit;
  }
  return std::to_string(value / best->factor) + std::string(best->name);
}

std::span<const Unit> binary_units() {
  return std::span(kSizeUnits).first(6);
}

}  // namespace

UnitValue parse_size(std::string_view text) {
  return parse(text, {"size", "\"64GiB\", \"512MiB\" or a whole number of bytes", kSizeUnits});
}

UnitValue parse_rate(std::string_view text) {
  const std::string_view suffix = "/s";
  if (!text.ends_with(suffix)) {
    return {0, "'" + std::string(text) + "' is not a rate", "write it as \"8GiB/s\""};
  }
  return parse(text.substr(0, text.size() - suffix.size()), {"rate", "\"8GiB/s\"", kSizeUnits});
}

UnitValue parse_duration(std::string_view text) {
  return parse(text, {"time", "\"250ms\", \"30s\" or \"2m\"", kDurationUnits});
}

UnitValue parse_share(std::string_view text) {
  return parse(text, {"share", "\"12.5%\"", kShareUnits});
}

UnitValue parse_mode(std::string_view text) {
  UnitValue wrong = {0, "'" + std::string(text) + "' is not an octal file mode",
                     "write it as \"0660\""};
  if (text.size() < 3 || text.size() > 5) return wrong;
  uint64_t mode = 0;
  for (const char c : text) {
    if (c < '0' || c > '7') return wrong;
    mode = mode * 8 + static_cast<uint64_t>(c - '0');
  }
  return {mode, {}, {}};
}

std::string format_size(uint64_t bytes) {
  return bytes == 0 ? "0B" : format(bytes, binary_units());
}
std::string format_rate(uint64_t bytes_per_second) {
  return format_size(bytes_per_second) + "/s";
}
std::string format_duration(uint64_t nanoseconds) {
  return nanoseconds == 0 ? "0s" : format(nanoseconds, kDurationUnits);
}

std::string format_share(uint64_t ppm) {
  std::string text = std::to_string(ppm / 10'000);
  if (uint64_t rest = ppm % 10'000; rest != 0) {
    std::string decimals = std::to_string(10'000 + rest).substr(1);
    decimals.erase(decimals.find_last_not_of('0') + 1);
    text += "." + decimals;
  }
  return text + "%";
}

std::string format_mode(uint64_t mode) {
  std::string digits;
  for (; mode != 0; mode /= 8) digits.insert(digits.begin(), static_cast<char>('0' + mode % 8));
  while (digits.size() < 4) digits.insert(digits.begin(), '0');
  return digits;
}

}  // namespace kvtier::daemon
