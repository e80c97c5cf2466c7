// The parts of the program around the server: its command line, the machine's limits, the service
// manager.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "daemon/command_line.hpp"
#include "daemon/machine.hpp"
#include "daemon/service_manager.hpp"
#include "tests/daemon/session/server_fixture.hpp"

namespace kvtier::daemon {
namespace {

constexpr uint64_t kMiB = wire::MiB;

TEST(CommandLine, ReadsItsArguments) {
  EXPECT_EQ(parse_command_line({})->task, Task::kServe);
  EXPECT_EQ(parse_command_line({"--config", "/a"})->config_file, "/a");
  EXPECT_EQ(parse_command_line({"--config=/a", "--check"})->task, Task::kCheck);
  EXPECT_EQ(parse_command_line({"--config=/a", "--check"})->config_file, "/a");
  EXPECT_EQ(parse_command_line({"-h"})->task, Task::kShowHelp);
}

TEST(CommandLine, NamesWhatItDoesNotKnow) {
  const auto unknown = parse_command_line({"--confg", "/a"});
  ASSERT_EQ(unknown.code(), Code::kInvalidArgument);
  EXPECT_NE(std::string(unknown.error().message()).find("--confg"), std::string::npos);
  EXPECT_EQ(parse_command_line({"--config"}).code(), Code::kInvalidArgument);
}

class MachineTest : public testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  TemporaryFolder folder_;
  std::string root_ = folder_ / "root";
};

TEST_F(MachineTest, AvailableMemoryIsTheSystems) {
  write("/proc/meminfo", "MemTotal:  8192 kB\nMemFree: 1 kB\nMemAvailable:   4096 kB\nX: 1 kB\n");
  EXPECT_EQ(available_memory_bytes(root_), 4 * kMiB);
}

TEST_F(MachineTest, AControlGroupOrOneAboveItLowersIt) {
  write("/proc/meminfo", "MemAvailable: 1048576 kB\n");
  write("/proc/self/cgroup", "0::/a/b\n");
  write("/sys/fs/cgroup/a/b/memory.max", "max\n");
  write("/sys/fs/cgroup/a/b/memory.current", "100\n");
  EXPECT_EQ(available_memory_bytes(root_), 1024 * kMiB);
  write("/sys/fs/cgroup/a/memory.max", std::to_string(100 * kMiB));
  write("/sys/fs/cgroup/a/memory.current", std::to_string(60 * kMiB));
  EXPECT_EQ(available_memory_bytes(root_), 40 * kMiB);
  write("/sys/fs/cgroup/a/memory.stat",
        "anon 1\ninactive_file " + std::to_string(20 * kMiB) + "\nactive_file 1\n");
  EXPECT_EQ(available_memory_bytes(root_), 60 * kMiB) << "what the kernel takes back at need";
  write("/sys/fs/cgroup/a/memory.stat", "inactive_file 0\n");
  write("/sys/fs/cgroup/a/memory.current", std::to_string(160 * kMiB));
  EXPECT_EQ(available_memory_bytes(root_), 0u);
}

TEST_F(MachineTest, TheOlderKindOfControlGroupLowersItToo) {
  write("/proc/meminfo", "MemAvailable: 1048576 kB\n");
  write("/proc/self/cgroup", "4:cpu,memory:/c\n");
  write("/sys/fs/cgroup/memory/c/memory.limit_in_bytes", std::to_string(64 * kMiB));
  write("/sys/fs/cgroup/memory/c/memory.usage_in_bytes", std::to_string(4 * kMiB));
  EXPECT_EQ(available_memory_bytes(root_), 60 * kMiB);
}

// The other end of $NOTIFY_SOCKET.
class ServiceManagerTest : public testing::Test {
 protected:
  void SetUp() override {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    ASSERT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ::setenv("NOTIFY_SOCKET", path_.c_str(), 1);
  }
  void TearDown() override {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
  }
  std::string told() {
    char text[512] = {};
    return ::recv(socket_.get(), text, sizeof text - 1, MSG_DONTWAIT) > 0 ? text : "";
  }

 private:
  TemporaryFolder folder_;
  std::string path_ = folder_ / "notify";
  Fd socket_{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
};

TEST_F(ServiceManagerTest, IsToldOverItsSocket) {
  tell_service_manager("READY=1");
  EXPECT_EQ(told(), "READY=1");
  ::unsetenv("NOTIFY_SOCKET");
  tell_service_manager("STOPPING=1");  // nobody to tell: nothing happens
  EXPECT_EQ(told(), "");
}

TEST_F(ServiceManagerTest, HearsOfAReloadWhenItBeginsAndHowItEnded) {
  tell_reloading();
  const std::string begun = told();
  EXPECT_EQ(begun.find("RELOADING=1\nMONOTONIC_USEC="), 0u) << begun;
  tell_reloaded("Serving; refused\nREADY=0");
  EXPECT_EQ(told(), "READY=1\nSTATUS=Serving; refused");
}

TEST_F(ServiceManagerTest, WatchdogIsFedFourTimesATimeoutAndNotMore) {
  ::setenv("WATCHDOG_USEC", "4000000", 1);
  Watchdog watchdog = Watchdog::from_environment();
  EXPECT_EQ(watchdog.interval_ns(), 1'000'000'000u);
  EXPECT_TRUE(watchdog.feed(5'000'000'000));
  EXPECT_EQ(told(), "WATCHDOG=1");
  EXPECT_FALSE(watchdog.feed(5'999'999'999));
  EXPECT_EQ(told(), "");
  EXPECT_TRUE(watchdog.feed(6'000'000'000));
}

TEST_F(ServiceManagerTest, WatchdogOfAnotherProcessIsNotFed) {
  ::setenv("WATCHDOG_USEC", "4000000", 1);
  ::setenv("WATCHDOG_PID", "1", 1);
  Watchdog watchdog = Watchdog::from_environment();
  EXPECT_EQ(watchdog.interval_ns(), 0u);
  EXPECT_FALSE(watchdog.feed(5'000'000'000));
}

class TicksTest : public ServerTest {};

TEST_F(TicksTest, ComeFromTheLoopAloneAndInTimeWhenIdle) {
  std::vector<uint64_t> ticks;
  ServerOptions options;
  options.on_tick = [&ticks](uint64_t now_ns) { ticks.push_back(now_ns); };
  options.idle_tick_ns = 200'000'000;
  start(small_config(), options);
  // Ten idle seconds: no two ticks are further apart than asked for.
  const uint64_t begin = clock_.now_ns();
  for (int i = 0; i < 1000; ++i) {
    clock_.advance_ns(10'000'000);
    server_->turn(0);
  }
  ASSERT_GE(ticks.size(), 50u);
  for (size_t i = 1; i < ticks.size(); ++i) EXPECT_LE(ticks[i] - ticks[i - 1], 200'000'000u);
  EXPECT_GT(ticks.front(), begin);
  // A loop that does not turn does not tick, whatever else goes on.
  const size_t before = ticks.size();
  clock_.advance_ns(60'000'000'000);
  core_->tick();
  EXPECT_EQ(ticks.size(), before);
}

}  // namespace
}  // namespace kvtier::daemon
