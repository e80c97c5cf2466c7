// The one table of options. A row is everything there is to know about an option: parsing, ranges,
// `config show`, the documented default file, the manual page and the error messages come from it.
// Constant data and pure functions, any thread. To add an option: a field in config.hpp, a row
// here.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "daemon/config/config.hpp"
#include "daemon/config/problems.hpp"

namespace kvtier::daemon {

enum class ValueKind : uint8_t {
  kCount,     // whole number
  kSize,      // bytes
  kRate,      // bytes a second
  kDuration,  // nanoseconds
  kShare,     // parts per million
  kMode,      // file permission bits
  kChoice,    // one of a few words
  kName,      // [a-z0-9][a-z0-9_-]*, or empty where the default is
  kModel,     // name of a model, or its beginning and '*'
  kGroup,     // name of a group of the system, or empty
  kPath,      // absolute path, or empty
  kSocket,    // absolute path that fits a socket address, or empty
  kListen,    // loopback address:port, or empty
  kUids,      // array of user ids
  kPaths,     // array of absolute paths
};

enum class Reload : uint8_t { kLive, kRestart };  // taken over at SIGHUP, or needs a restart
enum class Form : uint8_t { kAny, kPowerOfTwo, kPages };  // what numbers must be, besides in range

using FieldRef =
    std::variant<std::string*, uint64_t*, std::vector<uint32_t>*, std::vector<std::string>*,
                 Demand*, Switch*, VerifyMode*, UnlistedUids*, WhenBehind*, KeepMode*, Encode*,
                 LogLevel*, LogFormat*>;

// A word that stands for a number, e.g. "unlimited".
struct Special {
  std::string_view word = {};
  uint64_t value = 0;
};

struct OptionRow {
  std::string_view name;          // "host.capacity"; in [[tenant]] just "name"
  ValueKind kind;                 //
  std::string_view default_text;  // as one writes it, without quotes
  uint64_t min = 0;               // both inclusive; of numbers
  uint64_t max = INT64_MAX;
  Form form = Form::kAny;
  Special special = {};
  std::string_view choices = {};  // "auto|never|require", in the order of the enum
  Reload reload = Reload::kRestart;
  std::string_view help;
  FieldRef (*field)(void* owner);  // owner: a Config, for [[tenant]] a TenantConfig, ...
};

// A table of the file and what it is about.
struct TableRow {
  std::string_view name;
  std::string_view help;
};

std::span<const OptionRow> option_rows();  // grouped by table
std::span<const OptionRow> tenant_rows();  // of a [[tenant]] entry; "name" is required
std::span<const OptionRow> space_rows();   // of a [[space]] entry; "model" is required
std::span<const TableRow> table_rows();    // in the order of the file

// The row of that name, or null.
const OptionRow* find_option(std::span<const OptionRow> rows, std::string_view name);

// A value as it stands in a file, free of the TOML library.
struct RawValue {
  enum class Type : uint8_t { kString, kInteger, kOctal, kFloat, kBoolean, kArray, kTable, kOther };
  Type type = Type::kOther;
  std::string text;     // of a string
  int64_t integer = 0;  // of kInteger and kOctal
  std::vector<RawValue> items;
};

struct ValueProblem {
  ProblemCode code;
  std::string message;
  std::string label;
  std::string help;
};

// Checks the value and stores it in the row's field of `owner`; on a problem the field is
// unchanged.
std::optional<ValueProblem> set_option(const OptionRow& row, const RawValue& value, void* owner);

// The value as one would write it: bare for JSON and tables, quoted where TOML wants it.
std::string option_text(const OptionRow& row, const void* owner);
std::string option_toml(const OptionRow& row, const void* owner);

// The row's default, quoted where TOML wants it.
std::string default_toml(const OptionRow& row);

// For people: "size, 64KiB to 16GiB, a power of two".
std::string describe_values(const OptionRow& row);

}  // namespace kvtier::daemon
