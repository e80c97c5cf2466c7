// A write budget that does not pay for all goes to what was used most.
#include "tests/daemon/core/lower_fixture.hpp"

namespace kvtier::daemon {
namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;

class AdmitTest : public LowerTest {
 protected:
  // A chunk a tenth of a second, of which one in ten is used twice more.
  void run(Session& session, uint32_t space, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
      ASSERT_EQ(keep(session, space, key_of(i)), wire::ReserveOutcome::kGranted) << i;
      if (i % 10 == 3) {
        touch(session, find(session, space, key_of(i)).place.word());
        touch(session, find(session, space, key_of(i)).place.word());
      }
      pass(kSecondNs / 10);
    }
  }
  // Of the chunks that are no longer in host memory, from `first` on, how many lie below.
  double written(Session& session, uint32_t space, uint64_t first, uint64_t count, bool used) {
    double gone = 0, found = 0;
    for (uint64_t i = first; i < count; ++i) {
      if ((i % 10 == 3) != used || resident(session, space, key_of(i))) continue;
      gone += 1;
      found += below(session, space, key_of(i)) ? 1 : 0;
    }
    return gone == 0 ? -1 : found / gone;
  }
};

TEST_F(AdmitTest, WhatWasUsedAgainIsWrittenFirst) {
  // Ten chunks a second, and a budget for two.
  start_over({.host_slots = 32,
              .below_chunks = 1024,
              .when_behind = WhenBehind::kAuto,
              .write_budget = 2 * kPayload});
  Session& session = attach();
  const uint32_t space = open_space(session);
  run(session, space, 800);
  settle();
  EXPECT_GT(written(session, space, 200, 800, true), 0.9);
  EXPECT_LT(written(session, space, 200, 800, false), 0.3);
  EXPECT_GT(core_->counters().dropped_budget, 300u);
  EXPECT_LT(core_->counters().demoted, 0.3 * 800);
}

TEST_F(AdmitTest, WithoutABudgetEverythingIsWritten) {
  start_over({.host_slots = 32, .below_chunks = 1024});
  Session& session = attach();
  const uint32_t space = open_space(session);
  run(session, space, 200);
  settle();
  EXPECT_EQ(written(session, space, 0, 200, false), 1);
  EXPECT_EQ(core_->counters().dropped_budget, 0u);
}

TEST_F(AdmitTest, WhatIsOverIsWrittenLast) {
  start_over({.host_slots = 32,
              .below_chunks = 1024,
              .when_behind = WhenBehind::kAuto,
              .write_budget = 5 * kPayload});
  Session& session = attach();
  const uint32_t space = open_space(session);
  // Half of the chunks, used often, but their sessions are over.
  for (uint64_t i = 0; i < 800; ++i) {
    ASSERT_EQ(keep(session, space, key_of(i)), wire::ReserveOutcome::kGranted);
    if (i % 2 == 0) {
      touch(session, find(session, space, key_of(i)).place.word());
      core_->drain_touches(session);
      const wire::KeyArg key = {key_of(i)};
      ASSERT_TRUE(core_->hint(session, space, {&key, 1}, wire::HintKind::kSessionEnd, 0).ok());
    }
    pass(kSecondNs / 10);
  }
  settle();
  uint64_t over = 0, others = 0;
  for (uint64_t i = 200; i < 800; ++i) {
    if (below(session, space, key_of(i))) ++(i % 2 == 0 ? over : others);
  }
  EXPECT_GT(others, 3 * over);
}

}  // namespace
}  // namespace kvtier::daemon
