// A reload takes over everything or nothing, and names what it would need.
#include "daemon/config/reload.hpp"

#include "tests/daemon/config/support.hpp"

namespace kvtier::daemon {
namespace {

using Verdict = ReloadPlan::Verdict;
using Names = std::vector<std::string>;

TEST(Reload, DifferencesAreSplitByWhatTheyNeed) {
  const Config before =
      parse("[[tenant]]\nname=\"a\"\nuids=[1]\n[[tenant]]\nname=\"b\"\nuids=[2]\n").config;
  const Config after = parse(
                           "[log]\nlevel=\"debug\"\n[host]\nlease_max=\"5s\"\ncapacity=\"2GiB\"\n"
                           "[[tenant]]\nname=\"c\"\nuids=[3]\n[[tenant]]\nname=\"a\"\nuids=[1,4]\n")
                           .config;
  const ConfigDiff diff = diff_config(before, after);
  EXPECT_EQ(diff.live, (Names{"log.level", "host.lease_max"}));
  EXPECT_EQ(diff.restart, (Names{"host.capacity", "tenant.a.uids", "tenant.b", "tenant.c"}));
  EXPECT_TRUE(diff_config(after, after).empty());
}

TEST(Reload, TheOrderOfTenantsMeansNothing) {
  const std::string a = "[[tenant]]\nname=\"a\"\nuids=[1]\n",
                    b = "[[tenant]]\nname=\"b\"\nuids=[2]\n";
  EXPECT_TRUE(diff_config(parse(a + b).config, parse(b + a).config).empty());
}

TEST(Reload, CodecsChangeLive) {
  const Config after =
      parse("[nvme]\nencode=\"int8\"\n[[space]]\nmodel=\"m\"\nencode=\"fp8\"\n").config;
  const ConfigDiff diff = diff_config(Config(), after);
  EXPECT_EQ(diff.live, (Names{"nvme.encode", "space"}));
  EXPECT_TRUE(diff.restart.empty());
}

TEST(Reload, LiveChangesAreTakenOver) {
  TemporaryFolder folder;
  const ReloadPlan plan =
      plan_reload(Config(), folder.write("k.toml", "[log]\nlevel = \"debug\"\n"));
  EXPECT_EQ(plan.verdict, Verdict::kApply);
  EXPECT_EQ(plan.config.log.level, LogLevel::kDebug);
  EXPECT_EQ(plan.message, "took over log.level");
}

TEST(Reload, OneChangeThatNeedsARestartStopsAllOthers) {
  TemporaryFolder folder;
  const ReloadPlan plan = plan_reload(
      Config(), folder.write("k.toml", "[log]\nlevel = \"debug\"\n[host]\ncapacity = \"2GiB\"\n"));
  EXPECT_EQ(plan.verdict, Verdict::kRefused);
  EXPECT_EQ(plan.config, Config());
  EXPECT_EQ(
      plan.message,
      "kept the running configuration: a restart is needed for host.capacity; not taken over: "
      "log.level");
}

TEST(Reload, ABadFileChangesNothing) {
  TemporaryFolder folder;
  const ReloadPlan plan = plan_reload(
      Config(), folder.write("k.toml", "[log]\nlevel = \"debug\"\n[host]\ncapacity = \"2G\"\n"));
  EXPECT_EQ(plan.verdict, Verdict::kRefused);
  EXPECT_EQ(plan.config, Config());
  EXPECT_NE(plan.message.find("1 problem(s) in "), std::string::npos);
  EXPECT_NE(plan.details.find("did you mean \"2GiB\"?"), std::string::npos);
}

TEST(Reload, TheSameFileIsNoChange) {
  TemporaryFolder folder;
  const ReloadPlan plan = plan_reload(Config(), folder.write("k.toml", "# nothing\n"));
  EXPECT_EQ(plan.verdict, Verdict::kNothingChanged);
}

}  // namespace
}  // namespace kvtier::daemon
