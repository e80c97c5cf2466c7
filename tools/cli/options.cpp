// Options on top of CLI11; see options.hpp.
#include "tools/cli/options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "daemon/config/problems.hpp"
#include "daemon/config/units.hpp"

namespace kvtier::tools {
namespace {

std::vector<std::string> split(const std::string& names) {
  std::vector<std::string> parts;
  std::string_view rest = names;
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    parts.emplace_back(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return parts;
}

uint64_t bytes_of(const std::string& names, const std::string& text) {
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  const daemon::UnitValue size = daemon::parse_size(digits ? text + "B" : text);
  if (!size.ok()) throw CLI::ValidationError(names, size.problem + "; " + size.help);
  return size.value;
}

// CLI11 reads "-1" and what does not fit into another number; a count is digits that fit.
CLI::Validator whole_number(uint64_t max) {
  const auto refuse = [max](const std::string& text) -> std::string {
    const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
    errno = 0;
    const uint64_t value = digits ? std::strtoull(text.c_str(), nullptr, 10) : 0;
    if (digits && errno == 0 && value <= max) return "";
    return "'" + text + "' is not a whole number from 0 to " + std::to_string(max);
  };
  return {refuse, "N"};
}

}  // namespace

OptionHandle& OptionHandle::required() {
  option_->required();
  return *this;
}
OptionHandle& OptionHandle::choices(std::initializer_list<const char*> words) {
  record_->choices.assign(words.begin(), words.end());
  record_->hint = ValueHint::kChoice;
  std::string list;
  for (const std::string& word : record_->choices) list += (list.empty() ? "" : ", ") + word;
  const auto refuse = [known = record_->choices, list](const std::string& text) -> std::string {
    if (std::find(known.begin(), known.end(), text) != known.end()) return "";
    const std::string_view nearest =
        daemon::nearest_name(text, std::vector<std::string_view>(known.begin(), known.end()));
    return "there is no '" + text + "'; " +
           (nearest.empty() ? "one of: " + list : "did you mean '" + std::string(nearest) + "'?");
  };
  option_->check(CLI::Validator(refuse, "{" + list + "}"));
  return *this;
}
OptionHandle& OptionHandle::range(double min, double max) {
  char bounds[64];
  std::snprintf(bounds, sizeof bounds, "%.10g to %.10g", min, max);
  const std::string wanted = bounds;
  const auto refuse = [min, max, wanted](const std::string& text) -> std::string {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    const bool good = end != text.c_str() && *end == '\0' && value >= min && value <= max;
    return good ? "" : "'" + text + "' is not a number from " + wanted;
  };
  option_->check(CLI::Validator(refuse, wanted));
  return *this;
}
OptionHandle& OptionHandle::whole(uint64_t max) {
  option_->check(whole_number(max));
  return *this;
}
OptionHandle& OptionHandle::not_empty() {
  option_->check(CLI::Validator(
      [](const std::string& text) { return std::string(text.empty() ? "the value is empty" : ""); },
      ""));
  return *this;
}
OptionHandle& OptionHandle::file() {
  record_->hint = ValueHint::kFile;
  return *this;
}
OptionHandle& OptionHandle::folder() {
  record_->hint = ValueHint::kFolder;
  return *this;
}
OptionHandle& OptionHandle::excludes(const OptionHandle& other) {
  option_->excludes(other.option_);
  return *this;
}
OptionHandle& OptionHandle::needs(const OptionHandle& other) {
  option_->needs(other.option_);
  return *this;
}
OptionHandle& OptionHandle::metavar(const std::string& word) {
  option_->type_name(word);
  return *this;
}
bool OptionHandle::given() const {
  return option_->count() > 0;
}

OptionRecord* Options::record(const std::string& names, const std::string& help, bool takes_value) {
  auto made = std::make_unique<OptionRecord>();
  made->names = split(names);
  made->help = help;
  made->positional = made->names.front().front() != '-';
  made->takes_value = takes_value;
  records_.push_back(std::move(made));
  return records_.back().get();
}

template <typename T>
OptionHandle Options::add_value(const std::string& names, T& target, const std::string& help) {
  return {app_.add_option(names, target, help), record(names, help, true)};
}

OptionHandle Options::flag(const std::string& names, bool& target, const std::string& help) {
  return {app_.add_flag(names, target, help), record(names, help, false)};
}
OptionHandle Options::value(const std::string& names, std::string& target,
                            const std::string& help) {
  OptionHandle handle = add_value(names, target, help);
  return target.empty() ? handle : handle.metavar("TEXT [" + target + "]");
}
OptionHandle Options::value(const std::string& names, uint64_t& target, const std::string& help) {
  return add_value(names, target, help)
      .whole(UINT64_MAX)
      .metavar("N [" + std::to_string(target) + "]");
}
OptionHandle Options::value(const std::string& names, uint32_t& target, const std::string& help) {
  return add_value(names, target, help)
      .whole(UINT32_MAX)
      .metavar("N [" + std::to_string(target) + "]");
}
OptionHandle Options::value(const std::string& names, double& target, const std::string& help) {
  char text[32];
  std::snprintf(text, sizeof text, "NUMBER [%g]", target);
  return add_value(names, target, help).metavar(text);
}
OptionHandle Options::value(const std::string& names, std::optional<uint64_t>& target,
                            const std::string& help) {
  return add_value(names, target, help).whole(UINT64_MAX).metavar("N");
}
OptionHandle Options::value(const std::string& names, std::optional<double>& target,
                            const std::string& help) {
  return add_value(names, target, help).metavar("NUMBER");
}
OptionHandle Options::value(const std::string& names, std::vector<std::string>& target,
                            const std::string& help) {
  return add_value(names, target, help);
}

OptionHandle Options::size(const std::string& names, uint64_t& target, const std::string& help) {
  const auto take = [names, &target](const std::string& text) { target = bytes_of(names, text); };
  OptionHandle handle{app_.add_option_function<std::string>(names, take, help),
                      record(names, help, true)};
  return handle.metavar("SIZE [" + daemon::format_size(target) + "]");
}
OptionHandle Options::size(const std::string& names, std::optional<uint64_t>& target,
                           const std::string& help) {
  const auto take = [names, &target](const std::string& text) { target = bytes_of(names, text); };
  OptionHandle handle{app_.add_option_function<std::string>(names, take, help),
                      record(names, help, true)};
  return handle.metavar("SIZE");
}

}  // namespace kvtier::tools
