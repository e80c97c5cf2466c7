// The admin server through real sockets: bounds, slow and broken clients, rights, start and stop.
#include "daemon/admin/admin_server.hpp"

#include <arpa/inet.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <latch>
#include <thread>

#include "tests/daemon/admin/fake_core.hpp"
#include "tools/admin/admin_client.hpp"

namespace kvtier::daemon {
namespace {

using std::chrono::milliseconds;

class AdminServerTest : public ::testing::Test {
 protected:
  AdminServerTest() {
    char name[] = "/tmp/kvtier-admin-test-XXXXXX";
    folder = mkdtemp(name);
    options.socket = folder + "/admin.sock";
    mailbox.control.shown = sample_snapshot();
  }
  ~AdminServerTest() override {
    for (const int fd : open_fds) close(fd);
    server.reset();
    std::filesystem::remove_all(folder);
  }
  void start() {
    auto started = AdminServer::start(options, mailbox);
    ASSERT_TRUE(started.ok()) << started.error().message();
    server = std::move(*started);
  }
  Result<tools::AdminReply> ask(const char* method, const std::string& target) {
    return tools::ask_admin({.socket = options.socket, .method = method, .target = target});
  }
  unsigned status_of(const std::string& target) {
    const auto reply = ask("GET", target);
    EXPECT_TRUE(reply.ok()) << reply.error().message();
    return reply.ok() ? reply->status : 0;
  }
  int connect_raw() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    options.socket.copy(address.sun_path, sizeof address.sun_path - 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    open_fds.push_back(fd);
    return fd;
  }
  static void put(int fd, const std::string& text) {
    [[maybe_unused]] const ssize_t sent = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
  }
  // Until the server closes; a test that would hang ends by its timeout.
  static std::string drain(int fd) {
    std::string text;
    char block[4096];
    for (ssize_t got; (got = recv(fd, block, sizeof block, 0)) > 0;) {
      text.append(block, static_cast<size_t>(got));
    }
    return text;
  }

  std::string folder;
  AdminOptions options;
  FakeMailbox mailbox;
  std::unique_ptr<AdminServer> server;
  std::vector<int> open_fds;
};

TEST_F(AdminServerTest, AnswersOnItsSocketAndRemovesItAtTheEnd) {
  start();
  const auto reply = ask("GET", "/v1/status");
  ASSERT_TRUE(reply.ok()) << reply.error().message();
  EXPECT_EQ(reply->status, 200u);
  EXPECT_NE(reply->body.find("\"version\":\"0.1.0\""), std::string::npos);
  struct stat found;
  ASSERT_EQ(stat(options.socket.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777u, 0660u);
  server.reset();
  EXPECT_NE(stat(options.socket.c_str(), &found), 0);
  EXPECT_EQ(ask("GET", "/v1/status").code(), Code::kUnavailable);
}

TEST_F(AdminServerTest, ReplacesASocketThatADeadDaemonLeft) {
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  options.socket.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  close(fd);
  start();
  EXPECT_EQ(status_of("/healthz"), 200u);
}

TEST_F(AdminServerTest, LeavesALivingDaemonsSocketAlone) {
  start();
  const auto second = AdminServer::start(options, mailbox);
  EXPECT_EQ(second.code(), Code::kPermission);
  EXPECT_EQ(status_of("/healthz"), 200u);
}

TEST_F(AdminServerTest, LeavesAFileThatIsNoSocketAlone) {
  std::ofstream(options.socket) << "precious";
  EXPECT_EQ(AdminServer::start(options, mailbox).code(), Code::kPermission);
  EXPECT_EQ(std::filesystem::file_size(options.socket), 8u);
}

TEST_F(AdminServerTest, RefusesAPathThatDoesNotFit) {
  options.socket = folder + "/" + std::string(200, 'a');
  EXPECT_EQ(AdminServer::start(options, mailbox).code(), Code::kInvalidArgument);
}

TEST_F(AdminServerTest, ASlowClientIsDroppedAndHoldsNobodyUp) {
  options.client_timeout = milliseconds(100);
  start();
  std::vector<int> slow;
  for (int i = 0; i < 20; ++i) {
    slow.push_back(connect_raw());
    put(slow.back(), "GET /v1/status HTTP/1.1\r\nHost:");
  }
  EXPECT_EQ(status_of("/v1/status"), 200u);
  for (const int fd : slow) EXPECT_EQ(drain(fd), "");
}

TEST_F(AdminServerTest, AClientThatDoesNotReadIsDropped) {
  options.client_timeout = milliseconds(1000);
  start();
  mailbox.change([](FakeMailbox& box) {
    for (int i = 0; i < 3000; ++i) box.control.shown.sessions.push_back(SessionSnapshot());
  });
  const int fd = connect_raw();
  put(fd, "GET /v1/sessions HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(status_of("/healthz"), 200u);
  // The answer is larger than the socket's buffer; the hang-up comes though it was not read.
  pollfd hang_up{fd, 0, 0};
  ASSERT_EQ(poll(&hang_up, 1, 50'000), 1);
  EXPECT_NE(hang_up.revents & POLLHUP, 0);
}

TEST_F(AdminServerTest, ServesSeveralRequestsOfOneConnection) {
  start();
  const int fd = connect_raw();
  put(fd,
      "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n"
      "Connection: close\r\n\r\n");
  const std::string text = drain(fd);
  size_t answers = 0;
  for (size_t at = 0; (at = text.find("HTTP/1.1 200", at)) != std::string::npos; ++at) ++answers;
  EXPECT_EQ(answers, 2u) << text;
}

TEST_F(AdminServerTest, OversizeAndGarbageGetAClearAnswer) {
  start();
  const int large = connect_raw();
  put(large, "GET / HTTP/1.1\r\nX: " + std::string(64 * 1024, 'x'));
  EXPECT_NE(drain(large).find("413"), std::string::npos);
  const int body = connect_raw();
  put(body, "POST /v1/flush HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n");
  EXPECT_NE(drain(body).find("413"), std::string::npos);
  const int garbage = connect_raw();
  put(garbage, std::string("\x00\x01\x02\xff\r\n\r\n", 8));
  EXPECT_NE(drain(garbage).find("400"), std::string::npos);
  EXPECT_EQ(status_of("/healthz"), 200u);
  EXPECT_TRUE(mailbox.control.flushed.empty());
}

TEST_F(AdminServerTest, ConnectionsAreBounded) {
  options.connections_max = 4;
  start();
  std::vector<int> idle;
  for (int i = 0; i < 4; ++i) {
    idle.push_back(connect_raw());
    // An answer proves that the connection was accepted.
    put(idle.back(), "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    char byte;
    ASSERT_EQ(recv(idle.back(), &byte, 1, 0), 1);
  }
  const auto refused = ask("GET", "/healthz");
  ASSERT_TRUE(refused.ok()) << refused.error().message();
  EXPECT_EQ(refused->status, 503u);
  EXPECT_NE(refused->body.find("too many connections"), std::string::npos);
  for (const int fd : idle) shutdown(fd, SHUT_RDWR);
  while (status_of("/healthz") != 200u) std::this_thread::yield();
}

TEST_F(AdminServerTest, AStuckCoreIsAnsweredWith503) {
  start();
  mailbox.change([](FakeMailbox& box) { box.mode = FakeMailbox::Mode::kStuck; });
  const auto reply = ask("GET", "/v1/status");
  ASSERT_TRUE(reply.ok());
  EXPECT_EQ(reply->status, 503u);
}

TEST_F(AdminServerTest, ManyAskersAtOnce) {
  start();
  std::vector<std::thread> askers;
  std::atomic<int> good{0};
  for (int i = 0; i < 8; ++i) {
    askers.emplace_back([this, &good] {
      for (int round = 0; round < 10; ++round) {
        const auto reply = ask("GET", round % 2 == 0 ? "/metrics" : "/v1/status");
        if (reply.ok() && reply->status == 200) ++good;
      }
    });
  }
  for (std::thread& asker : askers) asker.join();
  EXPECT_EQ(good, 80);
}

TEST_F(AdminServerTest, StopsWithConnectionsOpen) {
  start();
  put(connect_raw(), "GET /v1/st");
  put(connect_raw(), "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  server.reset();
}

TEST_F(AdminServerTest, TheLoopbackPortServesMetricsOnly) {
  options.metrics_listen = "127.0.0.1:0";
  start();
  ASSERT_NE(server->metrics_port(), 0);
  const auto ask_port = [this](const std::string& request) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server->metrics_port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    put(fd, request + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    std::string text = drain(fd);
    close(fd);
    return text;
  };
  EXPECT_NE(ask_port("GET /metrics").find("kvtier_build_info{version=\"0.1.0\""),
            std::string::npos);
  EXPECT_NE(ask_port("GET /metrics").find("text/plain; version=0.0.4"), std::string::npos);
  EXPECT_NE(ask_port("GET /healthz").find("200 OK"), std::string::npos);
  EXPECT_NE(ask_port("GET /v1/status").find("404"), std::string::npos);
  EXPECT_NE(ask_port("POST /v1/flush").find("404"), std::string::npos);
  EXPECT_TRUE(mailbox.control.flushed.empty());
}

TEST_F(AdminServerTest, ABadPortEndsTheStartAndLeavesNothing) {
  options.metrics_listen = "0.0.0.0:9464";
  EXPECT_EQ(AdminServer::start(options, mailbox).code(), Code::kInvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(options.socket));
}

// What a process of another user gets, as its exit status: the HTTP status, divided by 10.
int ask_as(uid_t uid, gid_t gid, const std::string& socket, const char* method,
           const std::string& target) {
  const pid_t child = fork();
  if (child == 0) {
    if (setgroups(0, nullptr) != 0 || setgid(gid) != 0 || setuid(uid) != 0) _exit(99);
    const auto reply = tools::ask_admin({.socket = socket, .method = method, .target = target});
    _exit(reply.ok() ? static_cast<int>(reply->status / 10) : 98);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

TEST_F(AdminServerTest, OtherUsersReadByGroupAndChangeNothing) {
  if (getuid() != 0) GTEST_SKIP() << "only root can become other users";
  options.group = "daemon";  // a group that every Debian has
  const auto readers = 1;
  start();
  chmod(folder.c_str(), 0755);
  constexpr uid_t kOther = 64123;
  EXPECT_EQ(ask_as(kOther, readers, options.socket, "GET", "/v1/status"), 20);
  EXPECT_EQ(ask_as(kOther, readers, options.socket, "POST", "/v1/flush"), 40);
  EXPECT_EQ(ask_as(kOther, 64123, options.socket, "GET", "/v1/status"), 98);  // by the file's mode
  chmod(options.socket.c_str(), 0666);  // and if somebody opened it to all:
  EXPECT_EQ(ask_as(kOther, 64123, options.socket, "GET", "/v1/status"), 40);
  EXPECT_EQ(ask_as(kOther, 64123, options.socket, "POST", "/v1/flush"), 40);
  EXPECT_TRUE(mailbox.control.flushed.empty());
}

}  // namespace
}  // namespace kvtier::daemon
