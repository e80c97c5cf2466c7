// How problems look, byte for byte, and which name is the nearest.
#include "daemon/config/problems.hpp"

#include <array>
#include <set>

#include "tests/daemon/config/support.hpp"

namespace kvtier::daemon {
namespace {

TEST(Problems, LookLikeThoseOfACompiler) {
  EXPECT_EQ(
      rendered(parse("[host]\n\tcapacty = \"4TiB\" # all\nlock = \"maybe\"\n[log]\nlevel = 7\n")),
      R"(error[C003]: unknown option 'capacty' in [host]
  --> k.toml:2:2
  |
2 |  capacty = "4TiB" # all
  |  ^^^^^^^
  = help: did you mean 'capacity'?

error[C007]: 'host.lock' cannot be "maybe"
  --> k.toml:3:8
  |
3 | lock = "maybe"
  |        ^^^^^^^
  = help: allowed: "auto", "never", "require"

error[C004]: 'log.level' cannot be an integer
  --> k.toml:5:9
  |
5 | level = 7
  |         ^ this is an integer
  = help: write a string in quotes
)");
}

TEST(Problems, CaretsCountCharactersNotBytes) {
  EXPECT_EQ(rendered(parse("[daemon]\nsocket_group = \"caf\u00e9 du coin\"\n")),
            "error[C005]: 'daemon.socket_group' is not a group name: \"caf\u00e9 du coin\"\n"
            "  --> k.toml:2:16\n"
            "  |\n"
            "2 | socket_group = \"caf\u00e9 du coin\"\n"
            "  |                ^^^^^^^^^^^^^^\n"
            "  = help: write it as in /etc/group\n");
}

TEST(Problems, TheSumsOfATooSmallPoolAreShown) {
  EXPECT_EQ(
      rendered(parse(R"([host]
capacity = "48MiB"
[[tenant]]
name = "a"
uids = [1]
)")),
      R"(error[C010]: the host tier is too small: 1 configured tenants and 1 for users without an entry, each with at least one segment of 32MiB, need 2 x 32MiB = 64MiB; host.capacity is 48MiB
  --> k.toml:2:12
  |
2 | capacity = "48MiB"
  |            ^^^^^^^ at least "64MiB"
  = help: raise host.capacity to "64MiB", lower host.segment_bytes_min, or set it to 0 to have no host tier
)");
}

TEST(Problems, ControlCharactersDoNotReachTheTerminal) {
  ConfigProblem problem;
  problem.code = "C001";
  problem.file = "a\x1b[2J";
  problem.line = 1;
  problem.column = 1;
  problem.text_line = "\x1b]0;x\x07";
  problem.message = "m\r\n";
  const std::string text = render_problems({problem}, Color::kNever);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\x07'), std::string::npos);
  EXPECT_EQ(text.find('\r'), std::string::npos);
}

TEST(Problems, LongLinesAreCutAroundTheCarets) {
  const ConfigOutcome outcome =
      parse("[daemon]\nsocket" + std::string(300, ' ') + "= \"x" + std::string(5000, 'y') + "\"\n");
  ASSERT_EQ(outcome.problems.size(), 1u);
  const std::string text = rendered(outcome);
  const size_t row = text.find("2 | ");
  EXPECT_LT(text.find('\n', row) - row, 200u) << text;
  EXPECT_NE(text.find("... "), std::string::npos);
  EXPECT_NE(text.find("\"xyyy"), std::string::npos);
}

TEST(Problems, ColorIsOnlyAnOption) {
  const ConfigOutcome outcome = parse("x = 1");
  EXPECT_EQ(render_problems(outcome.problems, Color::kNever).find('\x1b'), std::string::npos);
  EXPECT_NE(render_problems(outcome.problems, Color::kAlways).find("\x1b[1;31m"),
            std::string::npos);
}

TEST(Problems, NoProblemsNoText) {
  EXPECT_EQ(render_problems({}, Color::kAlways), "");
}

TEST(Problems, EveryCodeHasItsRow) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < problem_rows().size(); ++i) {
    EXPECT_EQ(static_cast<size_t>(problem_rows()[i].code), i);
    EXPECT_TRUE(names.insert(problem_rows()[i].name).second);
  }
}

TEST(Problems, NearestNameForgivesSlipsOnly) {
  constexpr std::array<std::string_view, 4> kNames = {"capacity", "lock", "lease_max", "warning"};
  EXPECT_EQ(nearest_name("capacty", kNames), "capacity");
  EXPECT_EQ(nearest_name("cpaacity", kNames), "capacity");
  EXPECT_EQ(nearest_name("lokc", kNames), "lock");
  EXPECT_EQ(nearest_name("lease-max", kNames), "lease_max");
  EXPECT_EQ(nearest_name("warn", kNames), "warning");
  EXPECT_EQ(nearest_name("bananas", kNames), "");
  EXPECT_EQ(nearest_name("", kNames), "");
  EXPECT_EQ(nearest_name(std::string(10'000, 'x'), kNames), "");
}

}  // namespace
}  // namespace kvtier::daemon
