// Match: leases, headers, misses and their reasons.
#include "client/key_chain.hpp"

#include "kernels/checksum.hpp"
#include "tests/client/fixture.hpp"

namespace kvtier::testing {
namespace {

class MatchTest : public ClientTest {};

TEST_F(MatchTest, FindsWhatWasStoredAndHoldsItUntilReleased) {
  start();
  const KeyChain chain = derive(prompt(5));
  ASSERT_EQ(store(chain, 5), std::vector<StoreOutcome>(5, StoreOutcome::kStored));
  auto match = space_->match(chain);
  ASSERT_TRUE(match.ok());
  EXPECT_EQ(match->chunks(), 5u);
  EXPECT_EQ(match->tokens(), 5u * kTokensPerChunk);
  EXPECT_EQ(match->ended(), MissReason::kNone);
  EXPECT_EQ(daemon_->leases(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    const auto found = match->payload(i);
    const auto due = payload(i);
    ASSERT_TRUE(std::equal(found.begin(), found.end(), due.begin(), due.end())) << i;
  }
  EXPECT_TRUE(match->check().ok());
  EXPECT_FALSE(daemon_->evict(chain.keys()[0])) << "the slot is leased";
  match->release();
  EXPECT_EQ(daemon_->leases(), 0u);
  EXPECT_EQ(match->chunks(), 0u);
  EXPECT_EQ(match->check().code(), Code::kInvalidArgument);
}

TEST_F(MatchTest, EndsAtTheFirstAbsentChunk) {
  start();
  const KeyChain chain = derive(prompt(6));
  store(chain, 6);
  EXPECT_TRUE(daemon_->evict(chain.keys()[3]));
  auto match = space_->match(chain);
  ASSERT_TRUE(match.ok());
  EXPECT_EQ(match->chunks(), 3u);
  EXPECT_EQ(match->ended(), MissReason::kAbsent);
  EXPECT_EQ(session_->stats().misses[static_cast<size_t>(MissReason::kAbsent)], 1u);
  // From behind the gap, the rest is found.
  auto behind = space_->match(chain, {.first = 4});
  EXPECT_EQ(behind->chunks(), 2u);
  EXPECT_EQ(space_->match(chain, {.first = 6})->chunks(), 0u);
  EXPECT_EQ(space_->match(chain, {.first = 1, .chunks_max = 1})->chunks(), 1u);
}

TEST_F(MatchTest, LongChainsAreLeasedWhole) {
  start({.slots = 700, .buckets = 1024});
  const KeyChain chain = derive(prompt(600));
  store(chain, 600);
  auto match = space_->match(chain);
  EXPECT_EQ(match->chunks(), 600u);
  EXPECT_EQ(daemon_->leases(), 600u);
  EXPECT_EQ(space_->lookup(chain).chunks, 600u);
}

TEST_F(MatchTest, ChunksInLowerTiersAreToldApart) {
  start();
  const KeyChain chain = derive(prompt(4));
  store(chain, 4);
  daemon_->demote(chain.keys()[2]);
  auto match = space_->match(chain);
  EXPECT_EQ(match->chunks(), 2u);
  EXPECT_EQ(match->chunks_lower(), 2u) << "one on nvme, and one behind it";
  EXPECT_EQ(match->ended(), MissReason::kLower);
  const Lookup lookup = space_->lookup(chain);
  EXPECT_EQ(lookup.chunks, 4u);
  EXPECT_EQ(lookup.chunks_by_tier[static_cast<size_t>(Tier::kNvme)], 1u);
  EXPECT_EQ(lookup.ended, MissReason::kNone);
}

TEST_F(MatchTest, UnverifiedChunksAreMisses) {
  start();
  const KeyChain chain = derive(prompt(2));
  store(chain, 2);
  daemon_->mark_unverified(chain.keys()[1]);
  auto match = space_->match(chain);
  EXPECT_EQ(match->chunks(), 1u);
  EXPECT_EQ(match->ended(), MissReason::kUnverified);
}

TEST_F(MatchTest, TooFewLeaseCellsGiveAShorterMatch) {
  start({.cells_max = 3});
  const KeyChain chain = derive(prompt(5));
  store(chain, 5);
  auto first = space_->match(chain);
  EXPECT_EQ(first->chunks(), 3u);
  EXPECT_EQ(first->ended(), MissReason::kTooManyLeases);
  EXPECT_EQ(space_->match(chain)->chunks(), 0u);
  first->release();
  EXPECT_EQ(space_->match(chain)->chunks(), 3u) << "cells come back";
}

// A reclaim between look-up and validation must make the lease fail. The entry is emptied by a
// second thread all the time; whatever match holds, the daemon must see leased.
TEST_F(MatchTest, AHeldLeaseIsSeenByAReclaimWhateverTheOrder) {
  start();
  const KeyChain chain = derive(prompt(1));
  store(chain, 1);
  const uint64_t place = daemon_->place_of(chain.keys()[0]);
  wire::PublishedView view = wire::PublishedView::of(&daemon_->published());
  auto& entry = const_cast<wire::Entry&>(view.entries[0]);
  const uint64_t cells = daemon_->session_header().cells_offset;
  const auto* cell = reinterpret_cast<const std::atomic<uint64_t>*>(
      reinterpret_cast<const std::byte*>(&daemon_->session_header()) + cells);
  std::atomic<bool> stop{false};
  std::atomic<bool> reclaimed{false};  // true: the slot is free, nobody may hold it
  std::thread daemon([&] {
    while (!stop.load()) {
      entry.host_place.store(0, std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_seq_cst);
      if (cell->load(std::memory_order_acquire) == 0) {
        reclaimed.store(true);
        std::this_thread::yield();
        reclaimed.store(false);
      }
      entry.host_place.store(place, std::memory_order_release);
      std::this_thread::yield();
    }
  });
  size_t held = 0;
  size_t missed = 0;
  for (int i = 0; i < 20'000; ++i) {
    auto match = space_->match(chain, {.touch = false});
    if (match->chunks() == 0) {
      ++missed;
      continue;
    }
    ++held;
    ASSERT_FALSE(reclaimed.load()) << "held and free at once";
  }
  stop.store(true);
  daemon.join();
  EXPECT_GT(held, 0u);
  RecordProperty("missed", static_cast<int>(missed));
}

TEST_F(MatchTest, ASoundHeaderOfAnotherChunkIsAMissAndNotCorruption) {
  start();
  const KeyChain chain = derive(prompt(3));
  store(chain, 3);
  // As if another prompt had the same key: the header is sound, its token ids differ.
  std::byte* slot = daemon_->slot_of(chain.keys()[1]);
  reinterpret_cast<uint32_t*>(slot + sizeof(wire::ChunkHeader))[3] ^= 1;
  FakeDaemon::seal_header(slot);
  auto match = space_->match(chain);
  EXPECT_EQ(match->chunks(), 1u);
  EXPECT_EQ(match->ended(), MissReason::kMismatch);
  EXPECT_EQ(daemon_->leases(), 1u);
  ASSERT_TRUE(space_->flush_touches(in(std::chrono::seconds(5))).ok());
  EXPECT_TRUE(daemon_->bad_chunks().empty());
}

TEST_F(MatchTest, AHeaderThatContradictsItselfIsReported) {
  start();
  const KeyChain chain = derive(prompt(2));
  store(chain, 2);
  const uint64_t place = daemon_->place_of(chain.keys()[0]);
  daemon_->slot_of(chain.keys()[0])[sizeof(wire::ChunkHeader)] ^= std::byte{4};
  EXPECT_EQ(space_->match(chain)->ended(), MissReason::kMismatch);
  ASSERT_TRUE(space_->flush_touches(in(std::chrono::seconds(5))).ok());
  EXPECT_EQ(daemon_->bad_chunks(), std::vector<uint64_t>{place});
}

struct Damage {
  const char* name;
  void (*apply)(wire::ChunkHeader& header);
};
constexpr Damage kDamages[] = {
    {"key", [](wire::ChunkHeader& header) { header.key.lo ^= 1; }},
    {"parent", [](wire::ChunkHeader& header) { header.parent.hi ^= 1; }},
    {"fingerprint", [](wire::ChunkHeader& header) { header.fingerprint_lo ^= 1; }},
    {"payload bytes", [](wire::ChunkHeader& header) { header.payload_bytes += 1; }},
    {"engine hash", [](wire::ChunkHeader& header) { header.engine_hash[31] = 1; }},
    {"tokens", [](wire::ChunkHeader& header) { header.tokens -= 1; }},
    {"extra ids", [](wire::ChunkHeader& header) { header.extra_ids += 1; }},
    {"position", [](wire::ChunkHeader& header) { header.position += 1; }},
    {"generation", [](wire::ChunkHeader& header) { header.generation += 1; }},
    {"version", [](wire::ChunkHeader& header) { header.version += 1; }},
};

TEST_F(MatchTest, EveryFieldOfTheHeaderCounts) {
  start();
  const KeyChain chain = derive(prompt(std::size(kDamages)));
  store(chain, std::size(kDamages));
  for (size_t i = 0; i < std::size(kDamages); ++i) {
    std::byte* slot = daemon_->slot_of(chain.keys()[i]);
    kDamages[i].apply(*reinterpret_cast<wire::ChunkHeader*>(slot));
    FakeDaemon::seal_header(slot);
    EXPECT_EQ(space_->match(chain, {.first = i, .chunks_max = 1})->chunks(), 0u)
        << kDamages[i].name;
  }
}

TEST_F(MatchTest, AForeignCodecIsAMissOfItsOwn) {
  start();
  const KeyChain chain = derive(prompt(1));
  store(chain, 1);
  std::byte* slot = daemon_->slot_of(chain.keys()[0]);
  reinterpret_cast<wire::ChunkHeader*>(slot)->codec = 3;
  FakeDaemon::seal_header(slot);
  EXPECT_EQ(space_->match(chain)->ended(), MissReason::kCodec);
}

// The first comparison is remembered, but only for this content: another prompt whose key collides
// is compared anew.
TEST_F(MatchTest, AVerifiedHeaderSaysNothingToACollidingPrompt) {
  start();
  KeyChain chain = derive(prompt(1));
  store(chain, 1);
  ASSERT_EQ(space_->match(chain)->chunks(), 1u);
  KeyChain collides = derive(prompt(1, 5000));
  collides.impl()->keys[0] = chain.keys()[0];
  auto match = space_->match(collides);
  EXPECT_EQ(match->chunks(), 0u);
  EXPECT_EQ(match->ended(), MissReason::kMismatch);
  EXPECT_EQ(space_->match(chain)->chunks(), 1u);
}

TEST_F(MatchTest, EveryShardMustHaveAChunk) {
  start();
  SpaceSpec sharded = spec();
  sharded.shards = 2;
  space_ = *session_->open_space(sharded);
  const std::shared_ptr<Space> first = space_;
  const KeyChain chain = derive(prompt(4));
  store(chain, 4);
  auto alone = first->match(chain);
  EXPECT_EQ(alone->chunks(), 0u);
  EXPECT_EQ(alone->ended(), MissReason::kShard) << "the other shard's space is not open yet";
  sharded.shard = 1;
  space_ = *session_->open_space(sharded);
  store(chain, 2);
  auto both = first->match(chain);
  EXPECT_EQ(both->chunks(), 2u);
  EXPECT_EQ(both->ended(), MissReason::kShard);
  EXPECT_EQ(first->match(chain, {.all_shards = false})->chunks(), 4u);
}

TEST_F(MatchTest, AnOutsizedPayloadInTheIndexIsAMiss) {
  start();
  const KeyChain chain = derive(prompt(1));
  store(chain, 1);
  wire::PublishedView view = wire::PublishedView::of(&daemon_->published());
  const_cast<wire::Entry&>(view.entries[0]).payload_bytes.store(kChunkBytes + 1);
  EXPECT_EQ(space_->match(chain)->ended(), MissReason::kMismatch);
}

TEST_F(MatchTest, APlaceOutsideTheSegmentsIsAMiss) {
  start();
  const KeyChain chain = derive(prompt(1));
  store(chain, 1);
  wire::PublishedView view = wire::PublishedView::of(&daemon_->published());
  auto& place = const_cast<wire::Entry&>(view.entries[0]).host_place;
  for (const wire::Place wrong :
       {wire::Place::make(Tier::kHost, 9, 0, 1), wire::Place::make(Tier::kHost, 16'000, 0, 1),
        wire::Place::make(Tier::kHost, 0, 1 << 19, 1)}) {
    place.store(wrong.word());
    EXPECT_EQ(space_->match(chain)->chunks(), 0u);
    EXPECT_EQ(daemon_->leases(), 0u);
  }
}

TEST_F(MatchTest, RevocationAndTheEndOfTheEpochAreSeenByCheck) {
  start();
  const KeyChain chain = derive(prompt(2));
  store(chain, 2);
  auto revoked = space_->match(chain);
  daemon_->revoke();
  EXPECT_EQ(revoked->check().code(), Code::kRevoked);
  auto after = space_->match(chain);
  EXPECT_TRUE(after->check().ok()) << "a lease taken later is not concerned";
  daemon_->close_epoch();
  EXPECT_EQ(after->check().code(), Code::kUnavailable);
  EXPECT_EQ(space_->match(chain)->ended(), MissReason::kUnavailable);
}

TEST_F(MatchTest, AChainOfAnotherModelIsRefused) {
  start();
  SpaceSpec other = spec();
  other.model = "model@2";
  auto second = session_->open_space(other);
  const KeyChain chain = derive(prompt(2));
  EXPECT_EQ((*second)->match(chain).code(), Code::kInvalidArgument);
  EXPECT_EQ((*second)->lookup(chain).ended, MissReason::kMismatch);
}

TEST_F(MatchTest, MovingAMatchMovesItsLeases) {
  start();
  const KeyChain chain = derive(prompt(3));
  store(chain, 3);
  Match match = *space_->match(chain);
  Match moved = std::move(match);
  EXPECT_EQ(moved.chunks(), 3u);
  EXPECT_EQ(match.chunks(), 0u);
  moved = *space_->match(chain, {.chunks_max = 1});
  EXPECT_EQ(daemon_->leases(), 1u) << "what was assigned over is let go";
}

}  // namespace
}  // namespace kvtier::testing
