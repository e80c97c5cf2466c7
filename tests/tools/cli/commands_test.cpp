// Commands against a real admin server that asks a core of the test's own: text, JSON, rights, exit
// statuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "daemon/admin/admin_server.hpp"
#include "tests/daemon/admin/fake_core.hpp"
#include "tests/tools/cli/run_cli.hpp"

namespace kvtier::tools {
namespace {

using daemon::FakeMailbox;
using ::testing::HasSubstr;
using ::testing::Not;

class Commands : public ::testing::Test {
 protected:
  Commands() {
    char name[] = "/tmp/kvtier-cli-test-XXXXXX";
    folder = mkdtemp(name);
    mailbox.control.shown = daemon::sample_snapshot();
    mailbox.control.chunks.push_back(daemon::sample_chunk());
    auto started = daemon::AdminServer::start({.socket = folder + "/admin.sock"}, mailbox);
    EXPECT_TRUE(started.ok());
    server = std::move(*started);
  }
  ~Commands() override {
    server.reset();
    std::filesystem::remove_all(folder);
  }
  CliRun run(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--socket", folder + "/kvtier.sock"});
    return run_cli(arguments);
  }
  nlohmann::json json(std::vector<std::string> arguments) {
    arguments.emplace_back("--json");
    const CliRun done = run(arguments);
    EXPECT_EQ(done.status, kExitOk) << done.err;
    EXPECT_EQ(done.err, "");
    return nlohmann::json::parse(done.out);
  }

  std::string folder;
  FakeMailbox mailbox;
  std::unique_ptr<daemon::AdminServer> server;
};

TEST_F(Commands, StatusShowsTheStateFirst) {
  const CliRun done = run({"status"});
  EXPECT_EQ(done.status, kExitOk) << done.err;
  EXPECT_TRUE(done.out.starts_with("good")) << done.out;
  EXPECT_THAT(done.out, HasSubstr("TIER"));
  EXPECT_THAT(done.out, HasSubstr("1.0 GiB"));
  EXPECT_THAT(done.out, Not(HasSubstr("\033")));
  EXPECT_EQ(json({"status"})["schema"], 1);
}

TEST_F(Commands, ADegradedDaemonIsExitStatus4WithItsProblems) {
  mailbox.change([](FakeMailbox& box) {
    box.control.shown.health = "degraded";
    box.control.shown.problems = {"memory is not locked: set LimitMEMLOCK"};
  });
  const CliRun done = run({"status"});
  EXPECT_EQ(done.status, kExitDegraded);
  EXPECT_THAT(done.out, HasSubstr("LimitMEMLOCK"));
  EXPECT_EQ(run({"status", "--json"}).status, kExitDegraded);
}

TEST_F(Commands, ADegradedTierIsExitStatus4) {
  EXPECT_EQ(run({"tier", "show", "host"}).status, kExitOk);
  mailbox.change([](FakeMailbox& box) { box.control.shown.tiers[0].state = "degraded"; });
  EXPECT_EQ(run({"tier", "show", "host"}).status, kExitDegraded);
}

TEST_F(Commands, ListsAsTextAndJson) {
  EXPECT_THAT(run({"tier", "list"}).out, HasSubstr("host"));
  EXPECT_EQ(json({"tier", "list"})["tiers"][0]["name"], "host");
  EXPECT_THAT(run({"tier", "show", "host"}).out, HasSubstr("unlimited"));
  EXPECT_EQ(json({"tier", "show", "host"})["policy"], "lru");
  EXPECT_THAT(run({"space", "list"}).out, HasSubstr("model"));
  EXPECT_EQ(json({"space", "list"})["spaces"].size(), 1u);
  EXPECT_THAT(run({"session", "list"}).out, HasSubstr("engine"));
  EXPECT_EQ(json({"session", "list"})["sessions"][0]["id"], 7);
  EXPECT_THAT(run({"chunk", "list"}).out, HasSubstr("00112233445566778899aabbccddeeff"));
  EXPECT_EQ(json({"chunk", "list", "-n", "3"})["chunks"].size(), 1u);
  EXPECT_THAT(run({"chunk", "show", "00112233"}).out, HasSubstr("0000000000000abc"));
  EXPECT_EQ(json({"chunk", "show", "00112233"})["chunks"][0]["state"], "valid");
  EXPECT_THAT(run({"config", "show"}).out, HasSubstr("capacity = \"2GiB\""));
  EXPECT_GT(json({"config", "show"})["options"].size(), 20u);
  EXPECT_EQ(json({"version"})["daemon"]["version"], "0.1.0");
}

TEST_F(Commands, IostatShowsMeansSinceTheStart) {
  const CliRun done = run({"iostat"});
  EXPECT_EQ(done.status, kExitOk) << done.err;
  EXPECT_THAT(done.out, HasSubstr("/mnt/nvme0"));
  const auto device = json({"iostat"})["devices"][0];
  EXPECT_DOUBLE_EQ(device["reads_per_second"], 10 / 12.5);
  EXPECT_DOUBLE_EQ(device["read_bytes_per_second"], 20e6 / 12.5);
  EXPECT_DOUBLE_EQ(device["read_milliseconds"], 5);
  EXPECT_DOUBLE_EQ(device["write_amplification"], 1.05);  // without the preparation
}

TEST_F(Commands, IostatShowsWhatAnIntervalBrought) {
  // Each look of the CLI finds the device 8 reads further.
  mailbox.change([](FakeMailbox& box) {
    box.control.on_snapshot = [](daemon::CoreSnapshot& core) {
      daemon::TierDevice& device = core.tiers[1].devices[0];
      device.reads += 8;
      device.read_bytes += 8'000'000;
      device.read_seconds += 0.016;
    };
  });
  const auto shown = json({"iostat", "0.1", "1"});
  const double seconds = shown["seconds"];
  EXPECT_GE(seconds, 0.1);
  const auto& device = shown["devices"][0];
  EXPECT_NEAR(device["reads_per_second"].get<double>() * seconds, 8, 1e-6);
  EXPECT_NEAR(device["read_bytes_per_second"].get<double>() * seconds, 8e6, 1e-3);
  EXPECT_NEAR(device["read_milliseconds"], 2, 1e-6);
  EXPECT_EQ(device["writes_per_second"], 0);
  EXPECT_TRUE(device["write_amplification"].is_null());
}

TEST_F(Commands, IostatOfADeviceOutOfServiceIsExitStatus4) {
  mailbox.change([](FakeMailbox& box) {
    box.control.shown.tiers[1].devices[0].state = "out_of_service";
    box.control.shown.tiers[1].devices[0].reason = "took too long";
  });
  const CliRun done = run({"iostat"});
  EXPECT_EQ(done.status, kExitDegraded);
  EXPECT_THAT(done.out, HasSubstr("took too long"));
  EXPECT_THAT(run({"tier", "show", "nvme"}).out, HasSubstr("out_of_service"));
}

TEST_F(Commands, IostatWithoutDisksSaysSo) {
  mailbox.change([](FakeMailbox& box) { box.control.shown.tiers.pop_back(); });
  const CliRun done = run({"iostat", "1"});
  EXPECT_EQ(done.status, kExitOk);
  EXPECT_THAT(done.err, HasSubstr("nvme.capacity"));
  EXPECT_EQ(json({"iostat"})["devices"].size(), 0u);
}

TEST_F(Commands, TopWithoutATerminalPrintsOnce) {
  const CliRun done = run({"top"});
  EXPECT_EQ(done.status, kExitOk);
  EXPECT_THAT(done.out, HasSubstr("engine"));
  EXPECT_THAT(done.out, Not(HasSubstr("\033")));
  const auto rates = json({"top", "-i", "0.1"});
  EXPECT_GT(rates["rates"]["seconds"], 0.05);
  EXPECT_EQ(rates["status"]["schema"], 1);
}

TEST_F(Commands, MetricsAsTextAndJson) {
  EXPECT_THAT(run({"metrics"}).out, HasSubstr("# TYPE kvtier_build_info gauge\n"));
  const auto metrics = json({"metrics"})["metrics"];
  bool found = false;
  for (const auto& metric : metrics) {
    EXPECT_FALSE(metric["help"].get<std::string>().empty());
    if (metric["name"] != "kvtier_lookup_chunks_total") continue;
    found = true;
    EXPECT_EQ(metric["type"], "counter");
    EXPECT_EQ(metric["samples"].size(), 10u);  // five places, two tenants
    EXPECT_EQ(metric["samples"][0]["labels"]["tenant"], "default");
    EXPECT_EQ(metric["samples"][0]["labels"]["tier"], "host");
  }
  EXPECT_TRUE(found);
}

TEST_F(Commands, ChangesWithYes) {
  EXPECT_EQ(json({"session", "kill", "7", "--yes"})["killed"], 7);
  EXPECT_EQ(json({"chunk", "drop", "00112233", "--yes"})["chunks"], 1);
  EXPECT_EQ(run({"chunk", "pin", "00112233", "--seconds", "2.5"}).out, "pinned 1 chunk\n");
  EXPECT_EQ(run({"chunk", "unpin", "00112233"}).out, "unpinned 1 chunk\n");
  EXPECT_EQ(json({"flush", "--tenant", "uid-1000", "--yes"})["chunks"], 3);
  EXPECT_EQ(json({"config", "reload"})["changed"][0], "host.lease_max");
  EXPECT_EQ(mailbox.control.killed, 1);
  EXPECT_EQ(mailbox.control.acted.size(), 3u);
  EXPECT_EQ(mailbox.control.acted[1].pin_seconds, 2.5);
  EXPECT_EQ(mailbox.control.flushed, std::vector<std::string>{"uid-1000"});
}

TEST_F(Commands, WithoutYesNothingIsChanged) {
  EXPECT_EQ(run({"flush"}).status, kExitUsage);
  EXPECT_EQ(run({"session", "kill", "7"}).status, kExitUsage);
  EXPECT_EQ(run({"chunk", "drop", "00112233"}).status, kExitUsage);
  EXPECT_TRUE(mailbox.timeouts_ns.empty());
}

TEST_F(Commands, RefusalsOfTheDaemonAreFailuresWithItsReason) {
  for (const auto& [arguments, reason] :
       std::vector<std::pair<std::vector<std::string>, const char*>>{
           {{"session", "kill", "8", "--yes"}, "no session"},
           {{"tier", "show", "moon"}, "there are: host"},
           {{"chunk", "show", "ffffffff"}, "no tier holds"},
           {{"chunk", "show", "xyz"}, "hex digits"}}) {
    const CliRun done = run(arguments);
    EXPECT_EQ(done.status, kExitFailed) << arguments[0];
    EXPECT_THAT(done.err, HasSubstr(reason));
    EXPECT_EQ(done.out, "");
  }
}

TEST_F(Commands, AStuckCoreIsExitStatus3) {
  mailbox.change([](FakeMailbox& box) { box.mode = FakeMailbox::Mode::kStuck; });
  const CliRun done = run({"status"});
  EXPECT_EQ(done.status, kExitUnreachable);
  EXPECT_THAT(done.err, HasSubstr("stuck"));
}

TEST_F(Commands, NamesOfClientsDoNotDriveTheTerminal) {
  mailbox.change([](FakeMailbox& box) { box.control.shown.sessions[0].name = "\033[2Jx"; });
  EXPECT_THAT(run({"session", "list"}).out, HasSubstr("?[2Jx"));
}

TEST_F(Commands, DoctorNamesEachCheckAndIsDegradedWithoutAnAttachSocket) {
  const CliRun done = run({"doctor", "--json"});
  EXPECT_EQ(done.status, kExitDegraded);
  const auto report = nlohmann::json::parse(done.out);
  EXPECT_EQ(report["ok"], false);
  bool attach = false;
  for (const auto& check : report["checks"]) {
    EXPECT_TRUE(check["verdict"] != "degraded" || check["remedy"] != "") << check["name"];
    attach = attach || (check["name"] == "attach_socket" && check["verdict"] == "degraded");
  }
  EXPECT_TRUE(attach);
}

}  // namespace
}  // namespace kvtier::tools
