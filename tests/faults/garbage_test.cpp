// Clients that write garbage into everything they may write: rings, cells, touch log, arguments,
// counters, and their own chunks. The daemon ends their sessions or answers; the other tenant sees
// nothing of it. Seeded; KVTIER_GARBAGE_SECONDS makes it longer, KVTIER_GARBAGE_SEED repeats it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/faults/child.hpp"
#include "tests/faults/fault_client.hpp"
#include "tests/faults/fault_daemon.hpp"
#include "tests/faults/tenant_memory.hpp"

namespace kvtier::faults {
namespace {

using std::chrono::milliseconds;
using Random = std::mt19937_64;
constexpr size_t kChunks = 6;

uint64_t environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// A number that is plausible more often than chance would have it.
uint64_t odd_number(Random& random) {
  switch (random() % 6) {
    case 0:
      return random() % 16;
    case 1:
      return uint64_t{1} << random() % 64;
    case 2:
      return UINT64_MAX - random() % 16;
    case 3:
      return random() % (2 * wire::MiB);
    case 4:
      return random() & UINT32_MAX;
    default:
      return random();
  }
}

// One attached session and what can be done wrong with it.
class Vandal {
 public:
  // `before`: the session of this process that the daemon ended, if it did.
  struct Ended {
    uint32_t session = 0;
    uint64_t epoch = 0;
  };
  Vandal(const std::string& socket, Random& random, const Ended& before)
      : memory_(socket), random_(random) {
    space_ = client().open_space("garbage", 64 * wire::KiB);
    if (before.session == 0) return;
    wire::GiveUpRequest request = {};
    request.session = before.session;
    request.epoch = before.epoch;
    client().call(wire::MessageType::kGiveUp, request);
  }
  // Lets the session go the way an engine would, or says that the daemon has ended it.
  Ended leave() {
    if (!ended()) {
      const auto reply = client().call(wire::MessageType::kDetach, wire::DetachRequest());
      if (reply) return {};
    }
    return {client().attached().session, client().attached().epoch};
  }
  bool ended() { return client().header().ended.load(std::memory_order_acquire) != 0; }

  void act() {
    switch (random_() % 8) {
      case 0:
        return scribble(0, client().attached().session_bytes);
      case 1:
        return scribble(0, sizeof(wire::SessionHeader));
      case 2:
        return cells();
      case 3:
        return touches();
      case 4:
        client().header().cells_high_water.store(number32(), std::memory_order_release);
        return;
      case 5:
        return wild_tail();
      default:
        return request();
    }
  }

 private:
  daemon::RawClient& client() { return memory_.client(); }
  uint32_t number32() { return static_cast<uint32_t>(odd_number(random_)); }

  void scribble(uint64_t offset, uint64_t bytes) {
    // The layout words that this program itself reads stay; the daemon reads them never again.
    for (uint64_t i = random_() % 32; i > 0; --i) {
      const uint64_t at = (offset + random_() % bytes) / 8 * 8;
      if (at < 128) continue;
      const uint64_t value = odd_number(random_);
      std::memcpy(client().memory() + at, &value, sizeof value);
    }
  }
  // Places of slots that exist, with true and false generations, and of none.
  uint64_t some_place() {
    if (random_() % 3 == 0) return odd_number(random_);
    return wire::Place::make(wire::Tier::kHost, static_cast<uint32_t>(random_() % 4),
                             static_cast<uint32_t>(random_() % 16),
                             static_cast<uint32_t>(random_() % 64))
        .word();
  }
  void cells() {
    auto* all = reinterpret_cast<std::atomic<uint64_t>*>(client().memory() +
                                                         client().header().cells_offset);
    for (uint64_t i = random_() % 64; i > 0; --i) {
      all[random_() % client().header().cells_max].store(some_place(), std::memory_order_release);
    }
  }
  void touches() {
    auto* all = reinterpret_cast<std::atomic<uint64_t>*>(client().memory() +
                                                         client().header().touches_offset);
    for (uint64_t i = random_() % 64; i > 0; --i) {
      all[random_() % client().header().touch_entries].store(some_place());
    }
    client().header().touch_tail.store(number32(), std::memory_order_release);
  }
  // Most of these end the session; one in four stays within the ring.
  void wild_tail() {
    if (random_() % 4 == 0) {
      client().publish(client().header().submission_head.load() + number32() % 64);
    } else if (random_() % 16 == 0) {
      client().publish(number32());
    }
    client().header().completion_head.store(number32() % 4, std::memory_order_release);
  }
  // A request that is well formed more or less; its arguments change while it is served.
  void request() {
    wire::Submission request = {};
    request.op = static_cast<uint16_t>(random_() % 13);
    request.space = random_() % 4 == 0 ? number32() : space_;
    request.count = random_() % 4 == 0 ? number32() : static_cast<uint32_t>(random_() % 65);
    request.args_offset =
        random_() % 4 == 0 ? number32() : static_cast<uint32_t>(random_() % 64) * 8;
    request.args_bytes = random_() % 4 == 0 ? number32() : 65536;
    request.a = random_() % 2 == 0 ? some_place() : odd_number(random_);
    request.b = odd_number(random_);
    request.c = odd_number(random_);
    fill_arguments(request);
    client().submit(request);
    fill_arguments(request);
    for (int i = 0; i < 64 && client().take(); ++i) {  // its tail may be garbage, too
    }
  }
  void fill_arguments(const wire::Submission& request) {
    std::byte* arguments = client().arguments();
    const uint64_t bytes = client().header().args_bytes;
    for (uint32_t i = 0; i < 64; ++i) {
      wire::ReserveArg argument = {};
      argument.key = {random_() % 8, random_() % 8};
      argument.payload_bytes = random_() % 4 == 0 ? odd_number(random_) : 65536;
      argument.tokens = random_() % 4 == 0 ? number32() : 16;
      argument.extra_ids = random_() % 8 == 0 ? number32() : 0;
      argument.ids_offset = random_() % 4 == 0 ? number32() : 8192;
      const uint64_t at = (request.args_offset & 0xffff) + i * sizeof argument;
      if (at + sizeof argument > bytes) return;
      std::memcpy(arguments + at, &argument, sizeof argument);
      if (random_() % 2 == 0) {
        const uint64_t place = some_place();
        std::memcpy(arguments + at, &place, sizeof place);
      }
    }
  }

  TenantMemory memory_;
  Random& random_;
  uint32_t space_ = 0;
};

int vandalise(const std::string& socket, uint64_t seed, Line& line) {
  Random random(seed);
  uint64_t sessions = 0;
  uint64_t acts = 0;
  Vandal::Ended before;
  while (line.hear(milliseconds(0)).empty()) {
    Vandal vandal(socket, random, before);
    ++sessions;
    for (int i = 0; i < 2000 && !vandal.ended(); ++i, ++acts) vandal.act();
    before = vandal.leave();
  }
  line.say(std::to_string(acts) + " acts in " + std::to_string(sessions) + " sessions");
  return 0;
}

TEST(FaultsOfGarbage, VandalOfOneTenantIsNotNoticedByAnother) {
  const uint64_t seed = environment("KVTIER_GARBAGE_SEED", std::random_device{}());
  const uint64_t seconds = environment("KVTIER_GARBAGE_SECONDS", 4);
  std::printf("[          ] KVTIER_GARBAGE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  FaultDaemon daemon(small_pool("16MiB", "lease_max = '200ms'") + two_tenants());
  daemon.start();
  std::vector<std::unique_ptr<Child>> vandals;
  for (uint64_t i = 0; i < 2; ++i) {
    vandals.push_back(
        Child::start([&](Line& line) { return vandalise(daemon.socket("a"), seed + i, line); }));
  }
  // One engine of the other tenant, undisturbed; one of the same tenant, never wrong.
  FaultClient other(ClientOptions{.socket = daemon.socket("b"), .salt = 2});
  FaultClient same(ClientOptions{.socket = daemon.socket("a"), .salt = 1});
  ASSERT_TRUE(other.wait_attached() && same.wait_attached());
  constexpr uint64_t kPrompts = 8;
  for (uint64_t prompt = 0; prompt < kPrompts; ++prompt) {
    ASSERT_TRUE(other.store_all(prompt, kChunks));
  }
  const auto until = in(std::chrono::seconds(seconds));
  uint64_t rounds = 0;
  for (; Clock::now() < until; ++rounds) {
    const ReadBack back = other.read(rounds % kPrompts, kChunks);
    ASSERT_EQ(back.loaded, kChunks) << miss_reason_name(back.ended);
    ASSERT_EQ(back.wrong_bytes, 0u);
    if (rounds % 16 == 0) {
      same.store(rounds % 64, kChunks, milliseconds(100));
      EXPECT_EQ(same.read(rounds % 64, kChunks).wrong_bytes, 0u);
      ASSERT_TRUE(daemon.running());
    }
  }
  for (const auto& vandal : vandals) vandal->line().say("end");
  for (const auto& vandal : vandals) {
    std::printf("[          ] %s, %llu reads beside them\n", vandal->line().hear().c_str(),
                static_cast<unsigned long long>(rounds));
    EXPECT_EQ(vandal->wait(), 0);
  }
  ASSERT_TRUE(daemon.running());
  EXPECT_EQ(other.session().stats().attachments, 1u);
  EXPECT_TRUE(eventually(milliseconds(3000), [&] {
    return daemon.host("granted_slots") == 0 && daemon.host("retired_slots") == 0 &&
           daemon.sessions() == 2;
  })) << daemon.status().dump();
  EXPECT_GT(daemon.counter("protocol_errors"), 0u);
  EXPECT_TRUE(daemon.logged("KV2004"));
  EXPECT_GT(daemon.counter("invalid_requests"), 0u);
  // Nothing is left behind that would keep the tenant from working.
  ASSERT_TRUE(same.store_all(5000, kChunks));
  EXPECT_EQ(same.read(5000, kChunks).loaded, kChunks);
  daemon.stop();
}

}  // namespace
}  // namespace kvtier::faults
