// Daemons of one's own: the real kvtierd, and programs that do not behave.
#include "tools/cli/spawn.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tools/admin/admin_client.hpp"

namespace kvtier::tools {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

class Spawn : public ::testing::Test {
 protected:
  Spawn() {
    char name[] = "/tmp/kvtier-spawn-test-XXXXXX";
    folder = mkdtemp(name);
    options.program = KVTIER_PROGRAM_DIR "/kvtierd";
    options.config_text = "[host]\ncapacity = \"64MiB\"\nlock = \"never\"\n";
  }
  ~Spawn() override { fs::remove_all(folder); }
  std::string script(const std::string& body) {
    std::string path = folder + "/program.sh";
    std::ofstream(path) << "#!/bin/sh\n" << body;
    fs::permissions(path, fs::perms::owner_all);
    return path;
  }
  std::string folder;
  SpawnOptions options;
};

TEST_F(Spawn, StartsAServingDaemonAndStopsIt) {
  options.directory = folder + "/new/kv";
  auto started = SpawnedDaemon::start(options);
  ASSERT_TRUE(started.ok()) << started.error().message();
  SpawnedDaemon& daemon = **started;
  EXPECT_TRUE(daemon.running());
  EXPECT_GT(daemon.cpu_seconds(), 0);
  EXPECT_GT(daemon.rss_bytes(), 1u << 20);
  const auto status = ask_admin({.socket = daemon.admin_socket(), .target = "/v1/status"});
  ASSERT_TRUE(status.ok());
  EXPECT_THAT(status->body, HasSubstr("\"capacity_bytes\":67108864"));
  EXPECT_EQ(fs::status(options.directory).permissions(), fs::perms::owner_all);

  const SpawnUsage& usage = daemon.stop();
  EXPECT_EQ(usage.exit_status, 0) << daemon.log_tail(20);
  EXPECT_FALSE(usage.killed);
  EXPECT_GT(usage.cpu_seconds, 0);
  EXPECT_FALSE(daemon.running());
  EXPECT_TRUE(fs::exists(daemon.log_path()));
}

TEST_F(Spawn, AFolderOfItsOwnIsUsedAgainAndATemporaryOneIsRemoved) {
  options.directory = folder + "/kv";
  for (int i = 0; i < 2; ++i) {
    auto started = SpawnedDaemon::start(options);
    ASSERT_TRUE(started.ok()) << started.error().message();
  }
  options.directory.clear();
  auto started = SpawnedDaemon::start(options);
  ASSERT_TRUE(started.ok()) << started.error().message();
  const std::string temporary = (*started)->directory();
  EXPECT_TRUE(fs::exists(temporary));
  (*started).reset();
  EXPECT_FALSE(fs::exists(temporary));
}

TEST_F(Spawn, SomebodyElsesFolderAndOneInUseAreRefused) {
  std::ofstream(folder + "/precious") << "x";
  options.directory = folder;
  EXPECT_EQ(SpawnedDaemon::start(options).code(), Code::kInvalidArgument);
  options.directory = folder + "/kv";
  auto first = SpawnedDaemon::start(options);
  ASSERT_TRUE(first.ok()) << first.error().message();
  EXPECT_EQ(SpawnedDaemon::start(options).code(), Code::kInvalidArgument);
  EXPECT_TRUE((*first)->running());
}

TEST_F(Spawn, ALongFolderNameStillGetsSockets) {
  options.directory = folder + "/" + std::string(150, 'd');
  auto started = SpawnedDaemon::start(options);
  ASSERT_TRUE(started.ok()) << started.error().message();
  const std::string sockets = fs::path((*started)->socket()).parent_path();
  (*started).reset();
  EXPECT_FALSE(fs::exists(sockets));
}

TEST_F(Spawn, ABadConfigurationIsReportedWithTheDaemonsWords) {
  options.config_text = "[host]\ncapacty = 5\n";
  options.directory = folder + "/kv";
  const auto started = SpawnedDaemon::start(options);
  ASSERT_EQ(started.code(), Code::kUnavailable);
  EXPECT_THAT(started.error().message(), HasSubstr("78"));
  EXPECT_THAT(started.error().message(), HasSubstr("capacity"));
}

TEST_F(Spawn, AProgramThatNeverGetsReadyIsEnded) {
  options.program = script("echo waiting; exec sleep 1000\n");
  options.directory = folder + "/kv";
  options.start_timeout = milliseconds(300);
  const auto started = SpawnedDaemon::start(options);
  ASSERT_EQ(started.code(), Code::kDeadline);
  EXPECT_THAT(started.error().message(), HasSubstr("waiting"));
}

TEST_F(Spawn, AMissingProgramIsSaid) {
  options.program = folder + "/absent";
  EXPECT_EQ(SpawnedDaemon::start(options).code(), Code::kUnavailable);
}

TEST_F(Spawn, ADaemonThatIsStoppedHearsSigtermAndOneThatWillNotEndIsKilled) {
  options.directory = folder + "/kv";
  options.stop_timeout = milliseconds(5000);
  auto started = SpawnedDaemon::start(options);
  ASSERT_TRUE(started.ok()) << started.error().message();
  kill((*started)->pid(), SIGSTOP);
  EXPECT_FALSE((*started)->stop().killed);
  (*started).reset();

  auto second = SpawnedDaemon::start(options);
  ASSERT_TRUE(second.ok()) << second.error().message();
  EXPECT_EQ((*second)->kill_now().exit_status, 128 + SIGKILL);
}

TEST_F(Spawn, TheDaemonDiesWithItsParent) {
  options.directory = folder + "/kv";
  int report[2];
  ASSERT_EQ(pipe(report), 0);
  const pid_t parent = fork();
  if (parent == 0) {
    auto started = SpawnedDaemon::start(options);
    const pid_t daemon = started.ok() ? (*started)->pid() : -1;
    [[maybe_unused]] const ssize_t written = write(report[1], &daemon, sizeof daemon);
    for (;;) pause();
  }
  pid_t daemon = -1;
  ASSERT_EQ(read(report[0], &daemon, sizeof daemon), static_cast<ssize_t>(sizeof daemon));
  ASSERT_GT(daemon, 0);
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, daemon, 0));
  ASSERT_GE(pidfd, 0);
  kill(parent, SIGKILL);
  waitpid(parent, nullptr, 0);
  pollfd end{pidfd, POLLIN, 0};
  EXPECT_EQ(poll(&end, 1, 20'000), 1) << "the daemon lives on";
  close(pidfd);
}

TEST(FindDaemon, SaysWhereItLooked) {
  // Beside this test there is none; PATH decides.
  const std::string before = std::getenv("PATH");
  setenv("PATH", "/nonexistent", 1);
  EXPECT_EQ(find_daemon_program().code(), Code::kNotFound);
  setenv("PATH", KVTIER_PROGRAM_DIR, 1);
  const auto found = find_daemon_program();
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, KVTIER_PROGRAM_DIR "/kvtierd");
  setenv("PATH", before.c_str(), 1);
}

}  // namespace
}  // namespace kvtier::tools
