// Sockets in places where anybody may create files are used only when they are root's or our own.
#include "kvtier/wire/socket_trust.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace kvtier::wire {
namespace {

constexpr uid_t kStranger = 54321;

// A folder of its own directly in a world-writable one, as /tmp/kvtier-UID is.
class SocketTrust : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/kvtier-trust-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  bool give_away(const std::string& path) {
    return ::lchown(path.c_str(), kStranger, kStranger) == 0;
  }

  std::string folder_;
};

TEST_F(SocketTrust, OurOwnFolderIsTrusted) {
  EXPECT_TRUE(check_socket_trust(folder_ + "/kvtier.sock").ok());
  EXPECT_TRUE(check_socket_trust("/run/kvtier/kvtier.sock").ok());
  EXPECT_TRUE(check_socket_trust("/tmp/kvtier-does-not-exist/kvtier.sock").ok());
}

TEST_F(SocketTrust, AFolderOfSomebodyElseIsRefusedWithItsOwner) {
  if (!give_away(folder_)) GTEST_SKIP() << "only root can give a folder away";
  const Status status = check_socket_trust(folder_ + "/kvtier.sock");
  EXPECT_EQ(status.code(), Code::kPermission);
  EXPECT_NE(std::string(status.error().message()).find("54321"), std::string::npos);
}

TEST_F(SocketTrust, ASocketOfSomebodyElseInAPublicFolderIsRefused) {
  ASSERT_EQ(::chmod(folder_.c_str(), 01777), 0);
  const std::string socket = folder_ + "/kvtier.sock";
  ::close(::open(socket.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0666));
  EXPECT_TRUE(check_socket_trust(socket).ok());
  if (!give_away(socket)) GTEST_SKIP() << "only root can give a file away";
  EXPECT_EQ(check_socket_trust(socket).code(), Code::kPermission);
}

TEST_F(SocketTrust, ALinkToAFolderIsNotTrusted) {
  const std::string link = folder_ + "-link";
  std::filesystem::create_directory_symlink(folder_, link);
  EXPECT_EQ(check_socket_trust(link + "/kvtier.sock").code(), Code::kPermission);
  std::filesystem::remove(link);
}

}  // namespace
}  // namespace kvtier::wire
