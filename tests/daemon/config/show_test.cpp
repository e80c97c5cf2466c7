// The configuration as text: it reads back as the same, and the documents in the tree are current.
#include "daemon/config/show.hpp"

#include <cctype>

#include "daemon/config/options.hpp"
#include "tests/daemon/config/support.hpp"

namespace kvtier::daemon {
namespace {

// Takes the comment signs off the options of the documented file.
std::string uncommented(const std::string& text) {
  std::string out;
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = text.find('\n', at);
    std::string line = text.substr(at, end - at);
    const bool option = line.size() > 1 && line[0] == '#' && line[1] != ' ';
    out += (option ? line.substr(1) : line) + "\n";
    at = end + 1;
  }
  return out;
}

TEST(Show, TheDocumentedFileIsTheDefaultConfiguration) {
  const ConfigOutcome outcome = parse(default_config_text());
  ASSERT_TRUE(outcome.ok()) << rendered(outcome);
  EXPECT_EQ(outcome.config, Config());
}

TEST(Show, TheDocumentedFileNamesEveryOptionAtItsDefault) {
  std::string text = uncommented(default_config_text());
  const ConfigOutcome incomplete = parse(text);
  ASSERT_EQ(incomplete.problems.size(), 2u) << rendered(incomplete);
  EXPECT_EQ(incomplete.problems[0].message, "this [[tenant]] has no name");
  EXPECT_EQ(incomplete.problems[1].message, "this [[space]] has no model");
  text.replace(text.find("\nmodel = \"\""), 11, "\nmodel = \"m*\"");
  text.replace(text.find("\nname = \"\""), 10, "\nname = \"a\"");
  text.replace(text.find("\nuids = []"), 10, "\nuids = [7]");
  const ConfigOutcome outcome = parse(text);
  ASSERT_TRUE(outcome.ok()) << rendered(outcome);
  Config expected;
  TenantConfig tenant;
  tenant.name = "a";
  tenant.uids = {7};
  expected.tenant.push_back(tenant);
  SpaceConfig space;
  space.model = "m*";
  expected.space.push_back(space);
  EXPECT_EQ(outcome.config, expected);
  for (const OptionRow& row : option_rows()) {
    const std::string key(row.name.substr(row.name.find('.') + 1));
    EXPECT_NE(text.find("\n" + key + " = "), std::string::npos) << row.name;
  }
}

TEST(Show, EffectiveValuesReadBackAsTheSame) {
  ConfigOutcome outcome =
      parse(read_all(std::string(KVTIER_SOURCE_DIR) + "/tests/daemon/config/corpus/tenants.toml"));
  ASSERT_TRUE(outcome.ok()) << rendered(outcome);
  outcome.config.daemon.state_directory = "/with \"quotes\" and \\";
  const std::string text = show_config(outcome.config);
  const ConfigOutcome again = parse(text);
  ASSERT_TRUE(again.ok()) << rendered(again) << text;
  EXPECT_EQ(again.config, outcome.config);
  EXPECT_EQ(parse(show_config(Config())).config, Config());
}

TEST(Show, TheListSaysWhatIsDefaultAndWhatNeedsARestart) {
  const ConfigOutcome outcome =
      parse("[host]\ncapacity = \"2GiB\"\n[[tenant]]\nname=\"a\"\nuids=[3]");
  ASSERT_TRUE(outcome.ok()) << rendered(outcome);
  const std::vector<ConfigValue> values = list_config(outcome.config);
  EXPECT_EQ(values.size(), option_rows().size() + tenant_rows().size());
  size_t seen = 0;
  for (const ConfigValue& value : values) {
    if (value.name == "host.capacity") {
      EXPECT_EQ(value.value, "2GiB");
      EXPECT_FALSE(value.is_default);
      EXPECT_TRUE(value.needs_restart);
      ++seen;
    } else if (value.name == "log.level") {
      EXPECT_TRUE(value.is_default);
      EXPECT_FALSE(value.needs_restart);
      ++seen;
    } else if (value.name == "tenant.a.uids") {
      EXPECT_EQ(value.value, "3");
      ++seen;
    }
  }
  EXPECT_EQ(seen, 3u);
}

TEST(Show, TheManualIsMadeFromTheRows) {
  expect_document("docs/man/kvtier.toml.5.scd", config_manual());
}

}  // namespace
}  // namespace kvtier::daemon
