// Where sockets and state lie for each kind of start, and which folders are refused.
#include "daemon/config/paths.hpp"

#include <sys/stat.h>

#include "tests/daemon/config/support.hpp"

namespace kvtier::daemon {
namespace {

DaemonPaths chosen(const Config& config, const Environment& environment) {
  Result<DaemonPaths> paths = choose_paths(config, environment);
  EXPECT_TRUE(paths.ok());
  return paths.ok() ? *paths : DaemonPaths();
}

TEST(Paths, RootServesTheSystem) {
  const DaemonPaths paths = chosen(Config(), {.uid = 0});
  EXPECT_EQ(paths.socket, "/run/kvtier/kvtier.sock");
  EXPECT_EQ(paths.admin_socket, "/run/kvtier/admin.sock");
  EXPECT_EQ(paths.state_directory, "/var/lib/kvtier");
}

TEST(Paths, TheServiceManagersFoldersComeFirst) {
  const DaemonPaths paths = chosen(Config(), {.uid = 990,
                                              .runtime_directory = "/run/kvtier:/run/other",
                                              .state_directory = "/var/lib/kvtier",
                                              .xdg_runtime_directory = "/run/user/990"});
  EXPECT_EQ(paths.socket, "/run/kvtier/kvtier.sock");
  EXPECT_EQ(paths.state_directory, "/var/lib/kvtier");
}

TEST(Paths, AUserGetsAFolderOfTheirOwn) {
  DaemonPaths paths = chosen(Config(), {.uid = 7, .xdg_runtime_directory = "/run/user/7"});
  EXPECT_EQ(paths.socket, "/run/user/7/kvtier/kvtier.sock");
  EXPECT_EQ(paths.state_directory, "/run/user/7/kvtier/state");
  paths = chosen(Config(), {.uid = 7});
  EXPECT_EQ(paths.socket, "/tmp/kvtier-7/kvtier.sock");
  paths = chosen(Config(), {.uid = 7, .temporary_directory = "/var/tmp"});
  EXPECT_EQ(paths.admin_socket, "/var/tmp/kvtier-7/admin.sock");
}

TEST(Paths, WhatIsConfiguredIsTaken) {
  Config config;
  config.daemon.socket = "/srv/a/k.sock";
  DaemonPaths paths = chosen(config, {.uid = 0});
  EXPECT_EQ(paths.admin_socket, "/srv/a/admin.sock");
  EXPECT_EQ(paths.state_directory, "/srv/a/state") << "a daemon of its own keeps its own state";
  config.daemon.admin_socket = "/srv/b/a.sock";
  config.daemon.state_directory = "/srv/s";
  paths = chosen(config, {.uid = 0});
  EXPECT_EQ(paths.admin_socket, "/srv/b/a.sock");
  EXPECT_EQ(paths.state_directory, "/srv/s");
}

TEST(Paths, TooLongAndEqualPathsAreRefused) {
  Config config;
  const Environment far = {.uid = 7, .temporary_directory = "/" + std::string(120, 'x')};
  EXPECT_EQ(choose_paths(config, far).code(), Code::kInvalidArgument);
  config.daemon.socket = "/srv/a/admin.sock";
  EXPECT_EQ(choose_paths(config, {.uid = 7}).code(), Code::kInvalidArgument);
}

DaemonPaths below(const std::string& folder) {
  return {folder + "/kvtier.sock", folder + "/admin.sock", folder + "/state"};
}

TEST(Paths, FoldersAreMadeForTheOwnerOnly) {
  TemporaryFolder folder;
  const Status ready = prepare_directories(below(folder.path("a/b")));
  ASSERT_TRUE(ready.ok()) << ready.error().message();
  struct stat found;
  ASSERT_EQ(stat(folder.path("a/b").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0700u);
  ASSERT_EQ(stat(folder.path("a/b/state").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0700u);
  EXPECT_TRUE(prepare_directories(below(folder.path("a/b"))).ok()) << "again";
}

TEST(Paths, FoldersInWhichOthersMayWriteAreRefused) {
  TemporaryFolder folder;
  folder.write("shared/x", "");
  ASSERT_EQ(chmod(folder.path("shared").c_str(), 0777), 0);
  const Status refused = prepare_directories(below(folder.path("shared")));
  EXPECT_EQ(refused.code(), Code::kPermission);
  EXPECT_NE(std::string(refused.error().message()).find("chmod go-w"), std::string::npos);
}

TEST(Paths, AFileOrALinkInPlaceOfTheFolderIsRefused) {
  TemporaryFolder folder;
  folder.write("file", "");
  EXPECT_FALSE(prepare_directories(below(folder.path("file"))).ok());
  folder.write("real/x", "");
  ASSERT_EQ(symlink(folder.path("real").c_str(), folder.path("link").c_str()), 0);
  EXPECT_EQ(prepare_directories(below(folder.path("link"))).code(), Code::kPermission);
}

TEST(Paths, AFolderOfSomebodyElseIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to give a folder away";
  TemporaryFolder folder;
  folder.write("theirs/x", "");
  ASSERT_EQ(chown(folder.path("theirs").c_str(), 4242, 4242), 0);
  EXPECT_EQ(prepare_directories(below(folder.path("theirs"))).code(), Code::kPermission);
}

}  // namespace
}  // namespace kvtier::daemon
