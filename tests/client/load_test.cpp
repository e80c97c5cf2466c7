// Load: bytes, checks at the end, deadlines, fragments.
#include "tests/client/fixture.hpp"

namespace kvtier::testing {
namespace {

class LoadTest : public ClientTest {
 protected:
  void start_with(Verify verify, uint32_t daemon_default = 2) {
    FakeOptions fake;
    fake.verify_default = daemon_default;
    start_daemon(fake);
    SessionOptions options = session_options();
    options.verify = verify;
    open_session(options);
    ASSERT_TRUE(session_->wait_attached(in(std::chrono::seconds(5))).ok());
    space_ = *session_->open_space(spec());
  }
};

TEST_F(LoadTest, GivesTheStoredBytesInEveryVerifyMode) {
  for (const Verify verify :
       {Verify::kDefault, Verify::kNever, Verify::kSampled, Verify::kAlways}) {
    start_with(verify);
    const KeyChain chain = derive(prompt(20));
    store(chain, 20);
    auto match = space_->match(chain);
    std::vector<std::vector<std::byte>> buffers;
    const auto loaded = load(*match, 20, &buffers);
    ASSERT_TRUE(loaded.ok());
    EXPECT_EQ(loaded->chunks, 20u);
    EXPECT_EQ(loaded->bytes, 20 * kChunkBytes);
    for (size_t i = 0; i < 20; ++i) EXPECT_EQ(buffers[i], payload(i)) << i;
    EXPECT_EQ(session_->stats().load_bytes, 20 * kChunkBytes);
    match->release();
    space_.reset();
    session_.reset();
    daemon_.reset();
  }
}

TEST_F(LoadTest, FragmentsAreFilledInPayloadOrder) {
  start();
  const KeyChain chain = derive(prompt(1));
  store(chain, 1);
  auto match = space_->match(chain);
  std::vector<std::byte> first(1), second(kChunkBytes - 3), third(2);
  const Fragment fragments[] = {
      {first.data(), 1}, {second.data(), second.size()}, {nullptr, 0}, {third.data(), 2}};
  const LoadTarget target = {0, fragments};
  ASSERT_EQ(space_->load(*match, {&target, 1})->chunks, 1u);
  const auto due = payload(0);
  EXPECT_EQ(first[0], due[0]);
  EXPECT_TRUE(std::equal(second.begin(), second.end(), due.begin() + 1));
  EXPECT_EQ(third[1], due.back());
}

TEST_F(LoadTest, ACorruptPayloadIsDroppedAndReported) {
  start();
  const KeyChain chain = derive(prompt(4));
  store(chain, 4);
  const uint64_t place = daemon_->place_of(chain.keys()[2]);
  daemon_->slot_of(chain.keys()[2])[4096 + 777] ^= std::byte{1};
  auto match = space_->match(chain);
  ASSERT_EQ(match->chunks(), 4u);
  std::vector<std::vector<std::byte>> buffers;
  const auto loaded = load(*match, 4, &buffers);
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->chunks, 2u) << "the head before the damage is good";
  EXPECT_EQ(buffers[1], payload(1));
  ASSERT_TRUE(space_->flush_touches(in(std::chrono::seconds(5))).ok());
  EXPECT_EQ(daemon_->bad_chunks(), std::vector<uint64_t>{place});
  EXPECT_EQ(session_->stats().corrupt, 1u);
  EXPECT_EQ(session_->stats().loads_failed, 1u);
}

TEST_F(LoadTest, ChunksMarkedForCheckingAreCheckedWhateverTheMode) {
  start_with(Verify::kNever);
  const KeyChain chain = derive(prompt(1));
  store(chain, 1);
  daemon_->slot_of(chain.keys()[0])[5000] ^= std::byte{1};
  std::vector<std::vector<std::byte>> buffers;
  EXPECT_EQ(load(*space_->match(chain), 1, &buffers)->chunks, 1u) << "nobody looks";
  wire::PublishedView view = wire::PublishedView::of(&daemon_->published());
  const_cast<wire::Entry&>(view.entries[0]).flags.store(wire::kCheckOnLoad);
  EXPECT_EQ(load(*space_->match(chain), 1, &buffers)->chunks, 0u);
}

TEST_F(LoadTest, TheDaemonsDefaultCounts) {
  start_with(Verify::kDefault, 0);
  const KeyChain chain = derive(prompt(1));
  store(chain, 1);
  daemon_->slot_of(chain.keys()[0])[5000] ^= std::byte{1};
  std::vector<std::vector<std::byte>> buffers;
  EXPECT_EQ(load(*space_->match(chain), 1, &buffers)->chunks, 1u);
}

TEST_F(LoadTest, NothingCountsAfterARevocation) {
  start();
  const KeyChain chain = derive(prompt(3));
  store(chain, 3);
  auto match = space_->match(chain);
  daemon_->revoke();
  std::vector<std::vector<std::byte>> buffers;
  const auto loaded = load(*match, 3, &buffers);
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->chunks, 0u);
  EXPECT_EQ(loaded->bytes, 0u);
  EXPECT_EQ(session_->stats().loads_failed, 1u);
}

TEST_F(LoadTest, NothingCountsAfterTheDaemonIsGone) {
  start();
  const KeyChain chain = derive(prompt(3));
  store(chain, 3);
  auto match = space_->match(chain);
  daemon_.reset();
  ASSERT_TRUE(FakeDaemon::eventually([&] { return !session_->attached(); }));
  std::vector<std::vector<std::byte>> buffers;
  EXPECT_EQ(load(*match, 3, &buffers)->chunks, 0u);
  // What was mapped stays: reading in place does not fault, only the check says no.
  EXPECT_EQ(match->payload(1).size(), kChunkBytes);
  EXPECT_EQ(match->payload(1)[9], payload(1)[9]);
  EXPECT_EQ(match->check().code(), Code::kUnavailable);
}

TEST_F(LoadTest, ThePassedDeadlineEndsBetweenChunks) {
  start();
  const KeyChain chain = derive(prompt(2));
  store(chain, 2);
  auto match = space_->match(chain);
  std::vector<std::byte> buffer(kChunkBytes);
  const Fragment fragment = {buffer.data(), buffer.size()};
  const LoadTarget target = {0, {&fragment, 1}};
  const auto loaded = space_->load(*match, {&target, 1}, Clock::now());
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->chunks, 0u);
}

TEST_F(LoadTest, WrongSizesAreRefusedBeforeAnythingIsWritten) {
  start();
  const KeyChain chain = derive(prompt(2));
  store(chain, 2);
  auto match = space_->match(chain);
  std::vector<std::byte> buffer(kChunkBytes + 1, std::byte{0x5a});
  for (const size_t bytes : {kChunkBytes - 1, kChunkBytes + 1}) {
    const Fragment fragment = {buffer.data(), bytes};
    const LoadTarget target = {0, {&fragment, 1}};
    EXPECT_EQ(space_->load(*match, {&target, 1}).code(), Code::kInvalidArgument);
  }
  const Fragment overflow[] = {{buffer.data(), SIZE_MAX}, {buffer.data(), kChunkBytes + 1}};
  const LoadTarget wraps = {0, overflow};
  EXPECT_EQ(space_->load(*match, {&wraps, 1}).code(), Code::kInvalidArgument);
  const Fragment good = {buffer.data(), kChunkBytes};
  const LoadTarget none = {2, {&good, 1}};
  EXPECT_EQ(space_->load(*match, {&none, 1}).code(), Code::kInvalidArgument);
  EXPECT_EQ(buffer, std::vector<std::byte>(kChunkBytes + 1, std::byte{0x5a}));
  EXPECT_EQ(space_->load(Match(), {&none, 1}).code(), Code::kInvalidArgument);
}

TEST_F(LoadTest, LoadsAreReportedToTheDaemonNowAndThen) {
  start();
  const KeyChain chain = derive(prompt(1));
  store(chain, 1);
  std::vector<std::vector<std::byte>> buffers;
  for (int i = 0; i < 50; ++i) (void)load(*space_->match(chain), 1, &buffers);
  ASSERT_TRUE(space_->flush_touches(in(std::chrono::seconds(5))).ok());
  const auto reports = daemon_->requests(wire::Op::kReportLoad);
  ASSERT_GE(reports.size(), 1u);
  EXPECT_LT(reports.size(), 25u) << "rate-limited";
  EXPECT_EQ(reports[0].b % kChunkBytes, 0u);
  EXPECT_GT(wire::bits_double(reports[0].c), 0);
}

}  // namespace
}  // namespace kvtier::testing
