// Touches, hints, prefetch, reports: what a session tells the daemon.
#include <cmath>
#include <limits>

#include "tests/client/fixture.hpp"

namespace kvtier::testing {
namespace {

class TouchTest : public ClientTest {
 protected:
  std::vector<uint64_t> places(const KeyChain& chain, std::initializer_list<size_t> chunks) {
    std::vector<uint64_t> found;
    for (const size_t chunk : chunks) found.push_back(daemon_->place_of(chain.keys()[chunk]));
    return found;
  }
  void flush() { ASSERT_TRUE(space_->flush_touches(in(std::chrono::seconds(5))).ok()); }
};

TEST_F(TouchTest, GoesTailToHead) {
  start();
  const KeyChain chain = derive(prompt(4));
  store(chain, 4);
  space_->touch(chain, 3);
  flush();
  EXPECT_EQ(daemon_->touches(), places(chain, {2, 1, 0}));
}

TEST_F(TouchTest, AMatchTouchesTheWholePathFromChunk0) {
  start();
  const KeyChain chain = derive(prompt(4));
  store(chain, 4);
  (void)space_->match(chain, {.first = 2});
  flush();
  EXPECT_EQ(daemon_->touches(), places(chain, {3, 2, 1, 0}));
  (void)space_->match(chain, {.touch = false});
  flush();
  EXPECT_EQ(daemon_->touches().size(), 4u);
}

TEST_F(TouchTest, AFullLogDropsAndCounts) {
  start({.touch_entries = 4});
  const KeyChain chain = derive(prompt(6));
  store(chain, 6);
  daemon_->set_stuck(true);
  space_->touch(chain, 6);
  space_->touch(chain, 6);
  EXPECT_GE(session_->stats().touches_dropped, 2u);
  daemon_->set_stuck(false);
  flush();
  EXPECT_LE(daemon_->touches().size(), 12u - session_->stats().touches_dropped);
}

TEST_F(TouchTest, HintsCarryKeysAndAValue) {
  start();
  const KeyChain chain = derive(prompt(100));
  ASSERT_TRUE(space_->hint(chain, 10, 80, Hint::kPin, 12.5).ok());
  flush();
  const auto hints = daemon_->requests(wire::Op::kHint);
  ASSERT_EQ(hints.size(), 2u) << "80 keys are two requests";
  EXPECT_EQ(hints[0].count, 64u);
  EXPECT_EQ(hints[1].count, 16u);
  EXPECT_EQ(hints[0].a, static_cast<uint64_t>(wire::HintKind::kPin));
  EXPECT_EQ(wire::bits_double(hints[0].b), 12.5);
  EXPECT_EQ(space_->hint(chain, 10, 91, Hint::kPin, 1).code(), Code::kInvalidArgument);
  EXPECT_EQ(space_->hint(chain, SIZE_MAX, 2, Hint::kPin, 1).code(), Code::kInvalidArgument);
  EXPECT_EQ(space_->hint(chain, 0, 1, Hint::kPin, std::nan("")).code(), Code::kInvalidArgument);
  EXPECT_EQ(space_->hint(chain, 0, 1, static_cast<Hint>(9), 1).code(), Code::kInvalidArgument);
}

TEST_F(TouchTest, PrefillReportsMustMakeSense) {
  start();
  EXPECT_TRUE(space_->report_prefill(512, 1024, 0.25).ok());
  flush();
  const auto reports = daemon_->requests(wire::Op::kReportPrefill);
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].a, 512u);
  EXPECT_EQ(reports[0].b, 1024u);
  EXPECT_EQ(wire::bits_double(reports[0].c), 0.25);
  for (const double wrong : {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    EXPECT_EQ(space_->report_prefill(1, 0, wrong).code(), Code::kInvalidArgument) << wrong;
  }
  EXPECT_EQ(space_->report_prefill(0, 0, 1).code(), Code::kInvalidArgument);
  EXPECT_EQ(space_->report_prefill(UINT64_MAX, 0, 1).code(), Code::kInvalidArgument);
}

TEST_F(TouchTest, ReportsNeverWaitForAStuckDaemon) {
  start({.ring_entries = 8});
  daemon_->set_stuck(true);
  Code last = Code::kOk;
  for (int i = 0; i < 20; ++i) last = space_->report_prefill(1, 0, 0.1).code();
  EXPECT_EQ(last, Code::kFull) << "a full ring is said, not waited for";
}

TEST_F(TouchTest, PrefetchOfWhatIsThereSendsNothing) {
  start();
  const KeyChain chain = derive(prompt(3));
  store(chain, 3);
  const auto resident = space_->prefetch(chain, 0, 3, in(std::chrono::seconds(1)));
  ASSERT_TRUE(resident.ok());
  EXPECT_EQ(*resident, 3u);
  EXPECT_TRUE(daemon_->requests(wire::Op::kPrefetch).empty());
  daemon_->demote(chain.keys()[1]);
  EXPECT_EQ(*space_->prefetch(chain, 0, 3, in(std::chrono::seconds(1))), 1u)
      << "the fake daemon says done and does nothing: only what is there counts";
  EXPECT_EQ(daemon_->requests(wire::Op::kPrefetch).size(), 1u);
  EXPECT_EQ(space_->prefetch(chain, 2, 2, in(std::chrono::seconds(1))).code(),
            Code::kInvalidArgument);
}

TEST_F(TouchTest, AnUnansweredPrefetchIsCancelled) {
  start();
  const KeyChain chain = derive(prompt(1));
  daemon_->set_stuck(true);
  EXPECT_EQ(*space_->prefetch(chain, 0, 1, in(std::chrono::milliseconds(20))), 0u);
  daemon_->set_stuck(false);
  EXPECT_TRUE(
      FakeDaemon::eventually([&] { return daemon_->requests(wire::Op::kCancel).size() == 1; }));
  EXPECT_EQ(daemon_->requests(wire::Op::kCancel)[0].a,
            daemon_->requests(wire::Op::kPrefetch)[0].user_data);
}

}  // namespace
}  // namespace kvtier::testing
