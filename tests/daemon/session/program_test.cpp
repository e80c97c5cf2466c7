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

TEST(ServiceManager, IsToldOverItsSocket) {
  TemporaryFolder folder;
  const std::string path = folder / "notify";
  Fd manager(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  ASSERT_EQ(::bind(manager.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  tell_service_manager("READY=1");
  ::unsetenv("NOTIFY_SOCKET");
  tell_service_manager("STOPPING=1");  // nobody to tell: nothing happens
  char text[64] = {};
  EXPECT_EQ(::recv(manager.get(), text, sizeof text, 0), 7);
  EXPECT_STREQ(text, "READY=1");
}

}  // namespace
}  // namespace kvtier::daemon
