// A client as a container has it: pid, user and mount namespaces of its own, and a root in which
// nothing is mounted but the folder of the socket. No /proc, no /dev/shm, no privileges outside.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "kvtier/kvtier.hpp"
#include "tests/process/process_fixture.hpp"
#include "tools/admin/admin_client.hpp"

namespace kvtier::process {
namespace {

using std::chrono::seconds;

constexpr uid_t kOuterUid = 54'321;  // of the container's root, outside
constexpr uint64_t kChunkBytes = 60 * wire::KiB;
constexpr const char* kInnerFolder = "/run/kvtier";

bool write_text(const char* path, const std::string& text) {
  const Fd file(::open(path, O_WRONLY | O_CLOEXEC));
  return file && ::write(file.get(), text.data(), text.size()) == ssize_t(text.size());
}

// What a container runtime does, without privileges: kOuterUid becomes root inside. Before the fork
// that makes process 1. Returns what failed, or nothing.
std::string enter_namespaces() {
  if (::setresgid(kOuterUid, kOuterUid, kOuterUid) != 0) return "setresgid";
  if (::setresuid(kOuterUid, kOuterUid, kOuterUid) != 0) return "setresuid";
  // Else /proc/self stays root's, and the maps below cannot be written.
  if (::prctl(PR_SET_DUMPABLE, 1) != 0) return "prctl";
  if (::unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC) != 0) return "unshare";
  const std::string map = "0 " + std::to_string(kOuterUid) + " 1";
  if (!write_text("/proc/self/setgroups", "deny")) return "setgroups";
  if (!write_text("/proc/self/uid_map", map)) return "uid_map";
  if (!write_text("/proc/self/gid_map", map)) return "gid_map";
  return "";
}

// A root of its own that holds the socket's folder and nothing else.
std::string change_root(const std::string& root, const std::string& folder) {
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return "private mounts";
  if (::mount("tmpfs", root.c_str(), "tmpfs", 0, "mode=0755") != 0) return "tmpfs";
  std::filesystem::create_directories(root + kInnerFolder);
  if (::mount(folder.c_str(), (root + kInnerFolder).c_str(), nullptr, MS_BIND, nullptr) != 0) {
    return "bind mount";
  }
  if (::chroot(root.c_str()) != 0 || ::chdir("/") != 0) return "chroot";
  return ::access("/proc", F_OK) == 0 || ::access("/dev", F_OK) == 0 ? "more is there" : "";
}

// Attaches, stores two chunks and reads them back. 0 if every byte was right.
int use_the_cache(const Child::Line& line) {
  SessionOptions options;
  options.socket = std::string(kInnerFolder) + "/kvtier.sock";
  options.name = "contained";
  auto session = Session::open(options);
  if (!session.ok()) return 10;
  if (!(*session)->wait_attached(Clock::now() + seconds(10))) return 11;
  SpaceSpec spec;
  spec.model = "model@1";
  spec.layout = "test";
  spec.tokens_per_chunk = 16;
  spec.chunk_bytes = kChunkBytes;
  auto space = (*session)->open_space(spec);
  if (!space.ok()) return 12;
  const std::vector<uint32_t> tokens(32, 7);
  const auto keys = (*space)->derive({.tokens = tokens});
  if (!keys.ok()) return 13;
  std::vector<std::byte> payload(kChunkBytes, std::byte{42});
  const ConstFragment from{payload.data(), kChunkBytes};
  const StoreSource sources[] = {{0, {&from, 1}}, {1, {&from, 1}}};
  const auto stored = (*space)->store(*keys, sources, Clock::now() + seconds(10));
  if (!stored.ok() || stored->back() != StoreOutcome::kStored) return 14;
  auto match = (*space)->match(*keys);
  if (!match.ok() || match->chunks() != 2) return 15;
  std::vector<std::byte> back(kChunkBytes);
  const Fragment to{back.data(), kChunkBytes};
  const LoadTarget target{1, {&to, 1}};
  const auto loaded = (*space)->load(*match, {&target, 1}, Clock::now() + seconds(10));
  if (!loaded.ok() || loaded->chunks != 1) return 16;
  if (back != payload) return 17;
  line.say('r');
  // Until it is killed, with leases in its hand.
  return line.hear() == 'e' ? 0 : 18;
}

class Namespaces : public ProcessTest {
 protected:
  nlohmann::json sessions() const {
    const auto reply =
        tools::ask_admin({.socket = folder_ / "admin.sock", .target = "/v1/sessions"});
    return reply.ok() ? nlohmann::json::parse(reply->body)["sessions"] : nlohmann::json::array();
  }

  // Says 'r' once it has used the cache; 's' if no namespaces are to be had here.
  Child contained() {
    const std::string folder = folder_ / "", root = folder_ / "root";
    std::filesystem::create_directory(root);
    ::chmod(folder.c_str(), 0755);
    ::chmod(root.c_str(), 0755);
    return Child::run([folder, root](const Child::Line& line) {
      const std::string failed = enter_namespaces();
      if (!failed.empty()) {
        std::fprintf(stderr, "%s: %s\n", failed.c_str(), std::strerror(errno));
        line.say('s');
        return 1;
      }
      const pid_t inner = ::fork();  // process 1 of the new pid namespace
      if (inner == 0) {
        const std::string problem = change_root(root, folder);
        if (!problem.empty())
          std::fprintf(stderr, "%s: %s\n", problem.c_str(), std::strerror(errno));
        ::_exit(problem.empty() && ::getpid() == 1 ? use_the_cache(line) : 2);
      }
      int status = 0;
      ::waitpid(inner, &status, 0);
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    });
  }
};

TEST_F(Namespaces, AClientWithNothingButTheSocketIsServedAndItsDeathIsSeen) {
  if (::geteuid() != 0) GTEST_SKIP() << "not root: the daemon and its client need two users";
  start("daemon.socket_mode = \"0666\"");
  Child child = contained();
  const char word = child.line().hear();
  if (word == 's') GTEST_SKIP() << "no user namespaces for ordinary users here";
  ASSERT_EQ(word, 'r') << "exit status " << child.process().wait();
  const auto list = sessions();
  ASSERT_EQ(list.size(), 1u);
  // The daemon sees the user and the process as they are outside: tenants stay apart, and the
  // number is one that an operator can use.
  EXPECT_EQ(list[0]["uid"], kOuterUid);
  EXPECT_EQ(list[0]["tenant"], "uid-" + std::to_string(kOuterUid));
  const pid_t pid = list[0]["pid"];
  EXPECT_GT(pid, 1);
  EXPECT_NE(pid, child.process().pid());
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  EXPECT_EQ(child.process().wait(), 128 + SIGKILL);
  EXPECT_TRUE(eventually([this] { return sessions().empty(); }, milliseconds(1000)));
}

TEST_F(Namespaces, AClientWhoseUserTheSocketDoesNotAdmitIsKeptOut) {
  if (::geteuid() != 0) GTEST_SKIP() << "not root: the daemon and its client need two users";
  start("daemon.socket_mode = \"0600\"");
  Child child = contained();
  // Root inside is nobody outside.
  const char word = child.line().hear();
  if (word == 's') GTEST_SKIP() << "no user namespaces for ordinary users here";
  EXPECT_EQ(word, '\0');
  EXPECT_EQ(child.process().wait(), 11);
  EXPECT_TRUE(sessions().empty());
}

}  // namespace
}  // namespace kvtier::process
