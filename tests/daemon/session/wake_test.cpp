// Both sides asleep as often as possible: no wake-up is lost. The server has its own thread and
// real time; the clients sleep on their eventfds. A lost wake-up is a client that waits in vain.
#include <thread>

#include "tests/daemon/session/server_fixture.hpp"

namespace kvtier::daemon {
namespace {

class Wake : public testing::TestWithParam<uint64_t> {};

TEST_P(Wake, NoneIsLost) {
  constexpr int kClients = 3;
  constexpr int kRequests = 8'000;
  TemporaryFolder folder;
  SystemClock clock;
  auto executor = make_inline_executor();
  CoreOptions options;
  options.config = small_config();
  options.config.daemon.spin_ns = GetParam();
  options.epoch = 42;
  auto core = Core::create(options, *executor, clock);
  ASSERT_TRUE(core.ok());
  auto server = Server::create({}, **core, *executor, clock);
  ASSERT_TRUE(server.ok());
  auto listener = Listener::open({.path = folder / "s", .mode = 0600, .group = "", .tenant = ""});
  ASSERT_TRUE(listener.ok()) << listener.error().message();
  ASSERT_TRUE((*server)->listen(std::move(listener).value()).ok());
  std::thread core_thread([&] { (*server)->run(); });

  std::vector<std::thread> clients;
  for (int number = 0; number < kClients; ++number) {
    clients.emplace_back([&] {
      RawClient client(RawClient::connect(folder / "s"));
      ASSERT_EQ(client.attach(), "");
      for (int i = 0; i < kRequests; ++i) {
        const auto answer = client.ask({});
        ASSERT_TRUE(answer.has_value()) << "request " << i << " was never answered";
      }
      client.send(wire::MessageType::kDetach, wire::DetachRequest{});
      client.receive();
    });
  }
  for (std::thread& client : clients) client.join();
  (*server)->stop();
  core_thread.join();
  EXPECT_EQ((*core)->counters().requests, uint64_t{kClients} * kRequests);
}

INSTANTIATE_TEST_SUITE_P(SpinNs, Wake, testing::Values(0, 20'000));

}  // namespace
}  // namespace kvtier::daemon
