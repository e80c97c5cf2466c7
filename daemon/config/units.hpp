// Sizes, times, shares and modes as people write them, and back. Pure functions, any thread.
// Never round: a text that is not a whole number of bytes, nanoseconds or millionths is refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace kvtier::daemon {

// A value, or what was wrong with the text and how it should look. `problem` is empty on success.
struct UnitValue {
  uint64_t value = 0;
  std::string problem;
  std::string help;
  bool ok() const { return problem.empty(); }
};

UnitValue parse_size(std::string_view text);      // "64GiB", "1.5TiB", "4096B", "0" -> bytes
UnitValue parse_rate(std::string_view text);      // "8GiB/s" -> bytes a second
UnitValue parse_duration(std::string_view text);  // "250ms", "30s", "2m", "0" -> nanoseconds
UnitValue parse_share(std::string_view text);     // "12.5%" -> parts per million
UnitValue parse_mode(std::string_view text);      // "0660" -> permission bits

// The shortest exact text; parsing it gives the value back.
std::string format_size(uint64_t bytes);
std::string format_rate(uint64_t bytes_per_second);
std::string format_duration(uint64_t nanoseconds);
std::string format_share(uint64_t ppm);
std::string format_mode(uint64_t mode);

}  // namespace kvtier::daemon
