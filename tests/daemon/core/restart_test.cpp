// Warm starts of the core: what is found again, what stays held, what is refused; torn and hostile
// leftovers; and random lives of many cores in a row against a model that knows every byte.
#include "tests/daemon/core/restart_fixture.hpp"

#include <random>

namespace kvtier::daemon {
namespace {

using wire::CommitOutcome;
using wire::ReserveOutcome;

TEST_F(RestartTest, FindsStoredChunksAndMarksThemToBeChecked) {
  boot(config_of(64));
  EXPECT_EQ(core_->snapshot().start_mode, "cold");
  Session& session = attach_kept();
  const uint32_t space = open_space(session);
  for (uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(store(session, space, key_of(i)));
  stop_and_boot(config_of(64));
  EXPECT_EQ(core_->snapshot().start_mode, "warm");
  Session& again = attach_kept();
  EXPECT_EQ(open_space(again), space);
  for (uint64_t i = 0; i < 20; ++i) {
    const wire::FoundChunk found = find(again, space, key_of(i));
    ASSERT_EQ(found.found, wire::Found::kHost) << i;
    EXPECT_EQ(view(again).entries[found.entry].flags.load(), wire::kCheckOnLoad);
  }
  clock_.advance_ns(Core::kTickNs * 10);
  core_->tick();
  settle();
  for (uint64_t i = 0; i < 20; ++i) {
    EXPECT_EQ(view(again).entries[find(again, space, key_of(i)).entry].flags.load(), 0u);
  }
  expect_slots_add_up();
}

TEST_F(RestartTest, BackgroundCheckQuarantinesWhatIsNotWhatItWas) {
  boot(config_of(64));
  Session& session = attach_kept();
  const uint32_t space = open_space(session);
  ASSERT_TRUE(store(session, space, key_of(1)));
  ASSERT_TRUE(store(session, space, key_of(2)));
  const wire::FoundChunk found = find(session, space, key_of(1));
  payload(session, found.place.word())[777] ^= std::byte{1};
  kill_and_boot(config_of(64));
  EXPECT_EQ(core_->snapshot().start_mode, "crash_warm");
  clock_.advance_ns(Core::kTickNs * 10);
  core_->tick();
  settle();
  Session& again = attach_kept();
  EXPECT_FALSE(resident(again, space, key_of(1)));
  EXPECT_TRUE(resident(again, space, key_of(2)));
  EXPECT_EQ(core_->counters().recheck_failed, 1u);
  EXPECT_EQ(tier().quarantined_slots, 1u);
  expect_slots_add_up();
}

TEST_F(RestartTest, ChunkWithoutChecksumIsDropped) {
  boot(config_of(64));
  Session& session = attach_kept();
  const uint32_t space = open_space(session);
  const Reserved reserved = reserve_patiently(session, space, key_of(1));
  ASSERT_EQ(reserved.outcome, ReserveOutcome::kGranted);
  ASSERT_EQ(commit(session, reserved.place, false), CommitOutcome::kStored);
  kill_and_boot(config_of(64));  // before a worker has hashed it
  Session& again = attach_kept();
  EXPECT_FALSE(resident(again, space, key_of(1)));
  EXPECT_EQ(core_->counters().adopt_dropped, 1u);
  expect_slots_add_up();
}

TEST_F(RestartTest, GrantStaysWithItsSessionUntilThatIsGivenUp) {
  boot(config_of(16));
  Session& session = attach_kept();
  const uint32_t space = open_space(session);
  const Reserved reserved = reserve_patiently(session, space, key_of(1));
  ASSERT_EQ(reserved.outcome, ReserveOutcome::kGranted);
  const uint32_t id = session.id;
  const uint64_t old_epoch = session.epoch;
  kill_and_boot(config_of(16));
  ASSERT_EQ(core_->take_orphans().size(), 1u);
  Session& again = attach_kept();
  Session& stranger = attach_kept(1000, 101);
  EXPECT_EQ(tier().granted_slots, 1u);
  for (uint64_t i = 10; i < 60; ++i) store(again, space, key_of(i));
  for (uint64_t i = 10; i < 60; ++i) {
    const wire::FoundChunk found = find(again, space, key_of(i));
    if (found.found == wire::Found::kHost) {
      EXPECT_NE(found.place.slot_name(), wire::Place(reserved.place).slot_name());
    }
  }
  EXPECT_FALSE(core_->give_up(again, id, core_->epoch()).ok());
  EXPECT_FALSE(core_->give_up(stranger, id, old_epoch).ok());
  EXPECT_EQ(tier().granted_slots, 1u);
  EXPECT_TRUE(core_->give_up(again, id, old_epoch).ok());
  EXPECT_EQ(tier().granted_slots, 0u);
  expect_slots_add_up();
}

TEST_F(RestartTest, SlotNamedByAnOldCellIsHeldWhateverItsState) {
  boot(config_of(16));
  Session& session = attach_kept();
  const uint32_t space = open_space(session);
  ASSERT_TRUE(store(session, space, key_of(1)));
  ASSERT_TRUE(store(session, space, key_of(2)));
  ASSERT_TRUE(lease(session, space, key_of(1), 0));
  ASSERT_TRUE(lease(session, space, key_of(2), 1));
  const wire::Place first = find(session, space, key_of(1)).place;
  // The first chunk is gone and its slot retired, the second one's record says that it is free.
  ASSERT_TRUE(core_->flush("").ok());
  const SlotId one = core_->host().slot_at(session.tenant, first);
  core_->host().slots()[one].state.store(SlotState::kFree);
  const uint32_t id = session.id;
  const uint64_t old_epoch = session.epoch;
  kill_and_boot(config_of(16));
  Session& again = attach_kept();
  EXPECT_EQ(tier().retired_slots, 1u);
  for (uint64_t i = 10; i < 60; ++i) store(again, space, key_of(i));
  EXPECT_EQ(core_->host().slots()[one].state.load(), SlotState::kRetired);
  EXPECT_TRUE(core_->give_up(again, id, old_epoch).ok());
  EXPECT_EQ(tier().retired_slots, 0u);
  expect_slots_add_up();
}

TEST_F(RestartTest, SlotThatADeviceMayStillFillIsHeldForAWhile) {
  boot(config_of(16));
  Session& session = attach_kept();
  const uint32_t space = open_space(session);
  ASSERT_TRUE(store(session, space, key_of(1)));
  const SlotId slot = core_->host().slot_at(session.tenant, find(session, space, key_of(1)).place);
  core_->host().slots()[slot].state.store(SlotState::kFilling);
  kill_and_boot(config_of(16));
  EXPECT_EQ(core_->host().slots()[slot].state.load(), SlotState::kFilling);
  clock_.advance_ns(30'000'000'000);
  core_->tick();
  EXPECT_EQ(core_->host().slots()[slot].state.load(), SlotState::kFilling);
  clock_.advance_ns(31'000'000'000);
  core_->tick();
  core_->tick();
  EXPECT_EQ(core_->host().slots()[slot].state.load(), SlotState::kFree);
  expect_slots_add_up();
}

TEST_F(RestartTest, HeadsOutliveTailsAndWhatWasUsedLastOutlivesTheRest) {
  boot(config_of(16));
  Session& session = attach_kept();
  const uint32_t space = open_space(session);
  for (uint64_t i = 0; i < 16; ++i) ASSERT_TRUE(store(session, space, key_of(i)));
  clock_.advance_ns(1'000'000);
  for (const uint64_t used : {3u, 4u}) {
    touch(session, find(session, space, key_of(used)).place.word());
  }
  core_->drain_touches(session);
  kill_and_boot(config_of(16));
  Session& again = attach_kept();
  for (uint64_t i = 100; i < 114; ++i) ASSERT_TRUE(store(again, space, key_of(i)));
  EXPECT_TRUE(resident(again, space, key_of(3)));
  EXPECT_TRUE(resident(again, space, key_of(4)));
  EXPECT_FALSE(resident(again, space, key_of(0)));
}

TEST_F(RestartTest, AttachAndGrowthFailCleanlyWhileTheKeeperRefuses) {
  boot(config_of(64));
  Session& session = attach_kept();
  const uint32_t space = open_space(session);
  keeper_->refuse_next = 1;
  EXPECT_NE(reserve_patiently(session, space, key_of(1)).outcome, ReserveOutcome::kBusy);
  clock_.advance_ns(2'000'000'000);
  EXPECT_TRUE(store(session, space, key_of(1)));
  const size_t kept = keeper_->kept();
  keeper_->refuse_next = 2;  // the memory of one, the process of another
  const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  EXPECT_FALSE(core_->admit({session.tenant, 1, 1000, "late", false, &process}).ok());
  EXPECT_FALSE(core_->admit({session.tenant, 1, 1000, "late", false, &process}).ok());
  EXPECT_EQ(keeper_->kept(), kept);
  EXPECT_TRUE(core_->admit({session.tenant, 1, 1000, "late", false, &process}).ok());
}

TEST_F(RestartTest, NothingIsLeftInTheKeeperOfWhatHasGone) {
  boot(config_of(64));
  Session* session = &attach_kept();
  const uint32_t space = open_space(*session);
  const size_t before = keeper_->kept();
  Session& other = attach_kept(1000, 200);
  EXPECT_EQ(keeper_->kept(), before + 2);
  core_->remove_session(other);
  EXPECT_EQ(keeper_->kept(), before);
  for (int i = 0; i < 5; ++i) {
    for (uint64_t k = 0; k < 20; ++k) store(*session, space, key_of(k));
    kill_and_boot(config_of(64));
    core_->remove_session(*core_->take_orphans().front().session);
    session = &attach_kept();
    settle();
    if (i == 0) continue;
    SCOPED_TRACE(i);
    EXPECT_LE(keeper_->kept(), before + 4);
  }
}

TEST_F(RestartTest, ColdWhenAskedForAndNothingStaysKept) {
  boot(config_of(64));
  Session& session = attach_kept();
  const uint32_t space = open_space(session);
  ASSERT_TRUE(store(session, space, key_of(1)));
  std::unique_ptr<MemoryKeeper> left = keeper_->copy();
  core_.reset();
  keeper_ = std::move(left);
  boot(config_of(64), true);
  EXPECT_EQ(core_->snapshot().start_mode, "cold");
  EXPECT_EQ(keeper_->kept(), 2u);  // the new slot table and manifest
}

// Damage anywhere in the tables is a cold start or a smaller tier; never a crash, never wrong
// bytes.
TEST_F(RestartTest, DamagedLeftoversAreNeverMisread) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(round);
    keeper_ = nullptr;
    boot(config_of(32));
    Session& session = attach_kept();
    const uint32_t space = open_space(session);
    for (uint64_t i = 0; i < 12; ++i) ASSERT_TRUE(store(session, space, key_of(i)));
    const bool table = round % 2 == 0;
    const Fd& victim = keeper_->fd(table ? Ledger::slots_name() : Ledger::manifest_name());
    // The first pages hold what is in use; of the slot table from its header on.
    const auto bytes = static_cast<int64_t>(table ? 4096 + 32 * 64 : 4096 + 4 * 1024);
    for (int flip = 0; flip < 8; ++flip) {
      const auto at = static_cast<off_t>(random() % static_cast<uint64_t>(bytes));
      const auto value = static_cast<uint8_t>(random());
      ASSERT_EQ(::pwrite(victim.get(), &value, 1, at), 1);
    }
    kill_and_boot(config_of(32));
    Session& again = attach_kept();
    const uint32_t same = open_space(again);
    for (uint64_t i = 0; i < 12; ++i) {
      EXPECT_NE(load(again, same, key_of(i)), Loaded::kWrongBytes) << i;
    }
    for (int tick = 0; tick < 20; ++tick) {
      clock_.advance_ns(Core::kTickNs);
      core_->tick();
      settle();
    }
    for (uint64_t i = 20; i < 80; ++i) store(again, same, key_of(i));
    for (uint64_t i = 0; i < 80; ++i) {
      EXPECT_NE(load(again, same, key_of(i)), Loaded::kWrongBytes) << i;
    }
  }
}

// One core after the other, each killed between two steps of random work. The model knows which
// chunks were committed and with what bytes.
TEST_F(RestartTest, RandomLivesLoseNothingAndInventNothing) {
  const char* wanted = std::getenv("KVTIER_SEED");
  const uint64_t seed = wanted == nullptr ? 20261122 : std::strtoull(wanted, nullptr, 10);
  std::printf("[          ] KVTIER_SEED=%llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 random(seed);
  constexpr uint64_t kSlots = 48;
  constexpr uint64_t kKeys = 90;
  boot(config_of(kSlots));
  std::set<uint64_t> committed;
  for (int life = 0; life < 60 && !HasFailure(); ++life) {
    SCOPED_TRACE(life);
    Session& session = attach_kept();
    const uint32_t space = open_space(session);
    std::vector<std::pair<uint64_t, uint64_t>> grants;  // key, place
    const uint64_t steps = 20 + random() % 80;
    for (uint64_t step = 0; step < steps; ++step) {
      clock_.advance_ns(random() % 20'000'000);
      const uint64_t key = random() % kKeys;
      const auto cell = static_cast<uint32_t>(random() % 8);
      switch (random() % 10) {
        case 0:
        case 1:
        case 2:
          if (store(session, space, key_of(key))) committed.insert(key);
          break;
        case 3: {
          const Reserved reserved = reserve(session, space, key_of(key));
          if (reserved.outcome == ReserveOutcome::kGranted && grants.size() < 6) {
            grants.emplace_back(key, reserved.place);
          } else if (reserved.outcome == ReserveOutcome::kGranted) {
            const wire::CommitArg argument = {reserved.place, 0, 0, 0};
            core_->abort(session, {&argument, 1});
          }
          break;
        }
        case 4:
          if (!grants.empty()) {
            const auto [granted, place] = grants.back();
            grants.pop_back();
            std::memset(payload(session, place), static_cast<int>(key_of(granted).lo & 0xff),
                        kPayload);
            if (commit(session, place, random() % 2 == 0) == CommitOutcome::kStored) {
              committed.insert(granted);
            }
          }
          break;
        case 5:
          lease(session, space, key_of(key), cell);
          break;
        case 6:
          release(session, cell);
          break;
        case 7: {
          const wire::FoundChunk found = find(session, space, key_of(key));
          if (found.found == wire::Found::kHost) touch(session, found.place.word());
          break;
        }
        case 8:
          core_->tick();
          break;
        default:
          executor_->complete();
      }
    }
    // What must be found again: resident now, and with a checksum.
    std::set<uint64_t> due;
    std::map<uint64_t, uint64_t> leased;  // slot name -> bytes
    for (uint64_t key = 0; key < kKeys; ++key) {
      const wire::FoundChunk found = find(session, space, key_of(key));
      if (found.found != wire::Found::kHost) continue;
      EXPECT_TRUE(committed.contains(key));
      if ((view(session).entries[found.entry].flags.load() & wire::kUnverified) == 0) {
        due.insert(key);
      }
    }
    if (random() % 4 == 0) {
      stop_and_boot(config_of(kSlots));
    } else {
      kill_and_boot(config_of(kSlots));
    }
    EXPECT_NE(core_->snapshot().start_mode, "cold");
    expect_slots_add_up();
    Session& next = attach_kept();
    ASSERT_EQ(open_space(next), space);
    for (uint64_t key = 0; key < kKeys; ++key) {
      const Loaded loaded = load(next, space, key_of(key));
      EXPECT_EQ(loaded == Loaded::kGood, due.contains(key)) << "key " << key;
      EXPECT_NE(loaded, Loaded::kWrongBytes);
      EXPECT_NE(loaded, Loaded::kCorrupt);
    }
    EXPECT_EQ(tier().granted_slots, grants.size());
    core_->remove_session(next);
    // The processes of before end sooner or later.
    if (random() % 2 == 0) {
      for (const OrphanedSession& orphan : core_->take_orphans()) {
        core_->remove_session(*orphan.session);
      }
      core_->tick();
      settle();
      EXPECT_EQ(tier().granted_slots, 0u);
      EXPECT_EQ(tier().retired_slots, 0u);
      expect_slots_add_up();
    } else {
      for (const OrphanedSession& orphan : core_->take_orphans()) {
        core_->remove_session(*orphan.session);
      }
    }
  }
}

}  // namespace
}  // namespace kvtier::daemon
