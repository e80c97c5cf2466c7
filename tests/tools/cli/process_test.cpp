// The program kvtier as a process against a real kvtierd: what a script and a terminal see.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tools/cli/command.hpp"
#include "tools/cli/spawn.hpp"

namespace kvtier::tools {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kCli = KVTIER_PROGRAM_DIR "/kvtier";

struct Ran {
  int status = -1;
  std::string out;  // and errors
};
Ran run(const std::string& arguments) {
  FILE* pipe = popen((std::string(kCli) + " " + arguments + " 2>&1 </dev/null").c_str(), "r");
  Ran ran;
  char block[4096];
  while (const size_t got = fread(block, 1, sizeof block, pipe)) ran.out.append(block, got);
  ran.status = WEXITSTATUS(pclose(pipe));
  return ran;
}

class Process : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = SpawnedDaemon::start({.config_text = "[host]\ncapacity = \"64MiB\"\n",
                                         .program = KVTIER_PROGRAM_DIR "/kvtierd"});
    ASSERT_TRUE(started.ok()) << started.error().message();
    daemon = std::move(*started).release();
  }
  static void TearDownTestSuite() { delete daemon; }
  static Ran ask(const std::string& arguments) {
    return run(arguments + " --socket " + daemon->socket());
  }
  static SpawnedDaemon* daemon;
};
SpawnedDaemon* Process::daemon = nullptr;

TEST_F(Process, EveryReadingCommandGivesOneJsonValue) {
  for (const char* command :
       {"status", "tier list", "tier show host", "space list", "session list", "chunk list",
        "config show", "metrics", "version", "doctor", "top -i 0.1"}) {
    const Ran ran = ask(std::string(command) + " --json");
    EXPECT_TRUE(ran.status == kExitOk || ran.status == kExitDegraded) << command << ran.out;
    EXPECT_TRUE(nlohmann::json::accept(ran.out)) << command << ran.out;
  }
}

TEST_F(Process, TextHasNoColoursInAPipe) {
  for (const char* command : {"status", "tier list", "doctor", "top", "--help"}) {
    EXPECT_THAT(ask(command).out, Not(HasSubstr("\033"))) << command;
  }
}

TEST_F(Process, FlushAndReloadReachTheDaemon) {
  EXPECT_EQ(ask("flush").status, kExitUsage);
  EXPECT_EQ(ask("flush --yes").status, kExitOk);
  EXPECT_EQ(ask("flush --tenant nobody-has-this-name --yes").status, kExitFailed);
  const Ran reload = ask("config reload");
  EXPECT_EQ(reload.status, kExitOk) << reload.out;
}

TEST_F(Process, ExitStatusesAreDistinct) {
  EXPECT_EQ(run("status --socket /nonexistent/kvtier.sock").status, kExitUnreachable);
  EXPECT_EQ(run("stauts").status, kExitUsage);
  EXPECT_EQ(ask("tier show moon").status, kExitFailed);
}

TEST_F(Process, StartsInLessThan50Milliseconds) {
  double best = 1e9;
  for (int i = 0; i < 20; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(run("--help").status, 0);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    best = std::min(best, took.count());
  }
  EXPECT_LT(best, 0.050);
}

// A pseudo terminal with kvtier top in it.
TEST_F(Process, TopIsLiveOnATerminalAndQuitsAtQ) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  ASSERT_GE(master, 0);
  ASSERT_EQ(grantpt(master), 0);
  ASSERT_EQ(unlockpt(master), 0);
  const winsize size{.ws_row = 12, .ws_col = 60, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(ioctl(master, TIOCSWINSZ, &size), 0);
  const std::string slave = ptsname(master);
  const pid_t child = fork();
  if (child == 0) {
    setsid();
    const int fd = open(slave.c_str(), O_RDWR);
    for (const int to : {0, 1, 2}) dup2(fd, to);
    execl(kCli, "kvtier", "top", "-i", "0.1", "--socket", daemon->socket().c_str(), nullptr);
    _exit(127);
  }
  std::string seen;
  const auto read_until = [&](const std::string& wanted) {
    char block[4096];
    while (seen.find(wanted) == std::string::npos) {
      pollfd ready{master, POLLIN, 0};
      if (poll(&ready, 1, 10'000) != 1) return false;
      const ssize_t got = read(master, block, sizeof block);
      if (got <= 0) return false;
      seen.append(block, static_cast<size_t>(got));
    }
    return true;
  };
  EXPECT_TRUE(read_until("\033[?1049h")) << seen;
  EXPECT_TRUE(read_until("hit rate")) << seen;
  ASSERT_EQ(write(master, "q", 1), 1);
  EXPECT_TRUE(read_until("\033[?1049l")) << seen;
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), kExitOk);
  close(master);
}

}  // namespace
}  // namespace kvtier::tools
