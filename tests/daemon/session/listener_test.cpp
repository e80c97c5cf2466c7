// Listening sockets: who may have a path, what becomes of what lies there, and what the kernel
// keeps away from the daemon.
#include "daemon/session/listener.hpp"

#include <sys/stat.h>

#include <fstream>

#include "tests/daemon/session/server_fixture.hpp"

namespace kvtier::daemon {
namespace {

class ListenerTest : public ServerTest {
 protected:
  Result<Listener> open(uint32_t mode = 0600, const std::string& group = "") {
    return Listener::open({.path = path_, .mode = mode, .group = group, .tenant = ""});
  }
  TemporaryFolder folder_;
  std::string path_ = folder_ / "kvtier.sock";
};

TEST_F(ListenerTest, ASecondDaemonIsRefusedWithItsReason) {
  auto first = open();
  ASSERT_TRUE(first.ok()) << first.error().message();
  const auto second = open();
  ASSERT_EQ(second.code(), Code::kPermission);
  EXPECT_NE(std::string(second.error().message()).find("another kvtierd"), std::string::npos);
  EXPECT_TRUE(RawClient::connect(path_)) << "the first goes on";
}

TEST_F(ListenerTest, TheSocketOfADeadDaemonIsReplaced) {
  Fd dead(::socket(AF_UNIX, SOCK_SEQPACKET, 0));
  {
    auto left = open();
    ASSERT_TRUE(left.ok());
    ASSERT_EQ(::link(path_.c_str(), (folder_ / "kept").c_str()), 0);
  }
  ASSERT_EQ(::rename((folder_ / "kept").c_str(), path_.c_str()), 0);
  EXPECT_FALSE(RawClient::connect(path_));
  const auto next = open();
  ASSERT_TRUE(next.ok()) << next.error().message();
  EXPECT_TRUE(RawClient::connect(path_));
}

TEST_F(ListenerTest, AFileThatIsNoSocketIsLeftAlone) {
  std::ofstream(path_) << "precious";
  const auto refused = open();
  ASSERT_EQ(refused.code(), Code::kPermission);
  EXPECT_NE(std::string(refused.error().message()).find("is no socket"), std::string::npos);
  EXPECT_TRUE(std::filesystem::is_regular_file(path_));
}

TEST_F(ListenerTest, TheSocketHasTheConfiguredModeAndGoesWithTheListener) {
  {
    const auto listener = open(0640);
    ASSERT_TRUE(listener.ok());
    struct stat found;
    ASSERT_EQ(::stat(path_.c_str(), &found), 0);
    EXPECT_EQ(found.st_mode & 07777, 0640u);
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(ListenerTest, AnUnknownGroupIsNamed) {
  const auto refused = open(0660, "no-such-group");
  ASSERT_EQ(refused.code(), Code::kNotFound);
  EXPECT_NE(std::string(refused.error().message()).find("no-such-group"), std::string::npos);
}

TEST_F(ListenerTest, ASocketOfAnotherKindIsNotTakenOver) {
  Fd stream(::socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_EQ(Listener::adopt(std::move(stream), {.path = path_, .group = "", .tenant = ""}).code(),
            Code::kInvalidArgument);
  Fd silent(::socket(AF_UNIX, SOCK_SEQPACKET, 0));
  EXPECT_EQ(Listener::adopt(std::move(silent), {.path = path_, .group = "", .tenant = ""}).code(),
            Code::kInvalidArgument);
}

TEST_F(ListenerTest, DescriptorsNeverReachTheDaemonWhereTheKernelKnowsHow) {
  auto listener = open();
  ASSERT_TRUE(listener.ok());
  ASSERT_TRUE(server_->listen(std::move(listener).value()).ok());
  RawClient client(RawClient::connect(path_));
  client.set_pump([this] { server_->turn(0); });
  turns();
  const wire::AttachRequest request = RawClient::attach_request();
  const int error = client.send_bytes(&request, sizeof request, {0});
  if (error == 0) GTEST_SKIP() << "this kernel is older than 6.16";
  EXPECT_EQ(error, EPERM);
  EXPECT_EQ(client.attach(), "") << "the connection goes on";
}

TEST_F(ListenerTest, ADrainedServerTakesNobodyAndRemovesItsSocket) {
  auto listener = open();
  ASSERT_TRUE(listener.ok());
  ASSERT_TRUE(server_->listen(std::move(listener).value()).ok());
  RawClient client = attach();
  server_->stop();
  while (server_->turn(0)) clock_.advance_ns(1'000'000);
  EXPECT_FALSE(RawClient::connect(path_));
  EXPECT_FALSE(std::filesystem::exists(path_));
  const auto& published = *reinterpret_cast<const wire::PublishedHeader*>(client.published());
  EXPECT_EQ(published.epoch.load(), 0u) << "loads under way end as failed";
  EXPECT_NE(client.header().ended.load(), 0u);
}

}  // namespace
}  // namespace kvtier::daemon
