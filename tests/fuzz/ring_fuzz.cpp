// Fuzz target: everything a client can write into its session memory, with requests between that
// are nearly sound, so that the core is reached. Whatever comes, a session of another tenant is
// answered and its chunk, if it is there, has its bytes.
#include "kernels/checksum.hpp"
#include "tests/fuzz/fuzz_daemon.hpp"

namespace kvtier::fuzz {
namespace {

constexpr size_t kStepsMax = 64;
constexpr uint32_t kCompletionsMax = 64;
constexpr uint64_t kPayload = 4 * wire::KiB;
constexpr uint32_t kTokens = 16;
constexpr ChunkKey kWitnessKey = {1, 1};

struct World {
  World() : witness(daemon.connect("other")) {
    require(witness.attach("witness").empty(), "the witness attaches");
    space = witness.open_space("witness", kPayload, kTokens);
    for (int i = 0; i < 64 && place == 0; ++i) {
      place = witness.reserve(space, kWitnessKey, kPayload, kTokens).place;
    }
    require(place != 0, "the witness gets a slot");
    std::memset(payload(), 0x5a, kPayload);
    require(witness.commit(place, kernels::hash_only(payload(), kPayload)) ==
                wire::CommitOutcome::kStored,
            "the witness stores its chunk");
    renew();
  }
  std::byte* payload() {
    daemon::Core& core = daemon.core();
    const auto tenant = core.find_session(witness.attached().session)->tenant;
    return core.host().data(core.host().slot_at(tenant, wire::Place(place))) + 4096;
  }
  // A new session for the next input, if the last one was ended.
  void renew() {
    if (wild) {
      if (wild->header().ended.load() == 0) return;
      wire::GiveUpRequest request = {};
      request.session = wild->attached().session;
      request.epoch = FuzzDaemon::kEpoch;
      wild->close_socket();
      daemon.turn();
      witness.call(wire::MessageType::kGiveUp, request);
    }
    wild.reset(new RawClient(daemon.connect()));
    require(wild->attach("wild").empty(), "a session attaches");
    wild_space = wild->open_space("wild", kPayload, kTokens);
    tail = 0;
  }
  void look_at_witness() {
    require(witness.ask({}).has_value(), "the witness is answered");
    const auto view = wire::PublishedView::of(witness.published());
    const auto found = wire::find_chunk(view, kWitnessKey, space);
    if (found.found != wire::Found::kHost || found.place.word() != place) return;  // evicted
    for (uint64_t i = 0; i < kPayload; ++i) require(payload()[i] == std::byte{0x5a}, "its bytes");
  }

  FuzzDaemon daemon;
  RawClient witness;
  uint32_t space = 0;
  uint64_t place = 0;
  std::unique_ptr<RawClient> wild;
  uint32_t wild_space = 0;
  uint32_t tail = 0;
};

// A request whose numbers are small, in the next place of the ring.
void add_request(World& world, Input& input) {
  wire::Submission request = {};
  request.user_data = input.take<uint8_t>();
  request.op = input.take<uint8_t>() % 12;
  request.space = input.take<uint8_t>() % 4 == 0 ? input.take<uint8_t>() : world.wild_space;
  request.count = input.take<uint8_t>() % 66;
  request.args_offset = (input.take<uint8_t>() % 32) * 64;
  request.args_bytes = input.take<uint16_t>();
  request.a = input.take<uint8_t>() % 2 == 0 ? input.take<uint8_t>() : input.take<uint64_t>();
  request.b = input.take<uint64_t>();
  request.c = input.take<uint64_t>();
  world.wild->submissions()[world.tail & (world.wild->header().submission_entries - 1)] = request;
  world.wild->publish(++world.tail);
}

// Arguments of reserve with few distinct keys, and what the last answers were, as they lie there.
void add_arguments(World& world, Input& input) {
  wire::ReserveArg argument = {};
  argument.key = {input.take<uint8_t>(), 2};
  argument.parent = {input.take<uint8_t>(), 2};
  argument.payload_bytes = input.take<uint16_t>();
  argument.position = input.take<uint8_t>();
  argument.tokens = input.take<uint8_t>() % 32;
  argument.extra_ids = input.take<uint8_t>() % 4;
  argument.ids_offset = (input.take<uint8_t>() % 64) * 64;
  argument.flags = input.take<uint8_t>();
  const size_t at = (input.take<uint8_t>() % 64) * 8;
  std::memcpy(world.wild->arguments() + at, &argument, sizeof argument);
}

void scribble(World& world, Input& input) {
  const wire::SessionHeader& header = world.wild->header();
  const uint64_t end = header.args_offset + header.args_bytes;
  const uint64_t begin = 192;  // the layout is never read again; the client's words follow it
  const uint64_t at = begin + input.take<uint32_t>() % (end - begin - 256);
  input.take_bytes(world.wild->memory() + at, input.take<uint8_t>());
}

void play(World& world, Input& input) {
  for (size_t i = 0; i < kStepsMax && !input.empty(); ++i) {
    switch (input.take<uint8_t>() % 8) {
      case 0:
        scribble(world, input);
        break;
      case 1:
        add_arguments(world, input);
        break;
      case 2:
        world.tail = input.take<uint32_t>();
        world.wild->publish(world.tail);
        break;
      case 3:
        world.daemon.turn(daemon::Core::kTickNs * input.take<uint8_t>());
        break;
      case 4:
        // Bounded: the input may have written any number into the ring's words.
        for (uint32_t n = 0; n < kCompletionsMax && world.wild->take(); ++n) {
        }
        break;
      default:
        add_request(world, input);
        world.daemon.turn();
    }
    if (world.wild->header().ended.load() != 0) return;
  }
}

}  // namespace
}  // namespace kvtier::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace kvtier;
  using namespace kvtier::fuzz;
  static std::unique_ptr<World> world(new World);
  world->renew();
  Input input(data, bytes);
  play(*world, input);
  world->daemon.turn();
  world->look_at_witness();
  return 0;
}
