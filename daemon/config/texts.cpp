// Names, paths and addresses: which texts an option takes. Pure; see texts.hpp.
#include "daemon/config/texts.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace kvtier::daemon {
namespace {

using Outcome = std::optional<ValueProblem>;

constexpr size_t kPathBytesMax = 4095;  // PATH_MAX with the end is 4096
constexpr size_t kNameBytesMax = 32;
constexpr size_t kModelBytesMax = 255;

Outcome bad(const OptionRow& row, std::string_view text, std::string_view why, std::string help) {
  return ValueProblem{
      ProblemCode::kBadValue,
      "'" + std::string(row.name) + "' " + std::string(why) + ": \"" + std::string(text) + "\"", "",
      std::move(help)};
}

bool is_loopback(std::string_view address) {
  unsigned char bytes[16];
  const std::string text(address);
  if (text.size() > 2 && text.front() == '[' && text.back() == ']') {
    if (inet_pton(AF_INET6, text.substr(1, text.size() - 2).c_str(), bytes) != 1) return false;
    return std::all_of(bytes, bytes + 15, [](unsigned char b) { return b == 0; }) && bytes[15] == 1;
  }
  return inet_pton(AF_INET, text.c_str(), bytes) == 1 && bytes[0] == 127;
}

Outcome check_listen(const OptionRow& row, std::string_view text) {
  const std::string help = "write a loopback address, e.g. \"127.0.0.1:9464\" or \"[::1]:9464\"";
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad(row, text, "has no port", help);
  const std::string_view digits = text.substr(colon + 1);
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc{} || end != digits.data() + digits.size() || port == 0) {
    return bad(row, text, "has no port between 1 and 65535", help);
  }
  if (!is_loopback(text.substr(0, colon))) {
    return bad(row, text, "is not a loopback address", help + "; other hosts go through a proxy");
  }
  return {};
}

bool is_name(std::string_view text) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  return std::all_of(text.begin(), text.end(), fits) && text[0] != '-' && text[0] != '_';
}

}  // namespace

std::optional<ValueProblem> check_text(const OptionRow& row, std::string_view text) {
  const bool control = std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
  if (control) return bad(row, text, "has a control character", "remove it");
  if (text.empty()) return {};
  switch (row.kind) {
    case ValueKind::kName:
      if (text.size() > kNameBytesMax || !is_name(text)) {
        return bad(row, text, "is not a name",
                   "use a to z, 0 to 9, '-' and '_', at most 32, starting with a letter or digit");
      }
      return {};
    case ValueKind::kModel:
      if (text.size() > kModelBytesMax ||
          text.substr(0, text.size() - 1).find('*') != std::string_view::npos) {
        return bad(row, text, "is not a model's name",
                   "at most 255 bytes, with '*' at its end or not at all");
      }
      return {};
    case ValueKind::kGroup:
      if (text.size() > kNameBytesMax || text.find_first_of(" :/") != std::string_view::npos) {
        return bad(row, text, "is not a group name", "write it as in /etc/group");
      }
      return {};
    case ValueKind::kListen:
      return check_listen(row, text);
    default:
      break;
  }
  if (text[0] != '/') return bad(row, text, "is not an absolute path", "start it with '/'");
  if (text.back() == '/' && row.kind == ValueKind::kSocket) {
    return bad(row, text, "is a folder, not a socket", "end it with a file name");
  }
  const size_t bytes_max = row.kind == ValueKind::kSocket ? kSocketPathBytesMax : kPathBytesMax;
  if (text.size() > bytes_max) {
    return bad(row, text, "is too long",
               "it has " + std::to_string(text.size()) + " bytes; at most " +
                   std::to_string(bytes_max) + " fit");
  }
  return {};
}

}  // namespace kvtier::daemon
