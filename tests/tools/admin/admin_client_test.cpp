// The client of the admin socket against servers that are absent, mute, broken or cut off.
#include "tools/admin/admin_client.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

namespace kvtier::tools {
namespace {

using std::chrono::milliseconds;

class AdminClient : public ::testing::Test {
 protected:
  AdminClient() {
    char name[] = "/tmp/kvtier-client-test-XXXXXX";
    folder = mkdtemp(name);
    path = folder + "/admin.sock";
  }
  ~AdminClient() override {
    if (server.joinable()) server.join();
    if (listener >= 0) close(listener);
    std::filesystem::remove_all(folder);
  }
  void listen_with(int backlog) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(listen(listener, backlog), 0);
  }
  // Reads a request and answers with `text`, whatever that is.
  void answer_with(const std::string& text) {
    listen_with(4);
    server = std::thread([this, text] {
      const int peer = accept(listener, nullptr, nullptr);
      while (request.find("\r\n\r\n") == std::string::npos) {
        char block[1024];
        const ssize_t got = recv(peer, block, sizeof block, 0);
        if (got <= 0) break;
        request.append(block, static_cast<size_t>(got));
      }
      [[maybe_unused]] const ssize_t sent = send(peer, text.data(), text.size(), MSG_NOSIGNAL);
      close(peer);
    });
  }
  Result<AdminReply> ask(milliseconds timeout = milliseconds(5000)) {
    return ask_admin({.socket = path, .target = "/v1/status", .timeout = timeout});
  }

  std::string folder, path, request;
  int listener = -1;
  std::thread server;
};

TEST_F(AdminClient, ReadsStatusAndBody) {
  answer_with("HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello");
  const auto reply = ask();
  ASSERT_TRUE(reply.ok()) << reply.error().message();
  EXPECT_EQ(reply->status, 404u);
  EXPECT_EQ(reply->body, "hello");
  server.join();
  EXPECT_TRUE(request.starts_with("GET /v1/status HTTP/1.1\r\n")) << request;
}

TEST_F(AdminClient, NobodyThere) {
  EXPECT_EQ(ask().code(), Code::kUnavailable);
  listen_with(1);
  close(listener);
  listener = -1;
  EXPECT_EQ(ask().code(), Code::kUnavailable);
  path = folder + "/" + std::string(200, 'x');
  EXPECT_EQ(ask().code(), Code::kInvalidArgument);
}

TEST_F(AdminClient, AMuteServerIsADeadline) {
  listen_with(4);
  EXPECT_EQ(ask(milliseconds(50)).code(), Code::kDeadline);
}

TEST_F(AdminClient, AServerThatDoesNotAcceptIsADeadline) {
  listen_with(0);
  EXPECT_EQ(ask(milliseconds(50)).code(), Code::kDeadline);  // fills the backlog
  EXPECT_EQ(ask(milliseconds(50)).code(), Code::kDeadline);
  EXPECT_EQ(ask(milliseconds(50)).code(), Code::kDeadline);
}

TEST_F(AdminClient, ACutAnswerIsNotTakenForAWholeOne) {
  answer_with("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello");
  EXPECT_EQ(ask().code(), Code::kUnavailable);
}

TEST_F(AdminClient, NothingAtAll) {
  answer_with("");
  EXPECT_EQ(ask().code(), Code::kUnavailable);
}

TEST_F(AdminClient, Garbage) {
  answer_with("SSH-2.0-OpenSSH_9.2\r\n\r\n");
  EXPECT_EQ(ask().code(), Code::kCorrupt);
}

TEST(EscapeTarget, LeavesNoRoomForAnotherPath) {
  EXPECT_EQ(escape_target("host-1_a.b"), "host-1_a.b");
  EXPECT_EQ(escape_target("a/b?c d%\r\n"), "a%2Fb%3Fc%20d%25%0D%0A");
}

}  // namespace
}  // namespace kvtier::tools
