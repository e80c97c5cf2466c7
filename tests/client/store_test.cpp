// Reserve, commit, store.
#include <cstring>

#include "kernels/checksum.hpp"
#include "tests/client/fixture.hpp"

namespace kvtier::testing {
namespace {

class StoreTest : public ClientTest {};

TEST_F(StoreTest, CommitsTailToHead) {
  start();
  const KeyChain chain = derive(prompt(10));
  EXPECT_EQ(store(chain, 10), std::vector<StoreOutcome>(10, StoreOutcome::kStored));
  EXPECT_EQ(store(chain, 10), std::vector<StoreOutcome>(10, StoreOutcome::kPresent));
  // Entries of the fake daemon are numbered in the order of commits.
  wire::PublishedView view = wire::PublishedView::of(&daemon_->published());
  for (uint32_t i = 0; i < 10; ++i) {
    EXPECT_EQ(view.entries[i].key_lo.load(), chain.keys()[9 - i].lo) << i;
  }
  EXPECT_EQ(daemon_->grants(), 0u);
  EXPECT_EQ(session_->stats().stores, 10u);
  EXPECT_EQ(session_->stats().store_bytes, 10 * kChunkBytes);
}

TEST_F(StoreTest, WritesTheChecksumOfWhatItStored) {
  start();
  const KeyChain chain = derive(prompt(1));
  store(chain, 1);
  const auto* header =
      reinterpret_cast<const wire::ChunkHeader*>(daemon_->slot_of(chain.keys()[0]));
  EXPECT_EQ(header->checksum, kernels::hash_only(payload(0).data(), kChunkBytes));
}

TEST_F(StoreTest, BusyChunksAreAskedForAgainInOrder) {
  start();
  const KeyChain chain = derive(prompt(12));
  daemon_->set_busy(5);
  EXPECT_EQ(store(chain, 12), std::vector<StoreOutcome>(12, StoreOutcome::kStored));
  wire::PublishedView view = wire::PublishedView::of(&daemon_->published());
  for (uint32_t i = 0; i < 12; ++i) {
    EXPECT_EQ(view.entries[i].key_lo.load(), chain.keys()[11 - i].lo) << i;
  }
  EXPECT_EQ(daemon_->grants(), 0u);
}

TEST_F(StoreTest, BusyUntilTheDeadlineSaysSo) {
  start();
  const KeyChain chain = derive(prompt(3));
  daemon_->set_busy(1 << 30);
  const auto bytes = payload(0);
  const ConstFragment fragment = {bytes.data(), bytes.size()};
  const StoreSource source = {0, {&fragment, 1}};
  const auto outcomes = space_->store(chain, {&source, 1}, in(std::chrono::milliseconds(30)));
  ASSERT_TRUE(outcomes.ok());
  EXPECT_EQ((*outcomes)[0], StoreOutcome::kBusy);
}

TEST_F(StoreTest, AFullPoolIsAnOutcome) {
  start({.slots = 2});
  const KeyChain chain = derive(prompt(4));
  const auto outcomes = store(chain, 4);
  EXPECT_EQ(outcomes[3], StoreOutcome::kStored);
  EXPECT_EQ(outcomes[2], StoreOutcome::kStored);
  EXPECT_EQ(outcomes[1], StoreOutcome::kFull);
  EXPECT_EQ(outcomes[0], StoreOutcome::kFull);
}

TEST_F(StoreTest, ADroppedGrantGivesItsSlotBack) {
  start();
  const KeyChain chain = derive(prompt(2));
  const size_t chunks[] = {0, 1};
  {
    auto reserved = space_->reserve(chain, chunks, in(std::chrono::seconds(5)));
    ASSERT_TRUE(reserved.ok());
    EXPECT_EQ((*reserved)[0].outcome, StoreOutcome::kStored);
    EXPECT_EQ((*reserved)[1].grant.chunk(), 1u);
    EXPECT_EQ((*reserved)[1].grant.payload().size(), kChunkBytes);
    EXPECT_EQ(daemon_->grants(), 2u);
    const auto again = space_->reserve(chain, chunks, in(std::chrono::seconds(5)));
    EXPECT_EQ((*again)[0].outcome, StoreOutcome::kInProgress);
  }
  EXPECT_TRUE(FakeDaemon::eventually([&] { return daemon_->grants() == 0; }));
}

TEST_F(StoreTest, ReserveAndCommitByHand) {
  start();
  const KeyChain chain = derive(prompt(2));
  const size_t chunks[] = {1, 0};
  auto reserved = space_->reserve(chain, chunks, in(std::chrono::seconds(5)));
  std::vector<Grant> grants;
  std::vector<uint64_t> checksums;
  for (size_t i = 0; i < 2; ++i) {
    const auto bytes = payload(chunks[i]);
    Grant& grant = (*reserved)[i].grant;
    std::memcpy(grant.payload().data(), bytes.data(), bytes.size());
    checksums.push_back(kernels::hash_only(bytes.data(), bytes.size()));
    grants.push_back(std::move(grant));
  }
  const auto outcomes = space_->commit(grants, checksums, in(std::chrono::seconds(5)));
  ASSERT_TRUE(outcomes.ok());
  EXPECT_EQ(*outcomes, std::vector<StoreOutcome>(2, StoreOutcome::kStored));
  EXPECT_FALSE(grants[0].held());
  EXPECT_EQ(space_->commit(grants, checksums, in(std::chrono::seconds(1))).code(),
            Code::kInvalidArgument);
  std::vector<std::vector<std::byte>> buffers;
  EXPECT_EQ(load(*space_->match(chain), 2, &buffers)->chunks, 2u);
  EXPECT_EQ(buffers[1], payload(1));
}

TEST_F(StoreTest, WithoutChecksumsChunksAreUnverified) {
  start();
  const KeyChain chain = derive(prompt(1));
  const size_t chunk = 0;
  auto reserved = space_->reserve(chain, {&chunk, 1}, in(std::chrono::seconds(5)));
  std::vector<Grant> grants;
  grants.push_back(std::move((*reserved)[0].grant));
  ASSERT_TRUE(space_->commit(grants, {}, in(std::chrono::seconds(5))).ok());
  EXPECT_EQ(space_->match(chain)->ended(), MissReason::kUnverified);
}

TEST_F(StoreTest, LargeBatchesAreSplit) {
  start({.slots = 256, .args_bytes = 32 * wire::KiB});
  const KeyChain chain = derive(prompt(200));
  std::vector<size_t> chunks(200);
  std::iota(chunks.begin(), chunks.end(), size_t{0});
  auto reserved = space_->reserve(chain, chunks, in(std::chrono::seconds(5)));
  ASSERT_TRUE(reserved.ok()) << reserved.error().message();
  ASSERT_EQ(reserved->size(), 200u);
  for (const Reservation& one : *reserved) EXPECT_EQ(one.outcome, StoreOutcome::kStored);
  EXPECT_GE(daemon_->requests(wire::Op::kReserve).size(), 4u);
}

TEST_F(StoreTest, AStuckDaemonCostsTheDeadlineAndALateGrantGoesBack) {
  start();
  const KeyChain chain = derive(prompt(1));
  const size_t chunk = 0;
  daemon_->set_stuck(true);
  const auto began = Clock::now();
  const auto reserved = space_->reserve(chain, {&chunk, 1}, in(std::chrono::milliseconds(50)));
  EXPECT_EQ(reserved.code(), Code::kDeadline);
  EXPECT_LT(Clock::now() - began, std::chrono::seconds(2));
  EXPECT_EQ(space_->flush_touches(in(std::chrono::milliseconds(20))).code(), Code::kDeadline);
  // What needs no answer still works, at once.
  EXPECT_EQ(space_->match(chain)->chunks(), 0u);
  EXPECT_TRUE(space_->report_prefill(10, 0, 0.1).ok());
  daemon_->set_stuck(false);
  EXPECT_TRUE(FakeDaemon::eventually([&] {
    return !daemon_->requests(wire::Op::kAbort).empty() && daemon_->grants() == 0;
  })) << "the grant that nobody waited for came back";
  EXPECT_EQ(store(chain, 1)[0], StoreOutcome::kStored);
}

TEST_F(StoreTest, RefusesWhatCannotBe) {
  start();
  const KeyChain chain = derive(prompt(2));
  const size_t chunk = 2;
  EXPECT_EQ(space_->reserve(chain, {&chunk, 1}, in(std::chrono::seconds(1))).code(),
            Code::kInvalidArgument);
  const auto bytes = payload(0);
  const ConstFragment small = {bytes.data(), bytes.size() - 1};
  const StoreSource wrong_size = {0, {&small, 1}};
  EXPECT_EQ(space_->store(chain, {&wrong_size, 1}, in(std::chrono::seconds(1))).code(),
            Code::kInvalidArgument);
  const ConstFragment whole = {bytes.data(), bytes.size()};
  const StoreSource wrong_chunk = {2, {&whole, 1}};
  EXPECT_EQ(space_->store(chain, {&wrong_chunk, 1}, in(std::chrono::seconds(1))).code(),
            Code::kInvalidArgument);
  EXPECT_EQ(daemon_->requests(wire::Op::kReserve).size(), 0u);
}

TEST_F(StoreTest, AReadOnlySessionStoresNothingAndReads) {
  start();
  const KeyChain chain = derive(prompt(1));
  store(chain, 1);
  SessionOptions options = session_options();
  options.read_only = true;
  auto reader = *Session::open(options);
  ASSERT_TRUE(reader->wait_attached(in(std::chrono::seconds(5))).ok());
  auto space = *reader->open_space(spec());
  const size_t chunk = 0;
  EXPECT_EQ(space->reserve(chain, {&chunk, 1}, in(std::chrono::seconds(1))).code(),
            Code::kPermission);
  EXPECT_EQ(space->match(chain)->chunks(), 1u);
}

}  // namespace
}  // namespace kvtier::testing
