// The table of options: no field without a row, no row whose default is not a value of its own.
#include "daemon/config/options.hpp"

#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "daemon/config/load.hpp"
#include "daemon/config/show.hpp"

namespace kvtier::daemon {
namespace {

// Counts the members of an aggregate: the longest brace list that initialises it.
struct Anything {
  template <typename T>
  operator T() const;
};
template <typename T, size_t... kIndex>
constexpr bool takes(std::index_sequence<kIndex...>) {
  return requires {
    T{(static_cast<void>(kIndex), Anything{})...};
  };
}
template <typename T, size_t kCount = 32>
constexpr size_t field_count() {
  if constexpr (takes<T>(std::make_index_sequence<kCount>())) {
    return kCount;
  } else {
    return field_count<T, kCount - 1>();
  }
}

size_t rows_of(std::string_view table) {
  size_t count = 0;
  for (const OptionRow& row : option_rows()) {
    count += row.name.starts_with(std::string(table) + ".") ? 1u : 0u;
  }
  return count;
}

const void* address(const FieldRef& field) {
  return std::visit([](const auto* at) -> const void* { return at; }, field);
}

TEST(Options, EveryFieldHasARow) {
  EXPECT_EQ(rows_of("daemon"), field_count<Config::Daemon>());
  EXPECT_EQ(rows_of("log"), field_count<Config::Log>());
  EXPECT_EQ(rows_of("host"), field_count<Config::Host>());
  EXPECT_EQ(rows_of("nvme"), field_count<Config::Nvme>());
  EXPECT_EQ(rows_of("index"), field_count<Config::Index>());
  EXPECT_EQ(rows_of("session"), field_count<Config::Session>());
  EXPECT_EQ(rows_of("verify"), field_count<Config::Verify>());
  EXPECT_EQ(rows_of("tenants"), field_count<Config::Tenants>());
  EXPECT_EQ(rows_of("planner"), field_count<Config::Planner>());
  const size_t per_table = field_count<Config::Daemon>() + field_count<Config::Log>() +
                           field_count<Config::Host>() + field_count<Config::Nvme>() +
                           field_count<Config::Index>() + field_count<Config::Session>() +
                           field_count<Config::Verify>() + field_count<Config::Tenants>() +
                           field_count<Config::Planner>();
  EXPECT_EQ(option_rows().size(), per_table);
}

// A table that was added to Config without rows makes it larger than its tables together.
TEST(Options, EveryTableOfTheConfigurationIsCountedAbove) {
  const size_t tables = sizeof(Config::Daemon) + sizeof(Config::Log) + sizeof(Config::Host) +
                        sizeof(Config::Nvme) + sizeof(Config::Index) + sizeof(Config::Session) +
                        sizeof(Config::Verify) + sizeof(Config::Tenants) + sizeof(Config::Planner) +
                        sizeof(std::vector<TenantConfig>) + sizeof(std::vector<SpaceConfig>);
  EXPECT_LT(sizeof(Config), tables + 4 * alignof(Config));
  EXPECT_EQ(table_rows().size(), 9u);
}

TEST(Options, NoTwoRowsShareAFieldOrAName) {
  Config config;
  TenantConfig tenant;
  std::set<const void*> fields;
  std::set<std::string_view> names;
  for (const OptionRow& row : option_rows()) {
    EXPECT_TRUE(fields.insert(address(row.field(&config))).second) << row.name;
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
  }
  for (const OptionRow& row : tenant_rows()) {
    EXPECT_TRUE(fields.insert(address(row.field(&tenant))).second) << row.name;
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
  }
  EXPECT_EQ(tenant_rows().size(), 9u)
      << "a field of TenantConfig has no row, or this number is old";
  constexpr size_t kTenantBytes =
      3 * sizeof(std::string) + sizeof(std::vector<uint32_t>) + 5 * sizeof(uint64_t);
  EXPECT_EQ(sizeof(TenantConfig), kTenantBytes) << "a field was added to TenantConfig: add its row";
  SpaceConfig space;
  for (const OptionRow& row : space_rows()) {
    EXPECT_TRUE(fields.insert(address(row.field(&space))).second) << row.name;
  }
  EXPECT_EQ(space_rows().size(), 3u) << "a field of SpaceConfig has no row";
  EXPECT_EQ(sizeof(SpaceConfig), sizeof(std::string) + alignof(std::string));
}

TEST(Options, EveryDefaultIsWrittenAsItWouldBeShown) {
  const Config config;
  for (const OptionRow& row : option_rows()) {
    EXPECT_EQ(option_text(row, &config), row.default_text) << row.name;
  }
  const TenantConfig tenant;
  for (const OptionRow& row : tenant_rows()) {
    EXPECT_EQ(option_text(row, &tenant), row.default_text) << row.name;
  }
}

TEST(Options, EveryRowIsExplained) {
  for (const OptionRow& row : option_rows()) {
    EXPECT_GE(row.help.size(), 10u) << row.name;
    EXPECT_TRUE(row.help.ends_with('.')) << row.name;
  }
}

// The words stand in the order of the enums: a swap would silently mean the other thing.
TEST(Options, WordsMeanWhatTheySay) {
  const auto config = [](const std::string& table, const std::string& line) {
    return parse_config_text("[" + table + "]\n" + line, "t").config;
  };
  EXPECT_EQ(config("host", "lock = \"never\"").host.lock, Demand::kNever);
  EXPECT_EQ(config("host", "lock = \"require\"").host.lock, Demand::kRequire);
  EXPECT_EQ(config("host", "huge_pages = \"require\"").host.huge_pages, Demand::kRequire);
  EXPECT_EQ(config("index", "huge_pages = \"never\"").index.huge_pages, Demand::kNever);
  EXPECT_EQ(config("verify", "host = \"always\"").verify.host, VerifyMode::kAlways);
  EXPECT_EQ(config("verify", "host = \"sampled\"").verify.host, VerifyMode::kSampled);
  EXPECT_EQ(config("verify", "host = \"never\"").verify.host, VerifyMode::kNever);
  EXPECT_EQ(config("log", "level = \"debug\"").log.level, LogLevel::kDebug);
  EXPECT_EQ(config("log", "level = \"error\"").log.level, LogLevel::kError);
  EXPECT_EQ(config("log", "format = \"journal\"").log.format, LogFormat::kJournal);
  EXPECT_EQ(config("log", "format = \"text\"").log.format, LogFormat::kText);
  EXPECT_EQ(config("tenants", "unlisted = \"serve\"").tenants.unlisted, UnlistedUids::kServe);
}

TEST(Options, NumbersAreRefusedJustOutsideTheirRange) {
  for (const OptionRow& row : option_rows()) {
    if (row.kind != ValueKind::kCount && row.kind != ValueKind::kSize) continue;
    Config config;
    RawValue value;
    value.type = RawValue::Type::kInteger;
    value.integer = static_cast<int64_t>(row.max);
    EXPECT_FALSE(set_option(row, value, &config)) << row.name;
    value.integer = static_cast<int64_t>(row.min);
    EXPECT_FALSE(set_option(row, value, &config)) << row.name;
    value.integer = static_cast<int64_t>(row.max) + 1;
    EXPECT_TRUE(set_option(row, value, &config)) << row.name;
    value.integer = static_cast<int64_t>(row.min) - 1;
    const bool is_word =
        row.min > 0 && !row.special.word.empty() && row.special.value == row.min - 1;
    EXPECT_NE(set_option(row, value, &config).has_value(), is_word) << row.name;
  }
}

TEST(Options, ARefusedValueLeavesTheFieldAlone) {
  const Config defaults;
  for (const OptionRow& row : option_rows()) {
    for (const auto type : {RawValue::Type::kFloat, RawValue::Type::kBoolean,
                            RawValue::Type::kTable, RawValue::Type::kOther}) {
      Config config;
      RawValue value;
      value.type = type;
      const auto problem = set_option(row, value, &config);
      ASSERT_TRUE(problem) << row.name;
      EXPECT_EQ(problem->code, ProblemCode::kWrongType) << row.name;
      EXPECT_FALSE(problem->help.empty()) << row.name;
      EXPECT_EQ(config, defaults) << row.name;
    }
  }
}

}  // namespace
}  // namespace kvtier::daemon
