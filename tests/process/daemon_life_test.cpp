// A real kvtierd from start to end: exit statuses, what it says, who else may have its socket, what
// a change of configuration does, and what becomes of it without descriptors.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <csignal>
#include <filesystem>
#include <thread>

#include "tests/process/process_fixture.hpp"

namespace kvtier::process {
namespace {

using wire::MessageType;

class DaemonLife : public ProcessTest {};

TEST_F(DaemonLife, StopsInGoodOrderOnEitherSignal) {
  for (const int signal : {SIGTERM, SIGINT}) {
    start();
    RawClient client = attach();
    const Stopwatch watch;
    daemon_->process().signal(signal);
    EXPECT_EQ(daemon_->wait(), 0);
    EXPECT_LT(watch.ms(), 3'000);
    EXPECT_NE(daemon_->log().find("KV1003"), std::string::npos) << daemon_->log();
    EXPECT_FALSE(std::filesystem::exists(socket()));
    EXPECT_FALSE(client.receive().has_value());
    EXPECT_NE(client.header().ended.load(), 0u);
    const auto& published = *reinterpret_cast<const wire::PublishedHeader*>(client.published());
    EXPECT_EQ(published.epoch.load(), 0u);
  }
}

TEST_F(DaemonLife, StopsWhileAClientKeepsAsking) {
  start("daemon.drain_timeout = \"2s\"");
  Child busy = Child::run([&](const Child::Line& line) {
    RawClient client(RawClient::connect(socket()));
    if (!client.attach().empty()) return 1;
    line.say('r');
    while (client.header().ended.load() == 0) {
      for (int i = 0; i < 64; ++i) client.submit({});
      while (client.take()) {
      }
    }
    return 0;
  });
  ASSERT_EQ(busy.line().hear(), 'r');
  daemon_->process().signal(SIGTERM);
  EXPECT_EQ(daemon_->wait(), 0);
  EXPECT_EQ(busy.process().wait(), 0);
}

TEST_F(DaemonLife, AWrongConfigurationIsShownAndEndsWith78) {
  write_config("host.capacty = \"1GiB\"");
  Daemon daemon = Daemon::start(options());
  EXPECT_EQ(daemon.wait(), 78);
  EXPECT_NE(daemon.log().find("unknown option 'capacty'"), std::string::npos) << daemon.log();
  EXPECT_NE(daemon.log().find("did you mean 'capacity'"), std::string::npos) << daemon.log();
  EXPECT_NE(daemon.log().find('^'), std::string::npos);
}

TEST_F(DaemonLife, AMissingConfigurationEndsWith78) {
  Daemon daemon = Daemon::start({.arguments = {"--config", folder_ / "none.toml"}});
  EXPECT_EQ(daemon.wait(), 78);
  EXPECT_NE(daemon.log().find("none.toml"), std::string::npos) << daemon.log();
}

TEST_F(DaemonLife, WrongArgumentsEndWith2) {
  Daemon daemon = Daemon::start({.arguments = {"--serve"}});
  EXPECT_EQ(daemon.wait(), 2);
  EXPECT_NE(daemon.log().find("--serve"), std::string::npos) << daemon.log();
}

TEST_F(DaemonLife, ItsDefaultConfigurationIsOneThatItTakes) {
  Daemon printing = Daemon::start({.arguments = {"--print-default-config"}});
  EXPECT_EQ(printing.wait(), 0);
  std::ofstream(config_file()) << printing.log();
  Daemon checking = Daemon::start({.arguments = {"--check", "--config", config_file()}});
  EXPECT_EQ(checking.wait(), 0) << checking.log();
}

TEST_F(DaemonLife, ASecondDaemonOnTheSameSocketIsRefused) {
  start();
  Daemon second = Daemon::start(options());
  EXPECT_EQ(second.wait(), 1);
  EXPECT_NE(second.log().find("another kvtierd"), std::string::npos) << second.log();
  EXPECT_EQ(attach().attached().version, 1u) << "the first goes on";
}

TEST_F(DaemonLife, ADaemonThatWasKilledIsReplaced) {
  start();
  const uint64_t epoch = attach().attached().epoch;
  kill_daemon();
  EXPECT_TRUE(std::filesystem::exists(socket()));
  start();
  EXPECT_NE(attach().attached().epoch, epoch);
}

TEST_F(DaemonLife, AFolderOfSomebodyElseIsRefused) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root, to be two users";
  const std::string folder = folder_ / "kvtier-65534";
  ASSERT_EQ(::chmod(std::filesystem::path(folder).parent_path().c_str(), 0755), 0);
  std::filesystem::create_directory(folder);
  ASSERT_EQ(::chown(folder.c_str(), 1, 1), 0);
  const std::string temporary = std::filesystem::path(folder).parent_path();
  DaemonOptions options = {.environment = {"TMPDIR=" + temporary, "XDG_RUNTIME_DIR="},
                           .uid = 65534};
  Daemon daemon = Daemon::start(options);
  EXPECT_EQ(daemon.wait(), 1);
  EXPECT_NE(daemon.log().find("belongs to uid 1"), std::string::npos) << daemon.log();
}

TEST_F(DaemonLife, AChangedConfigurationIsTakenOverAndAWrongOneIsNot) {
  start("host.lease_max = \"10s\"");
  EXPECT_EQ(attach().attached().lease_seconds_max, 10u);
  write_config("host.lease_max = \"20s\"");
  daemon_->process().signal(SIGHUP);
  ASSERT_TRUE(daemon_->said("KV1101")) << daemon_->log();
  EXPECT_EQ(attach().attached().lease_seconds_max, 20u);
  write_config("host.lease_max = \"forever\"");
  daemon_->process().signal(SIGHUP);
  ASSERT_TRUE(daemon_->said("KV1102")) << daemon_->log();
  EXPECT_EQ(attach().attached().lease_seconds_max, 20u);
}

TEST_F(DaemonLife, ASocketOfTheServiceManagerIsServedAndLeftAlone) {
  write_config();
  daemon::Fd listening(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket().data(), socket().size());
  ASSERT_EQ(::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listening.get(), 8), 0);
  RawClient early(RawClient::connect(socket()));  // queues before there is a daemon
  DaemonOptions with_socket = options();
  with_socket.inherited_socket = listening.get();
  start(with_socket);
  EXPECT_EQ(early.attach(), "");
  daemon_->process().signal(SIGTERM);
  EXPECT_EQ(daemon_->wait(), 0);
  EXPECT_TRUE(std::filesystem::exists(socket()));
}

// --- Protocol versions. The test builds differ from kvtierd in their number only.

TEST_F(DaemonLife, AClientOfVersion1IsServedByADaemonOfVersion2) {
  write_config();
  DaemonOptions later = options();
  later.program = KVTIER_TEST_DIR "/kvtierd_protocol2";
  start(later);
  RawClient client = attach();
  EXPECT_EQ(client.attached().version, 1u);
  const uint32_t space = client.open_space("m", kPayload);
  EXPECT_TRUE(granted(client, space, 1));
}

TEST_F(DaemonLife, AClientOfVersion1IsRefusedByADaemonOfVersion3) {
  write_config();
  DaemonOptions later = options();
  later.program = KVTIER_TEST_DIR "/kvtierd_protocol3";
  start(later);
  RawClient client(RawClient::connect(socket()));
  const auto reply = client.call(MessageType::kAttach, RawClient::attach_request());
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(reply->header().status, static_cast<int32_t>(Code::kIncompatible));
  EXPECT_EQ(reply->as<wire::Refused>().version_min, 2u);
  EXPECT_EQ(reply->as<wire::Refused>().version_max, 3u);
  EXPECT_NE(reply->text().find("update"), std::string::npos) << reply->text();
}

// --- Limits of the system.

// How many descriptors a connection takes and how many the daemon inherits decide at which of them
// the last one is gone: at the accept (KV2007) or at a later one of the same connection (KV2003).
// Limits one apart meet each of them.
TEST_F(DaemonLife, WithoutDescriptorsItSaysSoAndGoesOnWhenThereAreSome) {
  write_config();
  bool at_the_accept = false;
  for (const uint64_t limit : {64u, 65u, 66u, 67u, 68u, 69u}) {
    SCOPED_TRACE("at most " + std::to_string(limit) + " descriptors");
    DaemonOptions poor = options();
    poor.open_files_max = limit;
    poor.arguments.push_back(
        "--cold");  // or it keeps this process's sessions of the time before, and their descriptors
    start(poor);
    std::vector<RawClient> clients;
    std::string refusal;
    for (int i = 0; i < 40 && refusal.empty(); ++i) {
      clients.emplace_back(RawClient::connect(socket()));
      refusal = clients.back().attach();
    }
    ASSERT_NE(refusal, "") << "the limit was never reached";
    EXPECT_TRUE(refusal.find("Too many open files") != std::string::npos ||
                refusal.find("no free file descriptors") != std::string::npos)
        << refusal;
    // More knock at the door than it can let in: it must not spin.
    std::vector<daemon::Fd> knocking;
    for (int i = 0; i < 80; ++i) knocking.push_back(RawClient::connect(socket()));
    EXPECT_EQ(clients.front().ask({})->status, 0) << "those inside are served";
    const double before = daemon_->process().cpu_ms();
    std::this_thread::sleep_for(milliseconds(500));  // measured, not waited for
    EXPECT_LT(daemon_->process().cpu_ms() - before, 100);
    knocking.clear();
    while (clients.size() > 2) {
      clients.back().call(MessageType::kDetach, wire::DetachRequest{});
      clients.pop_back();
    }
    std::string last;
    EXPECT_TRUE(eventually([&] {
      last = RawClient(RawClient::connect(socket())).attach();
      return last.empty();
    })) << last;
    daemon_->process().signal(SIGTERM);
    EXPECT_EQ(daemon_->wait(), 0);
    at_the_accept |= daemon_->log().find("KV2007") != std::string::npos;
    EXPECT_NE(daemon_->log().find("KV2003"), std::string::npos) << daemon_->log();
  }
  EXPECT_TRUE(at_the_accept) << "no limit met the accept";
}

TEST_F(DaemonLife, WithIdleClientsItUsesAlmostNoTime) {
  start();
  std::vector<RawClient> clients;
  for (int i = 0; i < 16; ++i) clients.push_back(attach());
  std::this_thread::sleep_for(milliseconds(2'500));  // after which it counts as idle
  const double before = daemon_->process().cpu_ms();
  std::this_thread::sleep_for(milliseconds(3'000));
  EXPECT_LT(daemon_->process().cpu_ms() - before, 15) << "0.5 % of a core";
}

TEST_F(DaemonLife, AStoppedDaemonHoldsNobodyUpAndGoesOn) {
  start();
  RawClient client = attach();
  daemon_->process().stop();
  const uint64_t asked = client.submit({});
  RawClient waiting(RawClient::connect(socket()));  // the kernel takes it
  EXPECT_FALSE(client.take().has_value());
  daemon_->process().signal(SIGCONT);
  const auto answer = client.wait();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->user_data, asked);
  EXPECT_EQ(waiting.attach(), "");
}

}  // namespace
}  // namespace kvtier::process
