// Faults of the memory itself: bits that flip, slots that hold another chunk, pages that are taken
// away. In each case a miss or a shorter load for the tenant, right bytes for everybody.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "kernels/checksum.hpp"
#include "kvtier/wire/chunk_header.hpp"
#include "tests/faults/child.hpp"
#include "tests/faults/fault_client.hpp"
#include "tests/faults/fault_daemon.hpp"
#include "tests/faults/tenant_memory.hpp"

namespace kvtier::faults {
namespace {

using std::chrono::milliseconds;
constexpr size_t kChunks = 6;
constexpr milliseconds kSoon{3000};

struct Pool {
  explicit Pool(const std::string& config = small_pool("32MiB")) : daemon(config) {
    daemon.start();
    memory = std::make_unique<TenantMemory>(daemon.socket());
    engine = std::make_unique<FaultClient>(ClientOptions{.socket = daemon.socket()});
    engine->wait_attached();
  }
  std::span<std::byte> slot(uint64_t prompt, size_t chunk) {
    const KeyChain keys = engine->chain(prompt, kChunks);
    const auto slot = memory->slot_of(keys.keys()[chunk]);
    EXPECT_FALSE(slot.empty());
    return slot;
  }

  FaultDaemon daemon;
  std::unique_ptr<TenantMemory> memory;
  std::unique_ptr<FaultClient> engine;
};

void expect_whole(FaultClient& engine, uint64_t prompt) {
  const ReadBack back = engine.read(prompt, kChunks);
  EXPECT_EQ(back.loaded, kChunks) << miss_reason_name(back.ended);
  EXPECT_EQ(back.wrong_bytes, 0u);
}

TEST(FaultsOfSlots, FlippedBitOfAPayloadIsAShortLoadAndItsSlotIsQuarantined) {
  Pool pool;
  ASSERT_TRUE(pool.engine->store_all(1, kChunks));
  expect_whole(*pool.engine, 1);
  const std::span<std::byte> slot = pool.slot(1, 3);
  slot[wire::header_bytes_for(16) + 12'345] ^= std::byte{0x10};

  const ReadBack hurt = pool.engine->read(1, kChunks);
  EXPECT_EQ(hurt.found, kChunks);
  EXPECT_EQ(hurt.loaded, 3u);
  EXPECT_EQ(hurt.wrong_bytes, 0u);
  ASSERT_TRUE(eventually(kSoon, [&] { return pool.daemon.counter("corrupt_checksum") == 1; }));
  EXPECT_TRUE(eventually(kSoon, [&] { return pool.daemon.host("quarantined_slots") == 1; }));
  EXPECT_EQ(pool.engine->session().stats().corrupt, 1u);
  EXPECT_TRUE(pool.daemon.logged("KV3001"));
  EXPECT_EQ(pool.daemon.status().at("health"), "degraded");

  EXPECT_EQ(pool.engine->read(1, kChunks).found, 3u);  // now a plain miss
  ASSERT_TRUE(pool.engine->store_all(1, kChunks));     // and stored anew, somewhere else
  EXPECT_NE(pool.slot(1, 3).data(), slot.data());
  expect_whole(*pool.engine, 1);
  EXPECT_EQ(pool.daemon.host("quarantined_slots"), 1u);  // bytes that are wrong stay out of use
}

TEST(FaultsOfSlots, FlippedBitOfAHeaderIsAMissAndIsCounted) {
  Pool pool;
  ASSERT_TRUE(pool.engine->store_all(1, kChunks));
  pool.slot(1, 2)[sizeof(wire::ChunkHeader) + 5] ^= std::byte{1};  // in the second token id
  const ReadBack hurt = pool.engine->read(1, kChunks);
  EXPECT_EQ(hurt.found, 2u);
  EXPECT_EQ(hurt.loaded, 2u);
  EXPECT_EQ(hurt.ended, MissReason::kMismatch);
  EXPECT_EQ(hurt.wrong_bytes, 0u);
  ASSERT_TRUE(eventually(kSoon, [&] { return pool.daemon.counter("corrupt_header") == 1; }));
  // The payload is right, so the slot comes back into use.
  EXPECT_TRUE(eventually(kSoon, [&] { return pool.daemon.host("quarantined_slots") == 0; }));
  ASSERT_TRUE(pool.engine->store_all(1, kChunks));
  expect_whole(*pool.engine, 1);
}

TEST(FaultsOfSlots, SlotOverwrittenWithAnotherWholeChunkIsAMissAndCanBeStoredAgain) {
  Pool pool;
  ASSERT_TRUE(pool.engine->store_all(1, kChunks));
  const std::span<std::byte> from = pool.slot(1, 0);
  const std::span<std::byte> to = pool.slot(1, 4);
  ASSERT_EQ(from.size(), to.size());
  std::memcpy(to.data(), from.data(), from.size());  // sound in itself, in the wrong place
  const ReadBack hurt = pool.engine->read(1, kChunks);
  EXPECT_EQ(hurt.found, 4u);
  EXPECT_EQ(hurt.ended, MissReason::kMismatch);
  EXPECT_EQ(hurt.wrong_bytes, 0u);
  ASSERT_TRUE(eventually(kSoon, [&] { return pool.daemon.counter("corrupt_header") == 1; }));
  ASSERT_TRUE(pool.engine->store_all(1, kChunks));
  expect_whole(*pool.engine, 1);
  EXPECT_EQ(pool.daemon.host("quarantined_slots"), 1u);
}

// The session has compared the header before, so only the load can see it.
TEST(FaultsOfSlots, SlotOverwrittenAfterItsHeaderWasComparedIsAShortLoad) {
  Pool pool;
  ASSERT_TRUE(pool.engine->store_all(1, kChunks));
  expect_whole(*pool.engine, 1);
  const std::span<std::byte> from = pool.slot(1, 0);
  std::memcpy(pool.slot(1, 4).data(), from.data(), from.size());
  const ReadBack hurt = pool.engine->read(1, kChunks);
  EXPECT_EQ(hurt.loaded, 4u);
  EXPECT_EQ(hurt.wrong_bytes, 0u);
  ASSERT_TRUE(eventually(kSoon, [&] { return pool.daemon.counter("corrupt_checksum") == 1; }));
  ASSERT_TRUE(pool.engine->store_all(1, kChunks));
  expect_whole(*pool.engine, 1);
}

TEST(FaultsOfSlots, ForcedCollisionOfKeysIsAMiss) {
  Pool pool;
  const uint64_t chunk_bytes = 64 * wire::KiB;
  const KeyChain wanted = pool.engine->chain(1, 1);
  // The key of prompt 1 with the token ids of prompt 2, as two prompts with one hash would have it.
  // The space is the engine's: the same spec gives the same space.
  wire::OpenSpaceRequest open = {};
  std::snprintf(open.spec.model, sizeof open.spec.model, "faults");
  std::snprintf(open.spec.dtype, sizeof open.spec.dtype, "bf16");
  std::snprintf(open.spec.layout, sizeof open.spec.layout, "faults-1");
  open.spec.tokens_per_chunk = 16;
  open.spec.shards = 1;
  open.spec.chunk_bytes_max = chunk_bytes;
  daemon::RawClient& raw = pool.memory->client();
  const auto opened = raw.call(wire::MessageType::kOpenSpace, open);
  ASSERT_TRUE(opened && opened->type() == wire::MessageType::kOpenSpaceReply);
  const uint32_t space = opened->as<wire::OpenSpaceReply>().space;

  wire::ReserveAnswer answer = {};
  ASSERT_TRUE(eventually(kSoon, [&] {  // busy while the tier grows its first segment
    answer = raw.reserve(space, wanted.keys()[0], chunk_bytes, 16);
    return answer.outcome != static_cast<uint32_t>(wire::ReserveOutcome::kBusy);
  }));
  ASSERT_EQ(answer.outcome, static_cast<uint32_t>(wire::ReserveOutcome::kGranted));
  const std::vector<std::byte> zeros(chunk_bytes);
  const wire::Place place(answer.place);
  const uint64_t slot_bytes = pool.memory->view().segments[place.segment()].slot_bytes.load();
  const auto segments = pool.memory->segments();
  ASSERT_EQ(segments.size(), 1u);
  std::memcpy(segments[0].data() + place.slot() * slot_bytes + wire::header_bytes_for(16),
              zeros.data(), zeros.size());
  ASSERT_EQ(raw.commit(answer.place, kernels::hash_only(zeros.data(), zeros.size())),
            wire::CommitOutcome::kStored);

  const ReadBack back = pool.engine->read(1, 1);
  EXPECT_EQ(back.found, 0u);
  EXPECT_EQ(back.ended, MissReason::kMismatch);
  EXPECT_EQ(pool.daemon.client_counter("miss_mismatch"), 1u);
  EXPECT_EQ(pool.daemon.counter("corrupt_header"), 0u);  // nothing is wrong with that chunk
  EXPECT_EQ(pool.engine->store(1, 1)[0], StoreOutcome::kPresent);
}

TEST(FaultsOfSlots, GoodChunkCalledBadIsAMissAndItsSlotComesBack) {
  Pool pool;
  ASSERT_TRUE(pool.engine->store_all(1, kChunks));
  const KeyChain keys = pool.engine->chain(1, kChunks);
  wire::Submission bad = {};
  bad.op = static_cast<uint16_t>(wire::Op::kBadChunk);
  bad.a = pool.memory->place_of(keys.keys()[5]).word();
  bad.b = static_cast<uint64_t>(wire::BadKind::kChecksum);
  ASSERT_TRUE(pool.memory->client().ask(bad).has_value());
  EXPECT_EQ(pool.engine->read(1, kChunks).found, 5u);
  EXPECT_TRUE(eventually(kSoon, [&] { return pool.daemon.host("quarantined_slots") == 0; }));
}

// Every page of every segment of tenant "a" goes; "b" must not notice.
TEST(FaultsOfSlots, HolesInSmallPagesHarmOnlyTheirTenant) {
  FaultDaemon daemon(small_pool("64MiB") + two_tenants());
  daemon.start();
  FaultClient hurt(ClientOptions{.socket = daemon.socket("a"), .salt = 1});
  FaultClient other(ClientOptions{.socket = daemon.socket("b"), .salt = 2});
  ASSERT_TRUE(hurt.wait_attached() && other.wait_attached());
  for (uint64_t prompt = 0; prompt < 20; ++prompt) {
    ASSERT_TRUE(hurt.store_all(prompt, kChunks));
    ASSERT_TRUE(other.store_all(prompt, kChunks));
  }
  TenantMemory memory(daemon.socket("a"));
  for (const std::span<std::byte> segment : memory.segments()) {
    ASSERT_EQ(::madvise(segment.data(), segment.size(), MADV_REMOVE), 0);
  }
  for (uint64_t prompt = 0; prompt < 20; ++prompt) {
    const ReadBack back = hurt.read(prompt, kChunks);
    EXPECT_EQ(back.loaded, 0u);
    EXPECT_EQ(back.wrong_bytes, 0u);
    expect_whole(other, prompt);
  }
  // The tenant goes on as well: its slots are written anew.
  ASSERT_TRUE(hurt.store_all(100, kChunks));
  expect_whole(hurt, 100);
  EXPECT_GT(daemon.counter("corrupt_checksum") + daemon.counter("corrupt_header"), 0u);
}

class HugePages {
 public:
  explicit HugePages(uint64_t wanted) {
    before_ = read();
    if (::geteuid() != 0) return;
    write(before_ + wanted);
    reserved_ = read() == before_ + wanted;
  }
  ~HugePages() {
    if (::geteuid() == 0) write(before_);
  }
  bool reserved() const { return reserved_; }
  static uint64_t read(const char* what = "nr_hugepages") {
    std::ifstream file(std::string(kFolder) + what);
    uint64_t pages = 0;
    file >> pages;
    return pages;
  }
  // What anybody can still get.
  static uint64_t available() { return read("free_hugepages") - read("resv_hugepages"); }

 private:
  static constexpr const char* kFolder = "/sys/kernel/mm/hugepages/hugepages-2048kB/";
  static void write(uint64_t pages) {
    std::ofstream(std::string(kFolder) + "nr_hugepages") << pages;
  }

  uint64_t before_ = 0;
  bool reserved_ = false;
};

// The pages that come free by punching are taken at once by somebody else, so that the daemon's
// next touch of the hole has no page to get: SIGBUS.
TEST(FaultsOfSlots, HolesInHugePagesHarmOnlyTheirTenant) {
  HugePages pages(24);
  if (!pages.reserved()) GTEST_SKIP() << "needs root and 48 MiB of huge pages: none to be had";
  FaultDaemon daemon(
      "[host]\ncapacity = '32MiB'\nsegment_bytes_min = '2MiB'\nhuge_pages = 'require'\n"
      "[index]\nhuge_pages = 'never'\n[tenants]\nhost_share = '50%'\n" +
      two_tenants());
  daemon.start();
  ClientOptions options{.socket = daemon.socket("a"), .salt = 1};
  FaultClient hurt(options);
  options.socket = daemon.socket("b");
  options.salt = 2;
  FaultClient other(options);
  ASSERT_TRUE(hurt.wait_attached() && other.wait_attached());
  for (uint64_t prompt = 0; prompt < 4; ++prompt) {
    ASSERT_TRUE(hurt.store_all(prompt, kChunks));
    ASSERT_TRUE(other.store_all(prompt, kChunks));
  }
  ASSERT_TRUE(daemon.ask("/v1/tiers/host").at("huge_pages").get<bool>());

  // In a process of its own: it holds the pages until it ends.
  const auto thief = Child::start([&](Line& line) {
    TenantMemory memory(daemon.socket("a"));
    for (const std::span<std::byte> segment : memory.segments()) {
      EXPECT_EQ(::madvise(segment.data(), segment.size(), MADV_REMOVE), 0);
    }
    const uint64_t bytes = HugePages::available() * 2 * wire::MiB;
    void* taken = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
    line.say(taken == MAP_FAILED ? "none" : "taken");
    line.hear(kPatience);
    return 0;
  });
  const std::string said = thief->line().hear();
  ASSERT_EQ(said, "taken");

  // The daemon writes headers into holes: refused, survived, counted.
  const std::vector<StoreOutcome> outcomes = hurt.store(50, kChunks, milliseconds(500));
  for (const StoreOutcome outcome : outcomes) EXPECT_NE(outcome, StoreOutcome::kStored);
  EXPECT_GT(daemon.counter("faults_guarded"), 0u);
  EXPECT_TRUE(daemon.logged("KV3006"));
  EXPECT_TRUE(daemon.running());
  for (uint64_t prompt = 0; prompt < 4; ++prompt) expect_whole(other, prompt);
  ASSERT_TRUE(other.store_all(60, kChunks));
  expect_whole(other, 60);

  // With pages to be had again the tenant recovers.
  thief->kill_now();
  EXPECT_TRUE(eventually(milliseconds(10'000), [&] {
    const auto again = hurt.store(70, kChunks, milliseconds(500));
    return std::all_of(again.begin(), again.end(), [](StoreOutcome outcome) {
      return outcome == StoreOutcome::kStored || outcome == StoreOutcome::kPresent;
    });
  }));
  expect_whole(hurt, 70);
}

}  // namespace
}  // namespace kvtier::faults
