// The daemon killed at every named step of what it does: stores, demotion, promotion, eviction,
// deletion, reuse of slots, checkpoints of the metadata, recovery. A real daemon of the tests' own
// build works until it ends itself at that step (daemon/memory/kill_point.hpp); the real one starts
// over what is left. Then: no wrong byte, nothing that was never stored, no slot lost in either
// tier, and what had been stored is there, unless its record was still on its way.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "tests/faults/fault_client.hpp"
#include "tests/faults/fault_daemon.hpp"

namespace kvtier::faults {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kChunkBytes = 4 * wire::KiB;  // slots of 8 KiB: a header's page and a payload's
constexpr uint64_t kSlotBytes = 8 * wire::KiB;
constexpr size_t kChunks = 16;          // of a prompt
constexpr uint64_t kHostSlots = 128;    // 1 MiB
constexpr uint64_t kPrompts = 96;       // 12 MiB of slots
constexpr uint64_t kNever = 1'000'000;  // prompts from here on are never stored
// Prompts with a chunk whose slot in host memory was used again while its record waited for others
// to share a write (daemon/io/rocksdb_metadata.cpp); every other one is to be found whole.
constexpr uint64_t kBrokenMax = 8;
constexpr auto kPatience = seconds(30);

enum class Below : uint8_t { kRoomy, kFull };  // whether the nvme tier holds all that is stored

struct Step {
  const char* point;
  uint64_t passing;  // it dies when it gets there for this time
  Below below = Below::kRoomy;
};

void PrintTo(const Step& step, std::ostream* out) {
  *out << step.point << "#" << step.passing << (step.below == Below::kFull ? " full" : "");
}

std::string config(Below below) {
  return small_pool("1MiB") + "[index]\nchunks_max = 8192\n[nvme]\nprepare = 'off'\n" +
         "segment_size = '1MiB'\ncapacity = '" + (below == Below::kRoomy ? "32MiB" : "4MiB") +
         "'\nio_timeout = '100ms'\n";
}

class KillPoints : public testing::TestWithParam<Step> {
 protected:
  KillPoints() : daemon_(config(GetParam().below), Keep::kYes) {}

  std::unique_ptr<FaultClient> client(const char* model = "faults") {
    return std::make_unique<FaultClient>(ClientOptions{.socket = daemon_.socket(),
                                                       .model = model,
                                                       .chunk_bytes = kChunkBytes,
                                                       .call_deadline = milliseconds(500)});
  }

  // What an engine and an operator do, until the daemon is no more.
  void work_until_it_dies(FaultClient& engine) {
    const auto until = Clock::now() + kPatience;
    for (uint64_t round = 0; daemon_.running(); ++round) {
      ASSERT_LT(Clock::now(), until) << "it never gets there";
      const uint64_t prompt = round % kPrompts;
      const auto outcomes = engine.store(prompt, kChunks, milliseconds(500));
      for (size_t i = 0; i < outcomes.size(); ++i) {
        if (outcomes[i] == StoreOutcome::kStored || outcomes[i] == StoreOutcome::kPresent) {
          stored_.insert({prompt, i});
        }
      }
      tried_ = std::max(tried_, prompt + 1);
      const ReadBack back =
          engine.read_prefix(round * 7 % std::min(round + 1, kPrompts), kChunks, milliseconds(500));
      EXPECT_EQ(back.wrong_bytes, 0u);
      if (round % 48 == 40) flush();
      if (round % 4 == 3) give_up_a_store(engine, kPrompts + round);
    }
  }
  void flush() {
    stored_.clear();
    (void)daemon_.ask("/v1/flush", "POST");
  }
  static void give_up_a_store(FaultClient& engine, uint64_t prompt) {
    (void)engine.space().reserve(engine.chain(prompt, 1), std::vector<size_t>{0},
                                 in(milliseconds(100)));
  }

  void expect_what_was_stored(FaultClient& engine) {
    uint64_t broken = 0;
    for (uint64_t prompt = 0; prompt < tried_; ++prompt) {
      const ReadBack back = engine.read_prefix(prompt, kChunks);
      EXPECT_FALSE(back.failed) << prompt;
      EXPECT_EQ(back.wrong_bytes, 0u) << prompt;
      if (GetParam().below == Below::kFull) continue;
      broken += stored_.count({prompt, back.loaded}) != 0 ? 1u : 0u;
    }
    EXPECT_LE(broken, kBrokenMax);
    if (broken > 0) {
      std::printf("%llu prompts lost a chunk\n", static_cast<unsigned long long>(broken));
    }
    EXPECT_EQ(engine.session().stats().corrupt, 0u);
    // A slot is written again only when nothing names what it held.
    EXPECT_EQ(daemon_.counter("corrupt_nvme_header"), 0u);
    EXPECT_EQ(daemon_.counter("corrupt_nvme_checksum"), 0u);
  }
  void expect_no_phantoms(FaultClient& engine) {
    for (uint64_t prompt = kNever; prompt < kNever + 4; ++prompt) {
      const auto found = engine.match(prompt, kChunks);
      ASSERT_TRUE(found.ok());
      EXPECT_EQ(found->chunks() + found->chunks_lower(), 0u);
    }
  }
  // All slots of host memory can be had at once, and below none is taken but by chunks.
  void expect_every_slot(FaultClient& engine) {
    // A slot that a device was reading into when the daemon was killed is held for 40 time-outs.
    size_t granted = 0;
    EXPECT_TRUE(eventually(kPatience,
                           [&] {
                             std::vector<Grant> all;
                             for (uint64_t prompt = 0; prompt < kHostSlots / kChunks; ++prompt) {
                               std::vector<Grant> some = engine.grants(kNever + prompt, kChunks);
                               std::move(some.begin(), some.end(), std::back_inserter(all));
                             }
                             granted = all.size();
                             return granted == kHostSlots;
                           }))
        << granted << " of " << kHostSlots << " slots";
    uint64_t used = 0, chunks = 0;
    EXPECT_TRUE(eventually(kPatience,
                           [&] {
                             const nlohmann::json tier = daemon_.ask("/v1/tiers/nvme");
                             used = tier.at("used_bytes").get<uint64_t>();
                             chunks = tier.at("chunks").get<uint64_t>();
                             return used == chunks * kSlotBytes;
                           }))
        << used << " bytes are taken below by " << chunks << " chunks";
    EXPECT_TRUE(eventually(seconds(5), [&] {
      return daemon_.host("granted_slots") == 0 && daemon_.host("retired_slots") == 0;
    }));
    EXPECT_EQ(daemon_.host("quarantined_slots"), 0u);
  }

  FaultDaemon daemon_;
  std::set<std::pair<uint64_t, size_t>> stored_;
  uint64_t tried_ = 0;
};

TEST_P(KillPoints, LeaveNothingWrongAndNothingLost) {
  const Step step = GetParam();
  daemon_.die_at(step.point, step.passing);
  daemon_.start();
  const auto engine = client();
  ASSERT_TRUE(engine->wait_attached());
  work_until_it_dies(*engine);
  if (HasFatalFailure()) return;
  ASSERT_EQ(daemon_.kill(), 128 + SIGKILL) << "it ended, but not there";
  daemon_.start();
  ASSERT_TRUE(engine->wait_attached());
  EXPECT_EQ(daemon_.start_mode(), "crash_warm");
  ASSERT_TRUE(daemon_.logged("KV3206"));
  expect_no_phantoms(*engine);
  expect_what_was_stored(*engine);
  expect_every_slot(*engine);
}

class KillPointsOfStarts : public KillPoints {};

TEST_P(KillPointsOfStarts, LeaveNothingWrongAndNothingLost) {
  daemon_.start();
  const auto engine = client();
  ASSERT_TRUE(engine->wait_attached());
  for (uint64_t prompt = 0; prompt < kPrompts; ++prompt) {
    ASSERT_TRUE(engine->store_all(prompt, kChunks));
    for (size_t i = 0; i < kChunks; ++i) stored_.insert({prompt, i});
  }
  tried_ = kPrompts;
  daemon_.kill();
  daemon_.die_at(GetParam().point, GetParam().passing);
  try {
    daemon_.start();
  } catch (const std::runtime_error&) {  // it died before it served
  }
  ASSERT_TRUE(eventually(kPatience, [&] { return !daemon_.running(); }));
  daemon_.start();
  ASSERT_TRUE(engine->wait_attached());
  EXPECT_EQ(daemon_.start_mode(), "crash_warm");
  ASSERT_TRUE(daemon_.logged("KV3206"));
  expect_no_phantoms(*engine);
  expect_what_was_stored(*engine);
  expect_every_slot(*engine);
}

// Every step, and where it matters once more when slots are used for the second time.
constexpr Step kSteps[] = {
    {"keep.segment_handed_over", 1},
    {"keep.segment_recorded", 1},
    {"store.claimed", 200},
    {"store.granted", 200},
    {"store.header_written", 200},
    {"store.committing", 200},
    {"store.checksum_in_header", 200},
    {"store.checksum_in_record", 200},
    {"store.valid", 200},
    {"store.published", 200},
    {"demote.chosen", 150},
    {"demote.slot_claimed", 150},
    {"demote.slot_claimed", 900, Below::kFull},
    {"segment.descriptor_queued", 3},
    {"segment.descriptor_written", 3},
    {"demote.queued", 150},
    {"demote.queued", 900, Below::kFull},
    {"nvme.submitted", 150},
    {"nvme.submitted", 400, Below::kFull},
    {"demote.data_written", 150},
    {"demote.data_written", 900, Below::kFull},
    {"demote.record_queued", 150},
    {"demote.record_queued", 900, Below::kFull},
    {"demote.attached", 150},
    {"demote.attached", 900, Below::kFull},
    {"evict.unpublished", 100},
    {"evict.retired", 100},
    {"host.freed", 300},
    {"promote.claimed", 40},
    {"promote.filling", 40},
    {"promote.queued", 40},
    {"promote.read", 40},
    {"promote.checked", 40},
    {"promote.valid", 40},
    {"promote.published", 40},
    {"promote.answered", 8},
    {"drop.unpublished", 20},
    {"drop.retired", 20},
    {"delete.hidden", 20},
    {"delete.forgetting", 20},
    {"delete.removal_queued", 20},
    {"delete.erased", 1},
    {"delete.removal_queued", 100, Below::kFull},
    {"delete.erased", 10, Below::kFull},
    {"reuse.freed", 20},
    {"reuse.freed", 200, Below::kFull},
    {"checkpoint.batch_begun", 20},
    {"checkpoint.batch_written", 20},
    {"checkpoint.batch_with_removals", 3},
    {"checkpoint.removals_written", 3},
    {"checkpoint.batch_with_removals", 30, Below::kFull},
    {"checkpoint.removals_written", 30, Below::kFull},
    {"checkpoint.sealed", 2},
    {"checkpoint.flush_begun", 2},
    {"checkpoint.file_written", 2},
    {"checkpoint.flush_recorded", 2},
    {"checkpoint.compaction_begun", 1},
    {"checkpoint.compaction_recorded", 1},
};

INSTANTIATE_TEST_SUITE_P(EveryStep, KillPoints, testing::ValuesIn(kSteps),
                         [](const testing::TestParamInfo<Step>& step) {
                           std::string name = step.param.point;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name + (step.param.below == Below::kFull ? "_full" : "");
                         });

// A start that is killed while it takes over host memory, or finds again what lies below, is no
// worse than the first kill.
constexpr Step kStepsOfStarts[] = {
    {"adopt.published", 50}, {"adopt.adopted", 1}, {"recover.attached", 50}};
INSTANTIATE_TEST_SUITE_P(OfAStart, KillPointsOfStarts, testing::ValuesIn(kStepsOfStarts));

// Steps that somebody adds to the daemon are tried, too.
TEST(KillPointsList, HasEveryStepOfTheDaemon) {
  std::set<std::string> tried;
  for (const Step& step : kSteps) tried.insert(step.point);
  for (const Step& step : kStepsOfStarts) tried.insert(step.point);
  const std::regex name("\"([a-z]+\\.[a-z_]+)\"");
  size_t found = 0;
  const std::filesystem::path daemon = std::filesystem::path(KVTIER_SOURCE_DIR) / "daemon";
  for (const auto& file : std::filesystem::recursive_directory_iterator(daemon)) {
    if (file.path().extension() != ".cpp") continue;
    std::ifstream text(file.path());
    for (std::string line; std::getline(text, line);) {
      if (line.find("kill_point(") == std::string::npos) continue;
      for (std::sregex_iterator at(line.begin(), line.end(), name), end; at != end; ++at) {
        ++found;
        EXPECT_EQ(tried.count((*at)[1]), 1u) << (*at)[1] << " of " << file.path();
      }
    }
  }
  EXPECT_GT(found, 30u);
}

}  // namespace
}  // namespace kvtier::faults
