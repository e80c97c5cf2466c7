// The protocols of docs/protocol.md hold in all states of the scenarios, and without any one of
// their orders and rules the checker finds the hole, or the order is named as one it cannot tell
// apart. KVTIER_MODEL_TRACE=<part of a label, or all> prints shortest counterexamples.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>

#include "tests/model/changes.hpp"
#include "tests/model/explorer.hpp"
#include "tests/model/scenarios.hpp"

namespace kvtier::model {
namespace {

const Protocol& protocol_named(const std::string& name) {
  return *std::find_if(protocols().begin(), protocols().end(),
                       [&](const Protocol& protocol) { return protocol.name == name; });
}

Variant variant_of(const Change& change) {
  return change.weaker ? Variant(change.name, *change.weaker) : Variant(change.name);
}

// Whether the checker sees the change, and in how many scenarios it took effect.
struct Verdict {
  bool violation = false;
  int scenarios = 0;
};

bool trace_wanted(const std::string& label) {
  const char* wanted = std::getenv("KVTIER_MODEL_TRACE");
  return wanted != nullptr &&
         (std::string(wanted) == "all" || label.find(wanted) != std::string::npos);
}

Verdict judge(const Change& change, bool reduced) {
  Verdict verdict;
  for (const auto build : protocol_named(change.protocol).scenarios) {
    Variant variant = variant_of(change);
    Model model = build(variant);
    if (!variant.used()) continue;
    ++verdict.scenarios;
    model.reduced = reduced;
    const auto result = explore(model);
    if (result.violation.empty()) continue;
    verdict.violation = true;
    if (!trace_wanted(change.label())) continue;
    std::cout << "\n" << change.label() << ", in " << model.name << ":\n";
    for (const auto& line : result.trace) std::cout << "    " << line << "\n";
    std::cout << "  => " << result.violation << "\n";
  }
  return verdict;
}

std::string test_name(const std::string& label) {
  std::string name;
  bool upper = true;
  for (const char c : label) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) {
      upper = true;
      continue;
    }
    name += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    upper = false;
  }
  return name;
}

class FullProtocol : public testing::TestWithParam<Protocol> {};

TEST_P(FullProtocol, HoldsInAllStates) {
  for (const auto build : GetParam().scenarios) {
    Variant unchanged;
    const Model model = build(unchanged);
    const auto result = explore(model);
    std::string trace;
    for (const auto& line : result.trace) trace += "    " + line + "\n";
    EXPECT_EQ(result.violation, "") << model.name << ":\n" << trace;
    std::cout << model.name << ": " << result.states << " states, " << result.steps << " steps\n";
  }
}

INSTANTIATE_TEST_SUITE_P(All, FullProtocol, testing::ValuesIn(protocols()),
                         [](const auto& param) { return test_name(param.param.name); });

class ChangedProtocol : public testing::TestWithParam<Change> {};

TEST_P(ChangedProtocol, IsSeenUnlessNamedAsNotToldApart) {
  const auto& change = GetParam();
  const auto verdict = judge(change, true);
  ASSERT_GT(verdict.scenarios, 0) << "no scenario of " << change.protocol << " asks for it";
  if (change.found == Found::kViolation) {
    EXPECT_TRUE(verdict.violation) << change.label() << ": no scenario fails without it";
  } else {
    EXPECT_FALSE(verdict.violation)
        << change.label() << ": the model does tell it apart: move it in the table";
  }
}

INSTANTIATE_TEST_SUITE_P(All, ChangedProtocol, testing::ValuesIn(changes()),
                         [](const auto& param) { return test_name(param.param.label()); });

TEST(Changes, EveryOrderAndRuleOfAScenarioHasARow) {
  std::set<std::string> rows;
  for (const auto& change : changes()) rows.insert(change.name);
  for (const auto& protocol : protocols()) {
    Variant variant;
    for (const auto build : protocol.scenarios) build(variant);
    for (const auto& name : variant.asked()) {
      EXPECT_TRUE(rows.contains(name)) << protocol.name << ": " << name;
    }
  }
}

TEST(Changes, TakingStoresAtOnceLosesNothing) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the larger state spaces are for unsanitized builds; no other code runs in them";
#endif
  for (const auto& protocol : protocols()) {
    for (const auto build : protocol.scenarios) {
      Variant unchanged;
      Model model = build(unchanged);
      model.reduced = false;
      EXPECT_EQ(explore(model).violation, "") << model.name;
    }
  }
  for (const auto& change : changes()) {
    EXPECT_EQ(judge(change, false).violation, change.found == Found::kViolation) << change.label();
  }
}

// README.md shows what this program finds: the lines it must contain, in this order.
std::string readme_tables() {
  std::ostringstream out;
  out << "| protocol | scenario | states | steps |\n| --- | --- | ---: | ---: |\n";
  for (const auto& protocol : protocols()) {
    for (const auto build : protocol.scenarios) {
      Variant unchanged;
      const Model model = build(unchanged);
      const auto result = explore(model);
      out << "| " << protocol.name << " | `" << model.name << "` | " << result.states << " | "
          << result.steps << " |\n";
    }
  }
  for (const auto found : {Found::kViolation, Found::kNothing}) {
    out << "\n| change | "
        << (found == Found::kViolation ? "what goes wrong" : "why nothing is seen")
        << " |\n| --- | --- |\n";
    for (const auto& change : changes()) {
      if (change.found == found) out << "| " << change.label() << " | " << change.meaning << " |\n";
    }
  }
  return out.str();
}

TEST(Changes, ReadmeShowsTheTables) {
  std::ifstream file(std::string(KVTIER_SOURCE_DIR) + "/tests/model/README.md");
  std::stringstream text;
  text << file.rdbuf();
  std::istringstream lines(readme_tables());
  size_t at = 0;
  for (std::string line; std::getline(lines, line);) {
    const size_t found = text.str().find(line + "\n", at);
    ASSERT_NE(found, std::string::npos)
        << "tests/model/README.md lacks this line, or has it elsewhere:\n"
        << line << "\nThe tables as they are now:\n"
        << readme_tables();
    at = found + line.size();
  }
}

}  // namespace
}  // namespace kvtier::model
