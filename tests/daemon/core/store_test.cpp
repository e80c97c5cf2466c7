// Stores through the core: outcomes of reserve and commit, visibility, duplicates, failures.
#include "tests/daemon/core/core_fixture.hpp"

namespace kvtier::daemon {
namespace {

using wire::CommitOutcome;
using wire::ReserveOutcome;

TEST_F(CoreTest, AChunkIsFoundOnlyAfterItsCommit) {
  start();
  Session& session = attach();
  const uint32_t space = open_space(session);
  const Reserved reserved = reserve_patiently(session, space, key_of(1));
  ASSERT_EQ(reserved.outcome, ReserveOutcome::kGranted);
  EXPECT_FALSE(resident(session, space, key_of(1)));
  ASSERT_EQ(commit(session, reserved.place), CommitOutcome::kStored);
  EXPECT_TRUE(resident(session, space, key_of(1)));
  EXPECT_EQ(find(session, space, key_of(1)).place.word(), reserved.place);
}

TEST_F(CoreTest, AnAbortedStoreIsNeverVisibleAndItsSlotComesBack) {
  start();
  Session& session = attach();
  const uint32_t space = open_space(session);
  const Reserved reserved = reserve_patiently(session, space, key_of(1));
  const wire::CommitArg argument = {reserved.place, 0, 0, 0};
  core_->abort(session, {&argument, 1});
  EXPECT_FALSE(resident(session, space, key_of(1)));
  EXPECT_EQ(tier().granted_slots, 0u);
  EXPECT_EQ(commit(session, reserved.place), CommitOutcome::kUnknownGrant);
  EXPECT_FALSE(resident(session, space, key_of(1)));
  EXPECT_TRUE(store(session, space, key_of(1)));
}

TEST_F(CoreTest, AStoredChunkIsPresentAndOneBeingStoredInProgress) {
  start();
  Session& session = attach();
  Session& other = attach();
  const uint32_t space = open_space(session);
  const Reserved reserved = reserve_patiently(session, space, key_of(1));
  EXPECT_EQ(reserve(other, space, key_of(1)).outcome, ReserveOutcome::kInProgress);
  commit(session, reserved.place);
  EXPECT_EQ(reserve(other, space, key_of(1)).outcome, ReserveOutcome::kPresent);
}

TEST_F(CoreTest, AStaleGrantIsGrantedAgainAndTheFirstCommitWins) {
  start();
  Session& slow = attach();
  Session& quick = attach();
  const uint32_t space = open_space(slow);
  const Reserved first = reserve_patiently(slow, space, key_of(1));
  clock_.advance_ns(core_->config().host.grant_stale_after_ns + 1);
  const Reserved second = reserve(quick, space, key_of(1));
  ASSERT_EQ(second.outcome, ReserveOutcome::kGranted);
  ASSERT_NE(first.place, second.place);
  EXPECT_EQ(commit(quick, second.place), CommitOutcome::kStored);
  EXPECT_EQ(commit(slow, first.place), CommitOutcome::kPresent);
  EXPECT_EQ(find(slow, space, key_of(1)).place.word(), second.place);
  EXPECT_EQ(tier().granted_slots, 0u);
}

TEST_F(CoreTest, TheGrantOfAnotherSessionCannotBeCommitted) {
  start();
  Session& session = attach();
  Session& thief = attach();
  const uint32_t space = open_space(session);
  const Reserved reserved = reserve_patiently(session, space, key_of(1));
  EXPECT_EQ(commit(thief, reserved.place), CommitOutcome::kUnknownGrant);
  EXPECT_EQ(commit(session, reserved.place), CommitOutcome::kStored);
}

TEST_F(CoreTest, TheHeaderIsInTheSlotBeforeTheGrantIsKnown) {
  start();
  Session& session = attach();
  const uint32_t space = open_space(session);
  const Reserved reserved = reserve_patiently(session, space, key_of(9));
  wire::ChunkHeader header;
  std::memcpy(&header, payload(session, reserved.place) - 4096, sizeof header);
  EXPECT_EQ(header.magic, wire::kChunkMagic);
  EXPECT_EQ(header.key, key_of(9));
  EXPECT_EQ(header.tokens, 16u);
  EXPECT_EQ(header.flags, 0u);
  commit(session, reserved.place);
  std::memcpy(&header, payload(session, reserved.place) - 4096, sizeof header);
  EXPECT_EQ(header.flags, wire::kHeaderHasChecksum);
  EXPECT_EQ(header.checksum, root_at(session, reserved.place));
}

TEST_F(CoreTest, ACommitWithoutAChecksumIsUnverifiedUntilAWorkerMadeIt) {
  start();
  Session& session = attach();
  const uint32_t space = open_space(session);
  const Reserved reserved = reserve_patiently(session, space, key_of(1));
  std::memset(payload(session, reserved.place), 7, kPayload);
  ASSERT_EQ(commit(session, reserved.place, false), CommitOutcome::kStored);
  EXPECT_EQ(find(session, space, key_of(1)).flags, wire::kUnverified);
  executor_->complete();
  EXPECT_EQ(find(session, space, key_of(1)).flags, 0u);
  const auto shown = core_->list_chunks(1);
  ASSERT_EQ(shown.size(), 1u);
  EXPECT_TRUE(shown[0].has_checksum);
  EXPECT_EQ(shown[0].checksum, root_at(session, reserved.place));
}

TEST_F(CoreTest, ReserveRefusesWhatCannotBe) {
  start();
  Session& session = attach();
  const uint32_t space = open_space(session);
  EXPECT_EQ(reserve(session, space, ChunkKey{}).outcome, ReserveOutcome::kDeclined);
  EXPECT_EQ(reserve(session, space, key_of(1), 0).outcome, ReserveOutcome::kDeclined);
  EXPECT_EQ(reserve(session, space, key_of(1), kPayload + 1).outcome, ReserveOutcome::kDeclined);
  EXPECT_EQ(reserve(session, space + 1, key_of(1)).outcome, ReserveOutcome::kDeclined);
  EXPECT_EQ(core_->counters().invalid_requests, 4u);
}

TEST_F(CoreTest, CapacityZeroDeclinesEveryStore) {
  start(64, 0);
  Session& session = attach();
  const uint32_t space = open_space(session);
  EXPECT_EQ(reserve(session, space, key_of(1)).outcome, ReserveOutcome::kDeclined);
  EXPECT_EQ(tier().state, "off");
}

TEST_F(CoreTest, ACapacitySmallerThanOneChunkDeclinesItAndServesSmallerOnes) {
  start(1);
  Session& session = attach();
  const uint32_t large = open_space(session, "large", 0, 1, 1 * wire::MiB);
  EXPECT_EQ(reserve(session, large, key_of(1), 1 * wire::MiB).outcome, ReserveOutcome::kDeclined);
  const uint32_t small = open_space(session, "small");
  EXPECT_TRUE(store(session, small, key_of(2)));
  EXPECT_TRUE(store(session, small, key_of(3)));
  EXPECT_FALSE(resident(session, small, key_of(2)));
}

TEST_F(CoreTest, AReadOnlySessionGetsNoGrant) {
  start();
  Session& writer = attach();
  const uint32_t space = open_space(writer);
  auto reader = core_->admit({writer.tenant, 5, 1000, "reader", true});
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(reserve(**reader, space, key_of(1)).outcome, ReserveOutcome::kDeclined);
}

TEST_F(CoreTest, ABadChunkIsAMissAndOnlyAProvenOneStaysQuarantined) {
  start();
  Session& session = attach();
  const uint32_t space = open_space(session);
  ASSERT_TRUE(store(session, space, key_of(1)));
  ASSERT_TRUE(store(session, space, key_of(2)));
  const wire::Place wrong = find(session, space, key_of(1)).place;
  const wire::Place right = find(session, space, key_of(2)).place;
  payload(session, wrong.word())[17] ^= std::byte{4};
  core_->bad_chunk(session, wrong, wire::BadKind::kChecksum);
  core_->bad_chunk(session, right, wire::BadKind::kChecksum);
  EXPECT_FALSE(resident(session, space, key_of(1)));
  EXPECT_FALSE(resident(session, space, key_of(2)));
  EXPECT_EQ(tier().quarantined_slots, 2u);
  executor_->complete();
  core_->tick();
  EXPECT_EQ(tier().quarantined_slots, 1u);
  EXPECT_EQ(core_->snapshot().health, "degraded");
  EXPECT_TRUE(store(session, space, key_of(1)));
}

TEST_F(CoreTest, AnIndexWithoutRoomEvictsInsteadOfFailing) {
  Config config;
  config.host.capacity_bytes = 64 * wire::MiB;
  config.host.lock = Demand::kNever;
  config.host.huge_pages = Demand::kNever;
  config.index.chunks_max = 64;
  config.index.huge_pages = Demand::kNever;
  start(config);
  Session& session = attach();
  const uint32_t space = open_space(session);
  for (uint64_t i = 0; i < 300; ++i) ASSERT_TRUE(store(session, space, key_of(i))) << i;
  EXPECT_LE(tier().chunks, 64u);
  EXPECT_TRUE(resident(session, space, key_of(299)));
}

}  // namespace
}  // namespace kvtier::daemon
