// Fuzz target: what arrives on the attach socket. The input is a script of packets: as they are, or
// with a sound header before them, with descriptors or without, on one or two connections. Whatever
// comes, another session is answered and no descriptor is kept.
#include <fcntl.h>

#include "tests/fuzz/fuzz_daemon.hpp"

namespace kvtier::fuzz {
namespace {

constexpr size_t kPacketsMax = 32;
constexpr size_t kSessionsMax = 40;  // of one process; then a new daemon

struct World {
  World() : witness(daemon.connect("other")) {
    require(witness.attach("witness").empty(), "the witness attaches");
  }
  FuzzDaemon daemon;
  RawClient witness;
};

void send_one(RawClient& client, Input& input, uint8_t how) {
  std::byte bytes[wire::kMessageBytesMax + 64];
  size_t size = 0;
  if ((how & 1) != 0) {
    wire::MessageHeader header = RawClient::header_of(
        static_cast<wire::MessageType>(input.take<uint8_t>() % 12), sizeof header);
    size_t body = input.take<uint16_t>() % (sizeof bytes - sizeof header);
    if ((how & 2) != 0 && header.type == 1) {
      // The two versions of a sound attach, so that more of it is reached.
      const uint32_t versions[2] = {1, 1};
      std::memcpy(bytes + sizeof header, versions, sizeof versions);
      body = sizeof(wire::AttachRequest) - sizeof header;
      input.take_bytes(bytes + sizeof header + sizeof versions, body - sizeof versions);
    } else {
      std::memset(bytes + sizeof header, 0, body);
      input.take_bytes(bytes + sizeof header, body);
    }
    size = sizeof header + body;
    header.bytes = static_cast<uint32_t>(size);
    std::memcpy(bytes, &header, sizeof header);
  } else {
    size = input.take_bytes(bytes, input.take<uint16_t>() % sizeof bytes);
  }
  const std::vector<int> fds((how & 4) != 0 ? (how >> 4) : 0, STDIN_FILENO);
  client.send_bytes(bytes, size, fds);
}

void play(World& world, Input& input) {
  RawClient clients[2] = {world.daemon.connect(), world.daemon.connect("other")};
  for (size_t i = 0; i < kPacketsMax && !input.empty(); ++i) {
    const auto how = input.take<uint8_t>();
    RawClient& client = clients[(how >> 3) & 1];
    if (!client.socket()) continue;
    if (how == 0xff) {
      client.close_socket();
    } else {
      send_one(client, input, how);
    }
    world.daemon.turn();
    std::byte reply[wire::kMessageBytesMax];
    if (client.socket()) (void)!::recv(client.socket().get(), reply, sizeof reply, MSG_DONTWAIT);
  }
}

}  // namespace
}  // namespace kvtier::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace kvtier;
  using namespace kvtier::fuzz;
  static std::unique_ptr<World> world;
  if (!world || world->daemon.core().session_count() > kSessionsMax) world.reset(new World);
  Input input(data, bytes);
  play(*world, input);
  world->daemon.turn();
  require(world->witness.ask({}).has_value(), "the witness is answered");
  return 0;
}
