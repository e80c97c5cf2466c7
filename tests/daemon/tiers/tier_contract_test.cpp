// What every body of Tier must do. A new tier adds itself to the list of makers below.
#include <gtest/gtest.h>
#include <poll.h>

#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "daemon/tiers/memory_tier.hpp"
#include "tests/daemon/tiers/nvme_fixture.hpp"

namespace kvtier::daemon {
namespace {

constexpr size_t kSlot = 64 * wire::KiB;

struct Maker {
  const char* name;
  std::function<std::unique_ptr<Tier>(uint64_t capacity_bytes, const Clock& clock)> make;
};

TierChunk chunk(uint8_t value) {
  TierChunk chunk;
  chunk.key = {value, 1};
  chunk.payload_bytes = kSlot - wire::kPageBytes;
  chunk.header_bytes = wire::kPageBytes;
  return chunk;
}

class TierContract : public testing::TestWithParam<Maker> {
 protected:
  void start(uint64_t slots) {
    tier_ = GetParam().make(slots * kSlot, clock_);
    tier_->know_tenant(0, "one");
  }

  static PageBytes content(uint8_t value) { return PageBytes(kSlot, std::byte{value}); }
  // Lets time and work go on for a moment.
  void pass() {
    clock_.advance_ns(100'000);
    tier_->tick();
    pollfd ready = {tier_->completion_fd(), POLLIN, 0};
    if (ready.fd >= 0) ::poll(&ready, 1, 1);
  }
  // Until what was forgotten is recorded.
  void expect_used(uint64_t bytes) {
    TierCompletion none;
    for (int i = 0; i < 10000 && tier_->capacity().used_bytes != bytes; ++i) {
      EXPECT_EQ(tier_->poll({&none, 1}), 0u);
      pass();
    }
    EXPECT_EQ(tier_->capacity().used_bytes, bytes);
  }
  // Runs the clock until the transfer has ended.
  TierCompletion finish() {
    TierCompletion completion;
    for (int i = 0; i < 10000; ++i) {
      pass();
      if (tier_->poll({&completion, 1}) == 1) return completion;
    }
    ADD_FAILURE() << "the transfer never ended";
    return completion;
  }
  TierPlace write(uint8_t value) {
    const PageBytes bytes = content(value);
    const Status begun = tier_->begin_write({value, 0, chunk(value), bytes});
    EXPECT_TRUE(begun.ok()) << begun.error().message();
    const TierCompletion completion = finish();
    EXPECT_EQ(completion.code, Code::kOk);
    EXPECT_EQ(completion.ticket, value);
    return completion.place;
  }

  VirtualClock clock_;
  std::unique_ptr<Tier> tier_;
};

TEST_P(TierContract, WhatWasWrittenIsRead) {
  start(4);
  const TierPlace one = write(1);
  const TierPlace two = write(2);
  ASSERT_NE(one, 0u);
  ASSERT_NE(one, two);
  PageBytes target = content(0);
  ASSERT_TRUE(tier_->begin_read({77, one, target}).ok());
  const TierCompletion completion = finish();
  EXPECT_EQ(completion.ticket, 77u);
  EXPECT_EQ(completion.bytes, kSlot);
  EXPECT_GT(completion.seconds, 0);
  EXPECT_EQ(target, content(1));
}

TEST_P(TierContract, AFullTierRefusesUntilSomethingIsForgotten) {
  start(2);
  const TierPlace one = write(1);
  write(2);
  const PageBytes bytes = content(3);
  EXPECT_EQ(tier_->begin_write({3, 0, chunk(3), bytes}).code(), Code::kFull);
  EXPECT_EQ(tier_->capacity().used_bytes, 2 * kSlot);
  tier_->forget(one);
  expect_used(kSlot);
  EXPECT_NE(write(3), 0u);
}

TEST_P(TierContract, AForgottenOrUnknownPlaceIsNotFound) {
  start(2);
  const TierPlace one = write(1);
  tier_->forget(one);
  tier_->forget(one);
  PageBytes target = content(0);
  EXPECT_EQ(tier_->begin_read({1, one, target}).code(), Code::kNotFound);
  EXPECT_EQ(tier_->begin_read({1, 0, target}).code(), Code::kNotFound);
}

TEST_P(TierContract, QueuedBytesAreThoseUnderWay) {
  start(4);
  const PageBytes bytes = content(1);
  ASSERT_TRUE(tier_->begin_write({1, 0, chunk(1), bytes}).ok());
  EXPECT_EQ(tier_->capacity().queued_bytes, kSlot);
  finish();
  EXPECT_EQ(tier_->capacity().queued_bytes, 0u);
}

TEST_P(TierContract, AReadOfAnotherSizeIsRefused) {
  start(2);
  const TierPlace one = write(1);
  PageBytes target(kSlot / 2);
  EXPECT_EQ(tier_->begin_read({1, one, target}).code(), Code::kInvalidArgument);
}

TEST_P(TierContract, ForgettingWhatMakeRoomListsMakesRoom) {
  start(2);
  write(1);
  write(2);
  tier_->know_tenant(1, "two");
  const PageBytes bytes = content(3);
  ASSERT_EQ(tier_->begin_write({3, 1, chunk(3), bytes}).code(), Code::kFull);
  TierPlace places[4];
  const size_t count = tier_->make_room(1, kSlot, places);
  ASSERT_GT(count, 0u);
  for (size_t i = 0; i < count; ++i) tier_->forget(places[i]);
  Status begun = Error(Code::kFull, "");
  for (int i = 0; i < 1000 && !begun.ok(); ++i) {
    begun = tier_->begin_write({3, 1, chunk(3), bytes});
    if (begun.ok()) break;
    TierCompletion none;
    EXPECT_EQ(tier_->poll({&none, 1}), 0u);
    pass();
  }
  ASSERT_TRUE(begun.ok()) << begun.error().message();
  EXPECT_EQ(finish().code, Code::kOk);
}

INSTANTIATE_TEST_SUITE_P(
    Tiers, TierContract,
    testing::Values(Maker{"memory",
                          [](uint64_t capacity, const Clock& clock) -> std::unique_ptr<Tier> {
                            MemoryTierOptions options;
                            options.capacity_bytes = capacity;
                            return std::make_unique<MemoryTier>(options, clock);
                          }},
                    Maker{"nvme_simulated", make_simulated_tier},
                    Maker{"nvme_uring", make_uring_tier}),
    [](const testing::TestParamInfo<Maker>& maker) { return std::string(maker.param.name); });

TEST(MemoryTier, TransfersTakeTheirTimeOneAfterTheOther) {
  VirtualClock clock;
  MemoryTierOptions options;
  options.capacity_bytes = 1 * wire::MiB;
  options.bandwidth_bytes_per_s = 65536 * 1000.0;  // a slot a millisecond
  MemoryTier tier(options, clock);
  tier.know_tenant(0, "one");
  const std::vector<std::byte> bytes(kSlot);
  ASSERT_TRUE(tier.begin_write({1, 0, chunk(1), bytes}).ok());
  ASSERT_TRUE(tier.begin_write({2, 0, chunk(2), bytes}).ok());
  TierCompletion done[2];
  clock.advance_ns(1'500'000);
  EXPECT_EQ(tier.poll(done), 1u);
  clock.advance_ns(600'000);
  EXPECT_EQ(tier.poll(done), 1u);
  EXPECT_EQ(done[0].ticket, 2u);
}

}  // namespace
}  // namespace kvtier::daemon
