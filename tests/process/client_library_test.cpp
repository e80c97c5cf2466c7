// Engines, that is, processes with the client library, against a real kvtierd: chunks go from one
// to another, and every kind of sudden end leaves the others with misses and errors, never with
// wrong bytes or a call that hangs.
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "kvtier/kvtier.hpp"
#include "tests/process/process_fixture.hpp"

namespace kvtier::process {
namespace {

using std::chrono::seconds;

constexpr uint32_t kTokens = 16;
constexpr uint64_t kChunkBytes = 60 * wire::KiB;

// A client with one space, and prompts by number: chunk i of prompt p is filled with a byte that
// both decide.
class Engine {
 public:
  explicit Engine(const std::string& socket) {
    SessionOptions options;
    options.socket = socket;
    options.name = "engine";
    auto session = Session::open(options);
    if (!session.ok()) return;
    session_ = std::move(session).value();
    attached_ = session_->wait_attached(soon()).ok();
    SpaceSpec spec;
    spec.model = "model@1";
    spec.layout = "test";
    spec.tokens_per_chunk = kTokens;
    spec.chunk_bytes = kChunkBytes;
    auto space = session_->open_space(spec);
    if (space.ok()) space_ = std::move(space).value();
  }

  static Clock::time_point soon() { return Clock::now() + seconds(10); }
  static std::byte fill(uint32_t prompt, size_t chunk) {
    return static_cast<std::byte>(prompt * 31 + chunk * 7 + 1);
  }

  bool ready() const { return attached_ && space_ != nullptr; }
  Session& session() { return *session_; }
  const Space& space() const { return *space_; }

  Result<KeyChain> chain(uint32_t prompt, size_t chunks) const {
    std::vector<uint32_t> tokens(chunks * kTokens);
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = prompt * 1'000'003 + static_cast<uint32_t>(i);
    }
    return space_->derive({.tokens = tokens});
  }

  // The number of chunks that are there afterwards.
  size_t store(uint32_t prompt, size_t chunks, Encoding encoding = Encoding::kNone) const {
    const auto keys = chain(prompt, chunks);
    if (!keys.ok()) return 0;
    std::vector<std::vector<std::byte>> payloads(chunks);
    std::vector<ConstFragment> fragments(chunks);
    std::vector<StoreSource> sources(chunks);
    for (size_t i = 0; i < chunks; ++i) {
      payloads[i].assign(kChunkBytes, fill(prompt, i));
      fragments[i] = {payloads[i].data(), kChunkBytes};
      sources[i] = {i, {&fragments[i], 1}};
    }
    const auto outcomes = space_->store(*keys, sources, soon(), {.encoding = encoding});
    if (!outcomes.ok()) return 0;
    size_t there = 0;
    for (const StoreOutcome outcome : *outcomes) {
      there += outcome == StoreOutcome::kStored || outcome == StoreOutcome::kPresent ? 1u : 0u;
    }
    return there;
  }

  struct Loaded {
    size_t chunks = 0;
    size_t wrong_bytes = 0;
  };
  Loaded load(uint32_t prompt, size_t chunks) const {
    Loaded loaded;
    const auto keys = chain(prompt, chunks);
    if (!keys.ok()) return loaded;
    const auto match = space_->match(*keys);
    if (!match.ok()) return loaded;
    std::vector<std::vector<std::byte>> payloads(match->chunks());
    std::vector<Fragment> fragments(match->chunks());
    std::vector<LoadTarget> targets(match->chunks());
    for (size_t i = 0; i < match->chunks(); ++i) {
      payloads[i].resize(kChunkBytes);
      fragments[i] = {payloads[i].data(), kChunkBytes};
      targets[i] = {i, {&fragments[i], 1}};
    }
    const auto result = space_->load(*match, targets, soon());
    if (!result.ok()) return loaded;
    loaded.chunks = result->chunks;
    for (size_t i = 0; i < loaded.chunks; ++i) {
      for (const std::byte byte : payloads[i]) {
        loaded.wrong_bytes += byte != fill(prompt, i) ? 1u : 0u;
      }
    }
    return loaded;
  }

 private:
  std::unique_ptr<Session> session_;
  std::shared_ptr<Space> space_;
  bool attached_ = false;
};

class ClientLibrary : public ProcessTest {
 protected:
  void SetUp() override { start(); }

  // Runs an engine in a process of its own, which says 'r' once `prepare` has held.
  Child engine(
      const std::function<bool(Engine&)>& prepare,
      const std::function<int(Engine&)>& then = [](Engine&) { return 0; }) {
    Child child = Child::run([&](const Child::Line& line) {
      Engine engine(socket());
      if (!engine.ready()) return 101;
      if (!prepare(engine)) return 102;
      line.say('r');
      line.hear();
      return then(engine);
    });
    EXPECT_EQ(child.line().hear(), 'r');
    return child;
  }
};

TEST_F(ClientLibrary, AChunkThatOneProcessStoredAnotherLoads) {
  Child writer = engine([](Engine& engine) { return engine.store(1, 10) == 10; });
  Engine reader(socket());
  ASSERT_TRUE(reader.ready());
  const Engine::Loaded loaded = reader.load(1, 12);
  EXPECT_EQ(loaded.chunks, 10u);
  EXPECT_EQ(loaded.wrong_bytes, 0u);
  EXPECT_EQ(reader.load(2, 4).chunks, 0u);
  writer.line().say('e');
  EXPECT_EQ(writer.process().wait(), 0);
}

TEST_F(ClientLibrary, ChunksInACodecAreLoadedByAnotherProcessBesideThoseInNone) {
  // The first chunks as they are, all behind them lossless: one prefix in two codecs.
  Child writer = engine([](Engine& engine) {
    return engine.store(1, 4) == 4 && engine.store(1, 10, Encoding::kLossless) == 10;
  });
  Engine reader(socket());
  ASSERT_TRUE(reader.ready());
  const Engine::Loaded loaded = reader.load(1, 10);
  EXPECT_EQ(loaded.chunks, 10u);
  EXPECT_EQ(loaded.wrong_bytes, 0u);
  // In place: only what is as it was given.
  const auto match = reader.space().match(*reader.chain(1, 10));
  ASSERT_TRUE(match.ok());
  EXPECT_EQ(match->payload(3).size(), kChunkBytes);
  EXPECT_TRUE(match->payload(4).empty());
}

// Stored raw, written below in a codec, killed, and read back by the next daemon: the same bytes.
// The same engine's stores follow what that daemon's configuration says.
TEST_F(ClientLibrary, CodecsOfTheConfigurationHoldOverAKill) {
  constexpr size_t kPrompts = 24;
  constexpr size_t kChunks = 10;
  const std::string pool =
      "host.capacity = \"8MiB\"\ndaemon.keep = \"off\"\nnvme.capacity = \"64MiB\"\n"
      "nvme.prepare = \"off\"\nnvme.encode = \"lossless\"\nnvme.paths = [\"" +
      (folder_ / "slab") + "\"]\ndaemon.state_directory = \"" + (folder_ / "state") + "\"";
  kill_daemon();
  ASSERT_TRUE(std::filesystem::create_directory(folder_ / "slab"));
  start(pool);
  Engine engine(socket());
  ASSERT_TRUE(engine.ready());
  for (uint32_t prompt = 0; prompt < kPrompts; ++prompt) {
    ASSERT_EQ(engine.store(prompt, kChunks, Encoding::kOfSpace), kChunks);
  }
  const uint64_t epoch = engine.session().epoch();
  kill_daemon();
  start(pool + "\nhost.encode = \"lossless\"");
  ASSERT_TRUE(
      eventually([&] { return engine.session().attached() && engine.session().epoch() != epoch; }));
  // What lay below comes into the index behind the daemon's start.
  const auto found = [&] {
    size_t chunks = 0;
    for (uint32_t prompt = 0; prompt < kPrompts; ++prompt) {
      const auto keys = engine.chain(prompt, kChunks);
      if (!keys.ok()) continue;
      (void)engine.space().prefetch(*keys, 0, kChunks, Engine::soon());
      const Engine::Loaded loaded = engine.load(prompt, kChunks);
      EXPECT_EQ(loaded.wrong_bytes, 0u) << prompt;
      chunks += loaded.chunks;
      const auto match = engine.space().match(*keys);
      if (!match.ok() || match->chunks() == 0) continue;
      EXPECT_TRUE(match->payload(0).empty()) << "what comes back is encoded";
    }
    return chunks;
  };
  EXPECT_TRUE(eventually([&] { return found() > 0; }));
  ASSERT_EQ(engine.store(1000, 2, Encoding::kOfSpace), 2u);
  const auto match = engine.space().match(*engine.chain(1000, 2));
  ASSERT_TRUE(match.ok());
  ASSERT_EQ(match->chunks(), 2u);
  EXPECT_TRUE(match->payload(0).empty()) << "host.encode";
  EXPECT_EQ(engine.load(1000, 2).wrong_bytes, 0u);
}

TEST_F(ClientLibrary, LeasesAndGrantsOfAKilledProcessReturnWithinASecond) {
  // It leases a third of the tier and holds grants for as much.
  Child holder = Child::run([&](const Child::Line& line) {
    Engine engine(socket());
    if (!engine.ready() || engine.store(1, 40) != 40) return 101;
    const auto keys = engine.chain(1, 40);
    const auto match = engine.space().match(*keys);
    const auto others = engine.chain(2, 40);
    std::vector<Reservation> grants;
    for (size_t i = 0; i < 40; ++i) {
      const size_t chunk[] = {i};
      eventually([&] {
        auto reserved = engine.space().reserve(*others, chunk, Engine::soon());
        if (!reserved.ok() || !reserved->front().grant.held()) return false;
        grants.push_back(std::move(reserved->front()));
        return true;
      });
    }
    if (match->chunks() != 40 || grants.size() != 40) return 102;
    line.say('r');
    line.hear();
    return 0;
  });
  ASSERT_EQ(holder.line().hear(), 'r');
  Engine other(socket());
  ASSERT_TRUE(other.ready());
  holder.process().signal(SIGKILL);
  const Stopwatch watch;
  // Only with the slots of the dead process is there room for so much.
  Engine::Loaded loaded;
  EXPECT_TRUE(eventually([&] {
    other.store(3, 100);
    loaded = other.load(3, 100);
    return loaded.chunks == 100;
  }));
  EXPECT_LT(watch.ms(), 1'000);
  EXPECT_EQ(loaded.wrong_bytes, 0u);
}

TEST_F(ClientLibrary, WithoutADaemonCallsFailAtOnceAndOldMatchesSaySo) {
  Engine engine(socket());
  ASSERT_TRUE(engine.ready());
  ASSERT_EQ(engine.store(1, 8), 8u);
  const auto keys = engine.chain(1, 8);
  ASSERT_TRUE(keys.ok());
  const auto match = engine.space().match(*keys);
  ASSERT_TRUE(match.ok());
  ASSERT_EQ(match->chunks(), 8u);
  EXPECT_TRUE(match->check().ok());
  kill_daemon();
  EXPECT_TRUE(eventually([&] { return !match->check().ok(); }));
  EXPECT_FALSE(match->payload(0).empty()) << "what is mapped stays";
  const Stopwatch watch;
  const size_t first[] = {0};
  EXPECT_FALSE(engine.space().reserve(*keys, first, Engine::soon()).ok());
  EXPECT_EQ(engine.load(1, 8).chunks, 0u);
  EXPECT_LT(watch.ms(), 200);
}

TEST_F(ClientLibrary, AfterARestartItAttachesAgainUnderANewEpoch) {
  Engine engine(socket());
  ASSERT_TRUE(engine.ready());
  ASSERT_EQ(engine.store(1, 8), 8u);
  const uint64_t epoch = engine.session().epoch();
  const auto keys = engine.chain(1, 8);
  const auto match = engine.space().match(*keys);
  ASSERT_EQ(match->chunks(), 8u);
  kill_daemon();
  start();
  EXPECT_TRUE(
      eventually([&] { return engine.session().attached() && engine.session().epoch() != epoch; }));
  EXPECT_FALSE(match->check().ok());
  // What was stored is found again; storing it again finds it present.
  EXPECT_TRUE(eventually([&] { return engine.load(1, 8).chunks == 8; }));
  const Engine::Loaded loaded = engine.load(1, 8);
  EXPECT_EQ(loaded.chunks, 8u);
  EXPECT_EQ(loaded.wrong_bytes, 0u);
}

TEST_F(ClientLibrary, AnOrderlyStopEndsLoadsUnderWay) {
  Engine engine(socket());
  ASSERT_TRUE(engine.ready());
  ASSERT_EQ(engine.store(1, 8), 8u);
  const auto match = engine.space().match(*engine.chain(1, 8));
  ASSERT_EQ(match->chunks(), 8u);
  daemon_->process().signal(SIGTERM);
  EXPECT_EQ(daemon_->wait(), 0);
  EXPECT_FALSE(match->check().ok());
}

TEST_F(ClientLibrary, AStoppedDaemonCostsADeadlineAndNoMore) {
  Engine engine(socket());
  ASSERT_TRUE(engine.ready());
  ASSERT_EQ(engine.store(1, 4), 4u);
  const auto keys = engine.chain(2, 1);
  daemon_->process().stop();
  const Stopwatch watch;
  const size_t first[] = {0};
  const auto reserved = engine.space().reserve(*keys, first, Clock::now() + milliseconds(100));
  EXPECT_EQ(reserved.code(), Code::kDeadline);
  EXPECT_LT(watch.ms(), 1'000);
  const Engine::Loaded loaded = engine.load(1, 4);
  EXPECT_EQ(loaded.chunks, 4u) << "look-ups and loads need no daemon";
  EXPECT_EQ(loaded.wrong_bytes, 0u);
  daemon_->process().signal(SIGCONT);
  EXPECT_TRUE(eventually([&] { return engine.store(2, 1) == 1; }));
}

TEST_F(ClientLibrary, AProcessStoppedInTheMiddleOfAStoreHoldsNobodyUp) {
  Child stopped = Child::run([&](const Child::Line& line) {
    Engine engine(socket());
    if (!engine.ready()) return 101;
    const auto keys = engine.chain(1, 1);
    const size_t first[] = {0};
    std::vector<Grant> grants;
    eventually([&] {
      auto reserved = engine.space().reserve(*keys, first, Engine::soon());
      if (!reserved.ok() || !reserved->front().grant.held()) return false;
      grants.push_back(std::move(reserved->front().grant));
      return true;
    });
    if (grants.empty()) return 102;
    std::memset(grants[0].payload().data(), 1, kChunkBytes / 2);
    line.say('r');
    line.hear();
    const auto fill = static_cast<int>(Engine::fill(1, 0));
    std::memset(grants[0].payload().data(), fill, kChunkBytes);
    const auto outcome = engine.space().commit(grants, {}, Engine::soon());
    return outcome.ok() && outcome->front() == StoreOutcome::kStored ? 0 : 103;
  });
  ASSERT_EQ(stopped.line().hear(), 'r');
  stopped.process().stop();
  Engine other(socket());
  ASSERT_TRUE(other.ready());
  EXPECT_EQ(other.load(1, 1).chunks, 0u) << "half a store is not visible";
  EXPECT_EQ(other.store(2, 20), 20u);
  EXPECT_EQ(other.load(2, 20).wrong_bytes, 0u);
  stopped.process().signal(SIGCONT);
  stopped.line().say('g');
  EXPECT_EQ(stopped.process().wait(), 0);
  EXPECT_TRUE(eventually([&] { return other.load(1, 1).chunks == 1; })) << "once it is hashed";
  EXPECT_EQ(other.load(1, 1).wrong_bytes, 0u);
}

TEST_F(ClientLibrary, EnginesThatAreKilledWhileTheyWorkNeverCauseWrongBytes) {
  Engine survivor(socket());
  ASSERT_TRUE(survivor.ready());
  size_t loaded = 0;
  for (uint32_t round = 0; round < 20; ++round) {
    Child victim = Child::run([&](const Child::Line& line) {
      Engine engine(socket());
      if (!engine.ready()) return 101;
      line.say('r');
      for (uint32_t prompt = 0;; prompt = (prompt + 1) % 32) {
        engine.store(prompt, 6);
        if (engine.load(prompt, 6).wrong_bytes != 0) return 102;
      }
    });
    ASSERT_EQ(victim.line().hear(), 'r');
    const Stopwatch watch;
    while (watch.ms() < 50) {
      for (uint32_t prompt = 0; prompt < 32; ++prompt) {
        const Engine::Loaded some = survivor.load(prompt, 6);
        ASSERT_EQ(some.wrong_bytes, 0u);
        loaded += some.chunks;
      }
      survivor.store(round % 32, 6);
    }
    EXPECT_EQ(victim.process().kill_and_wait(), 128 + SIGKILL);
  }
  EXPECT_GT(loaded, 100u) << "too little was compared";
}

}  // namespace
}  // namespace kvtier::process
