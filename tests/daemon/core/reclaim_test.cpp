// How slots come free: leases, retirement, revocation, exact chunk limits, LRU order, shards, the
// end of sessions, memory between tenants.
#include "tests/daemon/core/core_fixture.hpp"

#include <random>

namespace kvtier::daemon {
namespace {

using wire::ReserveOutcome;

TEST_F(CoreTest, ALeasedChunkIsNeverReused) {
  start(8);
  Session& session = attach();
  const uint32_t space = open_space(session);
  ASSERT_TRUE(store(session, space, key_of(0)));
  ASSERT_TRUE(lease(session, space, key_of(0), 0));
  const uint64_t place = cells(session)[0].load();
  const uint64_t root = root_at(session, place);
  for (uint64_t i = 1; i < 100; ++i) ASSERT_TRUE(store(session, space, key_of(i)));
  EXPECT_TRUE(resident(session, space, key_of(0)));
  EXPECT_EQ(root_at(session, place), root);
  release(session, 0);
  for (uint64_t i = 100; i < 120; ++i) ASSERT_TRUE(store(session, space, key_of(i)));
  EXPECT_FALSE(resident(session, space, key_of(0)));
}

// host.policy changes while the daemon runs: nothing is lost, and what was to go next still is.
TEST_F(CoreTest, AnotherPolicyTakesOverWhatIsResidentInItsOrder) {
  start(8);
  Session& session = attach();
  const uint32_t space = open_space(session);
  uint64_t next = 0;
  for (; next < 8; ++next) ASSERT_TRUE(store(session, space, key_of(next)));
  for (const char* policy : {"arc", "reuse", "s3-fifo", "gdsf", "default", "lru"}) {
    Config config = core_->config();
    config.host.policy = policy;
    core_->apply_config(config);
    for (uint64_t i = next - 8; i < next; ++i) {
      EXPECT_TRUE(resident(session, space, key_of(i))) << policy;
    }
    for (const uint64_t end = next + 8; next < end; ++next) {
      ASSERT_TRUE(store(session, space, key_of(next))) << policy;
      EXPECT_FALSE(resident(session, space, key_of(next - 8))) << policy << ": the oldest goes";
    }
  }
}

TEST_F(CoreTest, ADroppedButLeasedSlotIsRetiredUntilTheLeaseEnds) {
  start(8);
  Session& session = attach();
  const uint32_t space = open_space(session);
  ASSERT_TRUE(store(session, space, key_of(0)));
  ASSERT_TRUE(lease(session, space, key_of(0), 3));
  const auto shown = core_->list_chunks(1);
  ASSERT_TRUE(core_->act_on_chunk(shown[0].key, ChunkAction::kDrop, 0).ok());
  EXPECT_FALSE(resident(session, space, key_of(0)));
  EXPECT_EQ(tier().retired_slots, 1u);
  core_->tick();
  EXPECT_EQ(tier().retired_slots, 1u);
  release(session, 3);
  core_->tick();
  EXPECT_EQ(tier().retired_slots, 0u);
}

TEST_F(CoreTest, APoolFullOfLeasedChunksRefusesAndForgetsNothing) {
  start(8);
  Session& session = attach();
  const uint32_t space = open_space(session);
  uint32_t stored = 0;
  while (stored < 8 && store(session, space, key_of(stored))) {
    ASSERT_TRUE(lease(session, space, key_of(stored), stored));
    ++stored;
  }
  ASSERT_EQ(stored, 8u);
  EXPECT_EQ(reserve_patiently(session, space, key_of(100)).outcome, ReserveOutcome::kFull);
  for (uint32_t i = 0; i < stored; ++i) EXPECT_TRUE(resident(session, space, key_of(i)));
  release(session, 0);
  EXPECT_TRUE(store(session, space, key_of(100)));
}

TEST_F(CoreTest, LeasesOlderThanTheLimitOnNeededSlotsAreRevokedAndAnnounced) {
  start(8);
  Session& stopped = attach();
  Session& session = attach();
  const uint32_t space = open_space(session);
  for (uint32_t i = 0; i < 8; ++i) {
    ASSERT_TRUE(store(session, space, key_of(i)));
    ASSERT_TRUE(lease(stopped, space, key_of(i), i));
  }
  const uint64_t limit = core_->config().host.lease_max_ns;
  EXPECT_EQ(reserve(session, space, key_of(100)).outcome, ReserveOutcome::kFull);
  core_->tick();
  clock_.advance_ns(limit / 2);
  EXPECT_EQ(reserve(session, space, key_of(100)).outcome, ReserveOutcome::kFull);
  core_->tick();
  EXPECT_EQ(stopped.memory.header().revocations.load(), 0u);
  clock_.advance_ns(limit);
  EXPECT_EQ(reserve(session, space, key_of(100)).outcome, ReserveOutcome::kFull);
  core_->tick();
  EXPECT_GT(stopped.memory.header().revocations.load(), 0u);
  EXPECT_EQ(session.memory.header().revocations.load(), 0u);
  // The cells of the stopped client still name the slots; they hold nothing any more.
  for (uint64_t i = 100; i < 200; ++i) ASSERT_TRUE(store(session, space, key_of(i)));
  // A new lease in a cell that was revoked counts again.
  ASSERT_TRUE(lease(stopped, space, key_of(199), 0));
  for (uint64_t i = 200; i < 300; ++i) ASSERT_TRUE(store(session, space, key_of(i)));
  EXPECT_TRUE(resident(session, space, key_of(199)));
}

TEST_F(CoreTest, TwoShortLeasesFarApartAreNotOneLongLease) {
  start(8);
  Session& reader = attach();
  Session& session = attach();
  const uint32_t space = open_space(session);
  const auto lease_all_under_pressure = [&] {
    for (uint32_t i = 0; i < 8; ++i) ASSERT_TRUE(lease(reader, space, key_of(i), i));
    EXPECT_EQ(reserve(session, space, key_of(100)).outcome, ReserveOutcome::kFull);
    core_->tick();
  };
  for (uint32_t i = 0; i < 8; ++i) ASSERT_TRUE(store(session, space, key_of(i)));
  lease_all_under_pressure();
  for (uint32_t i = 0; i < 8; ++i) release(reader, i);
  core_->tick();
  clock_.advance_ns(2 * core_->config().host.lease_max_ns);
  lease_all_under_pressure();
  EXPECT_EQ(reader.memory.header().revocations.load(), 0u);
  for (uint32_t i = 0; i < 8; ++i) EXPECT_TRUE(resident(session, space, key_of(i)));
}

TEST_F(CoreTest, TheChunkLimitIsExact) {
  start(512, 100);
  Session& session = attach();
  const uint32_t space = open_space(session);
  for (uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(store(session, space, key_of(i)));
  for (uint64_t i = 0; i < 100; ++i) EXPECT_TRUE(resident(session, space, key_of(i))) << i;
  for (uint64_t i = 100; i < 350; ++i) {
    ASSERT_TRUE(store(session, space, key_of(i)));
    ASSERT_TRUE(resident(session, space, key_of(i - 99)));
    ASSERT_FALSE(resident(session, space, key_of(i - 100)));
    ASSERT_EQ(tier().chunks, 100u);
  }
}

TEST_F(CoreTest, TouchesDecideWhoGoesFirst) {
  start(512, 4);
  Session& session = attach();
  const uint32_t space = open_space(session);
  for (uint64_t i = 0; i < 4; ++i) ASSERT_TRUE(store(session, space, key_of(i)));
  touch(session, find(session, space, key_of(0)).place.word());
  ASSERT_TRUE(store(session, space, key_of(4)));
  EXPECT_TRUE(resident(session, space, key_of(0)));
  EXPECT_FALSE(resident(session, space, key_of(1)));
}

TEST_F(CoreTest, ATouchOfAnEarlierUseOfASlotIsIgnored) {
  start(512, 2);
  Session& session = attach();
  const uint32_t space = open_space(session);
  ASSERT_TRUE(store(session, space, key_of(0)));
  const uint64_t old_place = find(session, space, key_of(0)).place.word();
  for (uint64_t i = 1; i < 600; ++i) ASSERT_TRUE(store(session, space, key_of(i)));
  touch(session, old_place);
  touch(session, ~uint64_t{0});
  core_->drain_touches(session);
  EXPECT_EQ(core_->counters().touches_stale, 2u);
  EXPECT_EQ(core_->counters().touches, 0u);
}

TEST_F(CoreTest, PinnedChunksStayUntilTheirTimeIsOver) {
  start(512, 4);
  Session& session = attach();
  const uint32_t space = open_space(session);
  ASSERT_TRUE(store(session, space, key_of(0)));
  const wire::KeyArg key = {key_of(0)};
  ASSERT_TRUE(core_->hint(session, space, {&key, 1}, wire::HintKind::kPin, 60).ok());
  for (uint64_t i = 1; i < 20; ++i) ASSERT_TRUE(store(session, space, key_of(i)));
  EXPECT_TRUE(resident(session, space, key_of(0)));
  EXPECT_EQ(tier().pinned_chunks, 1u);
  clock_.advance_ns(61'000'000'000);
  for (uint64_t i = 20; i < 25; ++i) ASSERT_TRUE(store(session, space, key_of(i)));
  EXPECT_FALSE(resident(session, space, key_of(0)));
}

TEST_F(CoreTest, ShardsOfAKeyAreEvictedTogether) {
  start(512, 8);
  Session& session = attach();
  const uint32_t spaces[] = {open_space(session, "m", 0, 2), open_space(session, "m", 1, 2)};
  for (uint64_t i = 0; i < 4; ++i) {
    for (const uint32_t space : spaces) ASSERT_TRUE(store(session, space, key_of(i)));
  }
  // Only shard 0 of key 0 is touched: its sibling counts as used too.
  touch(session, find(session, spaces[0], key_of(0)).place.word());
  ASSERT_TRUE(store(session, spaces[0], key_of(9)));
  for (const uint32_t space : spaces) {
    EXPECT_TRUE(resident(session, space, key_of(0)));
    EXPECT_FALSE(resident(session, space, key_of(1)));
  }
}

TEST_F(CoreTest, ASessionThatEndsGivesBackGrantsAndLeases) {
  start(8);
  Session& gone = attach(1000, 77);
  Session& session = attach();
  const uint32_t space = open_space(session);
  for (uint32_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(store(session, space, key_of(i)));
    ASSERT_TRUE(lease(gone, space, key_of(i), i));
  }
  for (uint32_t i = 4; i < 8; ++i) reserve(gone, space, key_of(i));
  EXPECT_EQ(tier().granted_slots, 4u);
  core_->orphan_session(gone);
  EXPECT_EQ(gone.memory.header().ended.load(), 1u);
  EXPECT_EQ(tier().granted_slots, 4u);
  core_->remove_session(gone);
  EXPECT_EQ(tier().granted_slots, 0u);
  for (uint64_t i = 10; i < 30; ++i) ASSERT_TRUE(store(session, space, key_of(i)));
  EXPECT_FALSE(resident(session, space, key_of(0)));
}

TEST_F(CoreTest, OnlyTheSameProcessGivesUpAnEndedSession) {
  start(8);
  Session& old = attach(1000, 77);
  Session& same = attach(1000, 77);
  Session& other = attach(1000, 78);
  const uint32_t id = old.id;
  EXPECT_EQ(core_->give_up(same, id, 42).code(), Code::kInvalidArgument);
  core_->orphan_session(old);
  EXPECT_EQ(core_->give_up(other, id, 42).code(), Code::kPermission);
  EXPECT_EQ(core_->give_up(same, id, 41).code(), Code::kNotFound);
  EXPECT_TRUE(core_->give_up(same, id, 42).ok());
  EXPECT_EQ(core_->find_session(id), nullptr);
}

TEST_F(CoreTest, TenantsShareNeitherChunksNorKeysNorSegments) {
  Config config;
  config.host.capacity_bytes = 128 * wire::MiB;
  config.host.lock = Demand::kNever;
  config.host.huge_pages = Demand::kNever;
  start(config);
  Session& one = attach(1000, 1);
  Session& two = attach(1001, 2);
  ASSERT_NE(one.tenant, two.tenant);
  const uint32_t space = open_space(one);
  const uint32_t other_space = open_space(two);
  ASSERT_TRUE(store(one, space, key_of(1)));
  EXPECT_FALSE(resident(two, other_space, key_of(1)));
  EXPECT_FALSE(resident(two, space, key_of(1)));
  EXPECT_EQ(reserve_patiently(two, other_space, key_of(1)).outcome, ReserveOutcome::kGranted);
  EXPECT_NE(std::memcmp(&core_->tenant(one.tenant).secret, &core_->tenant(two.tenant).secret,
                        sizeof(wire::KeySecret)),
            0);
  const wire::Place place = find(one, space, key_of(1)).place;
  const auto uid = view(one).segments[place.segment()].uid.load();
  EXPECT_TRUE(core_->segment_fd(one, place.segment(), uid).ok());
  EXPECT_FALSE(core_->segment_fd(two, place.segment(), uid).ok());
}

TEST_F(CoreTest, ATenantBelowItsShareGetsMemoryFromOneAboveIt) {
  Config config;
  config.host.capacity_bytes = 128 * wire::MiB;  // four segments
  config.host.lock = Demand::kNever;
  config.host.huge_pages = Demand::kNever;
  start(config);
  Session& rich = attach(1000, 1);
  const uint32_t space = open_space(rich);
  for (uint64_t i = 0; i < 3000; ++i) ASSERT_TRUE(store(rich, space, key_of(i)));
  EXPECT_EQ(core_->host().tenant_bytes(rich.tenant), 128 * wire::MiB);
  Session& poor = attach(1001, 2);
  const uint32_t other = open_space(poor);
  for (uint64_t i = 0; i < 1500; ++i) {
    ASSERT_TRUE(store(poor, other, key_of(i))) << i;
    core_->tick();
  }
  EXPECT_EQ(core_->host().tenant_bytes(rich.tenant), 64 * wire::MiB);
  EXPECT_EQ(core_->host().tenant_bytes(poor.tenant), 64 * wire::MiB);
  EXPECT_TRUE(resident(rich, space, key_of(2999)));
}

TEST_F(CoreTest, AQuotaHoldsEvenWhenThereIsRoom) {
  Config config;
  config.host.capacity_bytes = 128 * wire::MiB;
  config.host.lock = Demand::kNever;
  config.host.huge_pages = Demand::kNever;
  config.tenants.host_bytes_max = 32 * wire::MiB;
  start(config);
  Session& session = attach();
  const uint32_t space = open_space(session);
  for (uint64_t i = 0; i < 2000; ++i) ASSERT_TRUE(store(session, space, key_of(i)));
  EXPECT_EQ(core_->host().tenant_bytes(session.tenant), 32 * wire::MiB);
  for (uint32_t i = 0; i < 512; ++i) lease(session, space, key_of(1488 + i), i);
  ReserveOutcome outcome = ReserveOutcome::kGranted;
  for (uint64_t i = 5000; i < 5600 && outcome == ReserveOutcome::kGranted; ++i) {
    outcome = reserve_patiently(session, space, key_of(i)).outcome;
  }
  EXPECT_EQ(outcome, ReserveOutcome::kOverQuota);
}

TEST_F(CoreTest, PlacesOfAReusedSegmentNumberAreNew) {
  start(8);
  Session& session = attach();
  const uint32_t small = open_space(session, "small");
  ASSERT_TRUE(store(session, small, key_of(1)));
  const wire::Place before = find(session, small, key_of(1)).place;
  // The first chunk of another size drains the only segment and takes its number.
  const uint32_t large = open_space(session, "large", 0, 1, 200 * wire::KiB);
  bool stored = false;
  for (int i = 0; i < 10 && !stored; ++i) {
    stored = store(session, large, key_of(2), 200 * wire::KiB);
    core_->tick();
  }
  ASSERT_TRUE(stored);
  EXPECT_FALSE(resident(session, small, key_of(1)));
  const wire::Place after = find(session, large, key_of(2)).place;
  EXPECT_EQ(after.segment(), before.segment());
  EXPECT_GT(after.generation(), before.generation());
}

// Everything at once from a seed, against a model that knows what may be resident.
TEST_F(CoreTest, RandomOperationsKeepEveryPromise) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  start(64);
  Session* sessions[3] = {&attach(1000, 1), &attach(1000, 2), &attach(1000, 3)};
  const uint32_t space = open_space(*sessions[0]);
  struct Lease {
    Session* session;
    uint32_t cell;
    uint64_t place;
    uint8_t content;
  };
  std::vector<Lease> leases;
  struct Grant {
    Session* session;
    uint64_t place;
    ChunkKey key;
  };
  std::vector<Grant> grants;
  for (int step = 0; step < 20000; ++step) {
    Session& session = *sessions[random() % 3];
    const ChunkKey key = key_of(random() % 200);
    switch (random() % 6) {
      case 0: {
        if (grants.size() > 16) break;
        const Reserved reserved = reserve(session, space, key);
        executor_->complete();
        if (reserved.outcome != ReserveOutcome::kGranted) break;
        for (const Lease& held : leases) {
          ASSERT_NE(wire::Place(held.place).slot_name(), wire::Place(reserved.place).slot_name());
        }
        for (const Grant& held : grants) ASSERT_NE(held.place, reserved.place);
        std::memset(payload(session, reserved.place), static_cast<int>(key.lo & 0xff), kPayload);
        grants.push_back({&session, reserved.place, key});
        break;
      }
      case 1: {
        if (grants.empty()) break;
        const Grant grant = grants.back();
        grants.pop_back();
        ASSERT_EQ(commit(*grant.session, grant.place, random() % 4 != 0),
                  wire::CommitOutcome::kStored);
        break;
      }
      case 2: {
        if (leases.size() > 24) break;
        const auto cell = static_cast<uint32_t>(random() % 64);
        if (cells(session)[cell].load() != 0) break;
        if (!lease(session, space, key, cell)) {
          release(session, cell);
          break;
        }
        leases.push_back(
            {&session, cell, cells(session)[cell].load(), static_cast<uint8_t>(key.lo & 0xff)});
        break;
      }
      case 3: {
        if (leases.empty()) break;
        std::swap(leases[random() % leases.size()], leases.back());
        release(*leases.back().session, leases.back().cell);
        leases.pop_back();
        break;
      }
      case 4:
        touch(session, find(session, space, key).place.word());
        break;
      case 5:
        executor_->complete();
        if (random() % 8 == 0) core_->tick();
        break;
    }
    for (const Lease& held : leases) {
      ASSERT_EQ(payload(*held.session, held.place)[100], std::byte{held.content});
    }
  }
  for (const Lease& held : leases) release(*held.session, held.cell);
  core_->tick();
  for (const Grant& grant : grants) {
    const wire::CommitArg argument = {grant.place, 0, 0, 0};
    core_->abort(*grant.session, {&argument, 1});
  }
  executor_->complete();
  core_->tick();
  const TierSnapshot end = tier();
  EXPECT_EQ(end.granted_slots, 0u);
  EXPECT_EQ(end.retired_slots, 0u);
  EXPECT_EQ(core_->snapshot().tenants[0].index_entries, end.chunks);
}

}  // namespace
}  // namespace kvtier::daemon
