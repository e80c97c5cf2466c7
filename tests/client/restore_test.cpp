// Restore: the tail comes last first, the head takes from the front; cancelled and failed at every
// chunk, one by one and with two threads.
#include <thread>

#include "tests/client/fixture.hpp"

namespace kvtier::testing {
namespace {

constexpr size_t kCount = 12;

class RestoreTest : public ClientTest {
 protected:
  // kCount stored chunks and memory for them.
  void begin() {
    start();
    chain_.emplace(derive(prompt(kCount)));
    store(*chain_, kCount);
    fill();
  }
  void fill() {
    memory_.assign(kCount, std::vector<std::byte>(kChunkBytes, std::byte{0xEE}));
    fragments_.clear();
    targets_.clear();
    for (auto& buffer : memory_) fragments_.push_back({buffer.data(), buffer.size()});
    for (size_t i = 0; i < kCount; ++i) targets_.push_back({i, {&fragments_[i], 1}});
  }
  Restore restore(Clock::time_point deadline = Clock::time_point::max()) {
    auto made = space_->restore(*chain_, targets_, deadline);
    EXPECT_TRUE(made.ok());
    return *std::move(made);
  }
  // All chunks are the head's or loaded, and what was loaded are the chunks' bytes.
  void expect_whole(const Restore& restore) {
    const RestoreResult result = restore.result();
    EXPECT_EQ(result.computed + result.loaded, kCount);
    for (size_t i = result.computed; i < kCount; ++i) EXPECT_EQ(memory_[i], payload(i)) << i;
    EXPECT_EQ(result.bytes, result.loaded * kChunkBytes);
  }

  std::optional<KeyChain> chain_;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<Fragment> fragments_;
  std::vector<LoadTarget> targets_;
};

TEST_F(RestoreTest, TheLastChunksComeFirst) {
  begin();
  Restore restore = this->restore();
  for (size_t i = kCount; i-- > 0;) {
    EXPECT_TRUE(restore.load_next());
    EXPECT_EQ(memory_[i], payload(i)) << i;
    if (i > 0) {
      EXPECT_EQ(memory_[i - 1][0], std::byte{0xEE}) << "not yet";
    }
  }
  EXPECT_FALSE(restore.load_next());
  EXPECT_FALSE(restore.take_head());
  EXPECT_TRUE(restore.met());
  expect_whole(restore);
}

TEST_F(RestoreTest, TargetsWithAGapOrPastTheChainAreRefusedAndNothingIsWritten) {
  begin();
  const auto refused = [&] {
    EXPECT_EQ(space_->restore(*chain_, targets_).error().code(), Code::kInvalidArgument);
    EXPECT_EQ(space_->load_prefix(*chain_, targets_).error().code(), Code::kInvalidArgument);
    for (const auto& buffer : memory_) EXPECT_EQ(buffer[0], std::byte{0xEE});
  };
  targets_.erase(targets_.begin() + 3);
  refused();
  targets_ = {{kCount, {&fragments_[0], 1}}};
  refused();
  targets_ = {{kCount - 1, {&fragments_[0], 1}}, {kCount, {&fragments_[1], 1}}};
  refused();
}

TEST_F(RestoreTest, HeadAndTailMeetAtEveryChunk) {
  begin();
  for (size_t heads = 0; heads <= kCount; ++heads) {
    fill();
    Restore restore = this->restore();
    for (size_t i = 0; i < heads; ++i) EXPECT_TRUE(restore.take_head());
    while (restore.load_next()) {
    }
    EXPECT_FALSE(restore.take_head());
    EXPECT_TRUE(restore.met());
    EXPECT_EQ(restore.result().computed, heads);
    EXPECT_EQ(restore.result().ended, MissReason::kNone);
    for (size_t i = 0; i < heads; ++i) {
      EXPECT_EQ(memory_[i][0], std::byte{0xEE}) << "what the head took is not written";
    }
    expect_whole(restore);
  }
}

TEST_F(RestoreTest, CancelledAtEveryChunkTheHeadTakesTheRest) {
  begin();
  for (size_t loads = 0; loads <= kCount; ++loads) {
    fill();
    Restore restore = this->restore();
    for (size_t i = 0; i < loads; ++i) EXPECT_TRUE(restore.load_next());
    restore.cancel();
    EXPECT_FALSE(restore.load_next());
    EXPECT_EQ(restore.met(), loads == kCount);
    size_t heads = 0;
    while (restore.take_head()) ++heads;
    EXPECT_EQ(heads, kCount - loads);
    EXPECT_TRUE(restore.met());
    expect_whole(restore);
  }
}

TEST_F(RestoreTest, AfterAFailureAtEveryChunkTheHeadTakesTheRest) {
  begin();
  for (size_t bad = 0; bad < kCount; ++bad) {
    store(*chain_, kCount);  // what was lost in the last round
    fill();
    Restore restore = this->restore();
    daemon_->slot_of(chain_->keys()[bad])[8192] ^= std::byte{1};  // in its payload, or its header
    while (restore.load_next()) {
    }
    EXPECT_FALSE(restore.met());
    EXPECT_NE(restore.result().ended, MissReason::kNone);
    EXPECT_EQ(restore.result().loaded, kCount - 1 - bad);
    while (restore.take_head()) {
    }
    EXPECT_TRUE(restore.met());
    EXPECT_EQ(restore.result().computed, bad + 1) << "the head computes what did not come";
    expect_whole(restore);
    ASSERT_TRUE(FakeDaemon::eventually([&] { return daemon_->bad_chunks().size() > bad; }));
    (void)daemon_->evict(chain_->keys()[bad]);
  }
}

TEST_F(RestoreTest, AMissingChunkEndsTheTail) {
  begin();
  for (const size_t missing : {size_t{0}, size_t{5}, kCount - 1}) {
    store(*chain_, kCount);
    fill();
    ASSERT_TRUE(daemon_->evict(chain_->keys()[missing]));
    Restore restore = this->restore();
    while (restore.load_next()) {
    }
    EXPECT_EQ(restore.result().loaded, kCount - 1 - missing);
    EXPECT_EQ(restore.result().ended, MissReason::kAbsent);
    while (restore.take_head()) {
    }
    EXPECT_TRUE(restore.met());
    expect_whole(restore);
  }
}

TEST_F(RestoreTest, AnEpochThatEndsEndsTheTail) {
  begin();
  Restore restore = this->restore();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(restore.load_next());
  daemon_->close_epoch();
  EXPECT_FALSE(restore.load_next());
  while (restore.take_head()) {
  }
  EXPECT_TRUE(restore.met());
  EXPECT_EQ(restore.result().loaded, 3u);
  expect_whole(restore);
}

TEST_F(RestoreTest, PastTheDeadlineNothingIsBegun) {
  begin();
  Restore restore = this->restore(Clock::now());
  EXPECT_FALSE(restore.load_next());
  EXPECT_EQ(restore.result().ended, MissReason::kDeadline);
  EXPECT_FALSE(restore.met());
}

TEST_F(RestoreTest, TargetsMustBeConsecutiveChunksOfTheChain) {
  begin();
  std::swap(targets_[1], targets_[2]);
  EXPECT_EQ(space_->restore(*chain_, targets_).code(), Code::kInvalidArgument);
  fill();
  targets_.back().chunk = kCount;
  EXPECT_EQ(space_->restore(*chain_, targets_).code(), Code::kInvalidArgument);
  EXPECT_TRUE(space_->restore(*chain_, {}).ok());
}

TEST_F(RestoreTest, TwoThreadsCoverEachChunkOnce) {
  begin();
  for (int round = 0; round < 50; ++round) {
    fill();
    Restore restore = this->restore();
    std::thread loader([&] {
      while (restore.load_next()) {
      }
    });
    size_t heads = 0;
    do {
      while (restore.take_head()) ++heads;
    } while (!restore.met());
    loader.join();
    EXPECT_EQ(heads, restore.result().computed);
    expect_whole(restore);
  }
}

}  // namespace
}  // namespace kvtier::testing
