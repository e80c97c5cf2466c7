// From a raw value to a field and back, by the rules of its row. Pure, any thread; never logs.
// A wrong row (a default that does not parse) ends the process: the tests build every default.
#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdlib>
#include <type_traits>

#include "daemon/config/options.hpp"
#include "daemon/config/texts.hpp"
#include "daemon/config/units.hpp"
#include "kvtier/wire/types.hpp"

namespace kvtier::daemon {
namespace {

using Outcome = std::optional<ValueProblem>;
using Type = RawValue::Type;

constexpr size_t kUidsMax = 256;  // of one tenant
constexpr size_t kPathsMax = 64;

std::string quoted(std::string_view text) {
  return "'" + std::string(text) + "'";
}

std::string_view type_name(Type type) {
  switch (type) {
    case Type::kString:
      return "a string";
    case Type::kInteger:
    case Type::kOctal:
      return "an integer";
    case Type::kFloat:
      return "a float";
    case Type::kBoolean:
      return "a boolean";
    case Type::kArray:
      return "an array";
    case Type::kTable:
      return "a table";
    case Type::kOther:
      break;
  }
  return "a date or time";
}

std::vector<std::string_view> split(std::string_view choices) {
  std::vector<std::string_view> words;
  while (!choices.empty()) {
    const size_t end = std::min(choices.find('|'), choices.size());
    words.push_back(choices.substr(0, end));
    choices.remove_prefix(std::min(end + 1, choices.size()));
  }
  return words;
}

bool is_number(ValueKind kind) {
  return kind <= ValueKind::kMode;
}

std::string format_number(const OptionRow& row, uint64_t value) {
  if (!row.special.word.empty() && value == row.special.value) return std::string(row.special.word);
  switch (row.kind) {
    case ValueKind::kSize:
      return format_size(value);
    case ValueKind::kRate:
      return format_rate(value);
    case ValueKind::kDuration:
      return format_duration(value);
    case ValueKind::kShare:
      return format_share(value);
    case ValueKind::kMode:
      return format_mode(value);
    default:
      return std::to_string(value);
  }
}

// Numbers in the words of the row: "8GiB" for a size, 8 for a count.
std::string shown(const OptionRow& row, uint64_t value) {
  const std::string text = format_number(row, value);
  return row.kind == ValueKind::kCount ? text : "\"" + text + "\"";
}

std::string example(const OptionRow& row) {
  switch (row.kind) {
    case ValueKind::kCount:
      return "a whole number, e.g. " + std::to_string(std::max<uint64_t>(row.min, 64));
    case ValueKind::kSize:
      return "a size, e.g. \"512MiB\", or a whole number of bytes";
    case ValueKind::kRate:
      return "a rate, e.g. \"8GiB/s\"";
    case ValueKind::kDuration:
      return "a time, e.g. \"250ms\" or \"30s\"";
    case ValueKind::kShare:
      return "a share, e.g. \"12.5%\"";
    case ValueKind::kMode:
      return "an octal file mode, e.g. \"0660\" or 0o660";
    case ValueKind::kPaths:
      return "an array of absolute paths, e.g. [\"/mnt/nvme0\"]";
    case ValueKind::kUids:
      return "an array of user ids, e.g. [1000, 1001]";
    default:
      return "a string in quotes";
  }
}

Outcome wrong_type(const OptionRow& row, Type type) {
  std::string help = "write " + example(row);
  if (!row.special.word.empty()) help += ", or \"" + std::string(row.special.word) + "\"";
  return ValueProblem{ProblemCode::kWrongType,
                      quoted(row.name) + " cannot be " + std::string(type_name(type)),
                      "this is " + std::string(type_name(type)), help};
}

Outcome check_number(const OptionRow& row, uint64_t value) {
  if (!row.special.word.empty() && value == row.special.value) return {};
  const std::string found = shown(row, value);
  if (value < row.min || value > row.max) {
    const bool low = value < row.min;
    const std::string limit = shown(row, low ? row.min : row.max);
    return ValueProblem{ProblemCode::kOutOfRange,
                        quoted(row.name) + (low ? " is too small: " : " is too large: ") + found,
                        (low ? "at least " : "at most ") + limit,
                        "allowed: " + describe_values(row)};
  }
  if (row.form == Form::kPowerOfTwo && !std::has_single_bit(value)) {
    return ValueProblem{ProblemCode::kOutOfRange,
                        quoted(row.name) + " is not a power of two: " + found, "not a power of two",
                        "the nearest are " + shown(row, std::bit_floor(value)) + " and " +
                            shown(row, std::bit_ceil(value))};
  }
  if (row.form == Form::kPages && value % wire::kPageBytes != 0) {
    return ValueProblem{
        ProblemCode::kOutOfRange, quoted(row.name) + " is not a multiple of 4 KiB: " + found,
        "not a multiple of 4 KiB",
        "the next one up is " + shown(row, (value / wire::kPageBytes + 1) * wire::kPageBytes)};
  }
  return {};
}

UnitValue parse_number(const OptionRow& row, std::string_view text) {
  switch (row.kind) {
    case ValueKind::kSize:
      return parse_size(text);
    case ValueKind::kRate:
      return parse_rate(text);
    case ValueKind::kDuration:
      return parse_duration(text);
    case ValueKind::kShare:
      return parse_share(text);
    case ValueKind::kMode:
      return parse_mode(text);
    default:
      return {0, quoted(text) + " is not a number", "write " + example(row) + ", without quotes"};
  }
}

// An integer is a count, bytes, or 0 of anything; a mode must be written in octal.
bool takes_integer(const OptionRow& row, const RawValue& value) {
  if (row.kind == ValueKind::kMode) return value.type == Type::kOctal;
  return row.kind == ValueKind::kCount || row.kind == ValueKind::kSize || value.integer == 0;
}

Outcome set_number(const OptionRow& row, const RawValue& value, uint64_t& field) {
  uint64_t number = 0;
  if (value.type == Type::kString && !row.special.word.empty() && value.text == row.special.word) {
    field = row.special.value;
    return {};
  }
  if (value.type == Type::kString) {
    UnitValue parsed = parse_number(row, value.text);
    if (!parsed.ok()) {
      if (!row.special.word.empty())
        parsed.help += ", or \"" + std::string(row.special.word) + "\"";
      return ValueProblem{ProblemCode::kBadValue,
                          parsed.problem + " (option " + quoted(row.name) + ")", "", parsed.help};
    }
    number = parsed.value;
  } else if (value.type == Type::kInteger || value.type == Type::kOctal) {
    if (!takes_integer(row, value)) return wrong_type(row, value.type);
    if (value.integer < 0) {
      return ValueProblem{ProblemCode::kOutOfRange,
                          quoted(row.name) + " is negative: " + std::to_string(value.integer),
                          "at least " + shown(row, row.min), "allowed: " + describe_values(row)};
    }
    number = static_cast<uint64_t>(value.integer);
  } else {
    return wrong_type(row, value.type);
  }
  if (Outcome problem = check_number(row, number)) return problem;
  field = number;
  return {};
}

// The index of the chosen word, or a problem.
Outcome choose(const OptionRow& row, const RawValue& value, size_t& chosen) {
  if (value.type != Type::kString) return wrong_type(row, value.type);
  const std::vector<std::string_view> words = split(row.choices);
  const auto found = std::find(words.begin(), words.end(), value.text);
  if (found != words.end()) {
    chosen = static_cast<size_t>(found - words.begin());
    return {};
  }
  const std::string_view nearest = nearest_name(value.text, words);
  std::string help = nearest.empty() ? "" : "did you mean \"" + std::string(nearest) + "\"? ";
  return ValueProblem{ProblemCode::kNotAChoice,
                      quoted(row.name) + " cannot be \"" + value.text + "\"", "",
                      help + "allowed: " + describe_values(row)};
}

Outcome set_uids(const OptionRow& row, const RawValue& value, std::vector<uint32_t>& field) {
  if (value.type != Type::kArray) return wrong_type(row, value.type);
  if (value.items.size() > kUidsMax) {
    return ValueProblem{
        ProblemCode::kTooMany,
        quoted(row.name) + " has " + std::to_string(value.items.size()) + " entries",
        "at most " + std::to_string(kUidsMax), "give the tenant a socket of its own, with a group"};
  }
  std::vector<uint32_t> uids;
  for (const RawValue& item : value.items) {
    if (item.type != Type::kInteger) return wrong_type(row, item.type);
    if (item.integer < 0 || static_cast<uint64_t>(item.integer) > row.max) {
      return ValueProblem{
          ProblemCode::kOutOfRange,
          std::to_string(item.integer) + " is not a user id (option " + quoted(row.name) + ")", "",
          "user ids are 0 to " + std::to_string(row.max)};
    }
    uids.push_back(static_cast<uint32_t>(item.integer));
  }
  field = std::move(uids);
  return {};
}

Outcome set_paths(const OptionRow& row, const RawValue& value, std::vector<std::string>& field) {
  if (value.type != Type::kArray) return wrong_type(row, value.type);
  if (value.items.size() > kPathsMax) {
    return ValueProblem{
        ProblemCode::kTooMany,
        quoted(row.name) + " has " + std::to_string(value.items.size()) + " entries",
        "at most " + std::to_string(kPathsMax), "name fewer"};
  }
  OptionRow one = row;
  one.kind = ValueKind::kPath;
  std::vector<std::string> paths;
  for (const RawValue& item : value.items) {
    if (item.type != Type::kString) return wrong_type(row, item.type);
    if (item.text.empty()) {
      return ValueProblem{ProblemCode::kBadValue, quoted(row.name) + " has an empty path", "",
                          "write absolute paths, e.g. [\"/mnt/nvme0\"]"};
    }
    if (Outcome problem = check_text(one, item.text)) return problem;
    if (std::find(paths.begin(), paths.end(), item.text) != paths.end()) {
      return ValueProblem{ProblemCode::kDuplicate,
                          quoted(row.name) + " has \"" + item.text + "\" twice", "",
                          "name each path once"};
    }
    paths.push_back(item.text);
  }
  field = std::move(paths);
  return {};
}

// A TOML basic string.
std::string toml_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

// Reading goes through the same accessor as writing; it does not change the owner.
FieldRef field_of(const OptionRow& row, const void* owner) {
  return row.field(const_cast<void*>(owner));
}

std::string join(const std::vector<uint32_t>& uids) {
  std::string text;
  for (const uint32_t uid : uids) text += (text.empty() ? "" : ", ") + std::to_string(uid);
  return text;
}

std::string join(const std::vector<std::string>& paths) {
  std::string text;
  for (const std::string& path : paths) text += (text.empty() ? "" : ", ") + path;
  return text;
}

std::string quote_as_needed(const OptionRow& row, const std::string& text) {
  if (row.kind == ValueKind::kUids || row.kind == ValueKind::kPaths) return "[" + text + "]";
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  return row.kind == ValueKind::kCount && digits ? text : toml_string(text);
}

void set_default(const OptionRow& row, void* owner) {
  RawValue value;
  value.type = Type::kString;
  value.text = row.default_text;
  if (row.kind == ValueKind::kUids || row.kind == ValueKind::kPaths) value.type = Type::kArray;
  if (row.kind == ValueKind::kCount && row.default_text != row.special.word) {
    value.type = Type::kInteger;
    std::from_chars(row.default_text.data(), row.default_text.data() + row.default_text.size(),
                    value.integer);
  }
  if (set_option(row, value, owner)) std::abort();
}

}  // namespace

Config::Config() {
  for (const OptionRow& row : option_rows()) set_default(row, this);
}

TenantConfig::TenantConfig() {
  for (const OptionRow& row : tenant_rows()) set_default(row, this);
}

SpaceConfig::SpaceConfig() {
  for (const OptionRow& row : space_rows()) set_default(row, this);
}

SpaceConfig Config::space_of(std::string_view model) const {
  for (const SpaceConfig& entry : space) {
    const std::string_view due = entry.model;
    const bool is_beginning = due.ends_with('*');
    if (is_beginning ? model.starts_with(due.substr(0, due.size() - 1)) : model == due) {
      return entry;
    }
  }
  SpaceConfig all;
  all.encode = host.encode;
  all.nvme_encode = nvme.encode;
  return all;
}

std::optional<ValueProblem> set_option(const OptionRow& row, const RawValue& value, void* owner) {
  const auto set = [&](auto* field) -> Outcome {
    using Field = std::remove_pointer_t<decltype(field)>;
    if constexpr (std::is_same_v<Field, uint64_t>) {
      return set_number(row, value, *field);
    } else if constexpr (std::is_same_v<Field, std::vector<uint32_t>>) {
      return set_uids(row, value, *field);
    } else if constexpr (std::is_same_v<Field, std::vector<std::string>>) {
      return set_paths(row, value, *field);
    } else if constexpr (std::is_enum_v<Field>) {
      size_t chosen = 0;
      if (Outcome problem = choose(row, value, chosen)) return problem;
      *field = static_cast<Field>(chosen);
      return {};
    } else {
      if (value.type != Type::kString) return wrong_type(row, value.type);
      size_t chosen = 0;
      Outcome problem =
          row.choices.empty() ? check_text(row, value.text) : choose(row, value, chosen);
      if (!problem) *field = value.text;
      return problem;
    }
  };
  return std::visit(set, row.field(owner));
}

std::string option_text(const OptionRow& row, const void* owner) {
  const auto get = [&](const auto* field) -> std::string {
    using Field = std::remove_const_t<std::remove_pointer_t<decltype(field)>>;
    if constexpr (std::is_same_v<Field, uint64_t>) {
      return format_number(row, *field);
    } else if constexpr (std::is_same_v<Field, std::vector<uint32_t>> ||
                         std::is_same_v<Field, std::vector<std::string>>) {
      return join(*field);
    } else if constexpr (std::is_enum_v<Field>) {
      return std::string(split(row.choices).at(static_cast<size_t>(*field)));
    } else {
      return *field;
    }
  };
  return std::visit(get, field_of(row, owner));
}

std::string option_toml(const OptionRow& row, const void* owner) {
  if (row.kind == ValueKind::kPaths) {
    std::string text;
    for (const std::string& path : *std::get<std::vector<std::string>*>(field_of(row, owner))) {
      text += (text.empty() ? "" : ", ") + toml_string(path);
    }
    return "[" + text + "]";
  }
  return quote_as_needed(row, option_text(row, owner));
}

std::string default_toml(const OptionRow& row) {
  return quote_as_needed(row, std::string(row.default_text));
}

std::string describe_values(const OptionRow& row) {
  if (!row.choices.empty()) {
    std::string text;
    for (const std::string_view word : split(row.choices)) {
      text += (text.empty() ? "\"" : ", \"") + std::string(word) + "\"";
    }
    return text;
  }
  static constexpr std::string_view kKinds[] = {"whole number",
                                                "size",
                                                "rate",
                                                "time",
                                                "share",
                                                "file mode",
                                                "word",
                                                "name",
                                                "model, or its beginning and '*'",
                                                "group name",
                                                "absolute path",
                                                "absolute path of a socket",
                                                "loopback address and port",
                                                "array of user ids",
                                                "array of absolute paths"};
  std::string text(kKinds[static_cast<size_t>(row.kind)]);
  if (is_number(row.kind)) {
    OptionRow plain = row;
    plain.special = {};
    text += row.min == row.max
                ? ", only " + format_number(plain, row.min)
                : ", " + format_number(plain, row.min) + " to " + format_number(plain, row.max);
    if (row.form == Form::kPowerOfTwo) text += ", a power of two";
    if (row.form == Form::kPages) text += ", a multiple of 4KiB";
    if (!row.special.word.empty()) text += "; or \"" + std::string(row.special.word) + "\"";
  }
  return text;
}

}  // namespace kvtier::daemon
