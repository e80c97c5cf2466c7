// See target.hpp.
#include "daemon/admin/target.hpp"

#include <charconv>

namespace kvtier::daemon {
namespace {

constexpr size_t kPartsMax = 32;

std::optional<std::string> decode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned value = 0;
    if (i + 2 >= text.size()) return {};
    const auto parsed = std::from_chars(&text[i + 1], &text[i + 1] + 2, value, 16);
    if (parsed.ec != std::errc() || parsed.ptr != &text[i + 1] + 2 || value == 0) return {};
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

std::string_view take_until(std::string_view& rest, char separator) {
  const size_t end = rest.find(separator);
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return part;
}

}  // namespace

std::optional<Target> parse_target(std::string_view text) {
  if (text.empty() || text.front() != '/') return {};
  std::string_view query = text;
  std::string_view path = take_until(query, '?').substr(1);
  Target target;
  while (!path.empty()) {
    std::optional<std::string> segment = decode(take_until(path, '/'));
    if (!segment || target.segments.size() == kPartsMax) return {};
    target.segments.push_back(std::move(*segment));
  }
  while (!query.empty()) {
    std::string_view pair = take_until(query, '&');
    const std::optional<std::string> name = decode(take_until(pair, '='));
    const std::optional<std::string> value = decode(pair);
    if (!name || !value || target.query.size() == kPartsMax) return {};
    target.query[*name] = *value;
  }
  return target;
}

}  // namespace kvtier::daemon
