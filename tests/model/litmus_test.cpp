// The machine itself, on the classic litmus tests: what it lets happen is what C++ lets happen,
// except where README.md says otherwise.
#include <gtest/gtest.h>

#include "tests/model/explorer.hpp"

namespace kvtier::model {
namespace {

constexpr Register r0{0}, r1{1};

// Both threads end with a number; the outcome looked for is a violation.

struct TwoResults {
  int a = -1;  // looked for in thread 0
  int b = -1;
};

void finish_with(Thread& thread, int me, Register reg, TwoResults wanted) {
  thread.step([me, reg, wanted](Local& l) {
    l.ghost(me) = static_cast<int16_t>(l[reg] + 1);
    if (l.ghost(0) == wanted.a + 1 && l.ghost(1) == wanted.b + 1) l.violation = "seen";
  });
}

bool seen(Model& model) {
  model.finish();
  return !explore(model).violation.empty();
}

bool store_buffering(Order first, Order second) {
  Model m("SB");
  const int x = m.location("x"), y = m.location("y");
  auto& a = m.thread("a");
  a.store(x, 1, Order::kRelease).fence(first).load(r0, y, Order::kAcquire);
  finish_with(a, 0, r0, {0, 0});
  auto& b = m.thread("b");
  b.store(y, 1, Order::kRelease).fence(second).load(r0, x, Order::kAcquire);
  finish_with(b, 1, r0, {0, 0});
  return seen(m);
}

TEST(Litmus, StoreBufferingNeedsTwoSeqCstFences) {
  EXPECT_FALSE(store_buffering(Order::kSeqCst, Order::kSeqCst));
  EXPECT_TRUE(store_buffering(Order::kNone, Order::kSeqCst));
  EXPECT_TRUE(store_buffering(Order::kSeqCst, Order::kNone));
  EXPECT_TRUE(store_buffering(Order::kAcqRel, Order::kSeqCst));
  EXPECT_TRUE(store_buffering(Order::kSeqCst, Order::kAcqRel));
}

bool message_passing(Order store, Order load, Order write_fence, Order read_fence) {
  Model m("MP");
  const int x = m.location("x"), y = m.location("y");
  m.thread("a").store(x, 1, Order::kRelaxed).fence(write_fence).store(y, 1, store);
  auto& b = m.thread("b");
  b.load(r0, y, load).fence(read_fence).load(r1, x, Order::kRelaxed);
  b.check([](const Registers& r) { return r[0] == 0 || r[1] == 1; }, "seen");
  return seen(m);
}

TEST(Litmus, MessagePassingNeedsReleaseAndAcquire) {
  constexpr auto kRelaxed = Order::kRelaxed, kNone = Order::kNone;
  EXPECT_FALSE(message_passing(Order::kRelease, Order::kAcquire, kNone, kNone));
  EXPECT_FALSE(message_passing(kRelaxed, Order::kAcquire, Order::kRelease, kNone));
  EXPECT_FALSE(message_passing(Order::kRelease, kRelaxed, kNone, Order::kAcquire));
  EXPECT_FALSE(message_passing(kRelaxed, kRelaxed, Order::kRelease, Order::kAcquire));
  EXPECT_TRUE(message_passing(kRelaxed, Order::kAcquire, kNone, kNone));
  EXPECT_TRUE(message_passing(Order::kRelease, kRelaxed, kNone, kNone));
  EXPECT_TRUE(message_passing(kRelaxed, kRelaxed, Order::kAcquire, Order::kAcquire));
  EXPECT_TRUE(message_passing(kRelaxed, kRelaxed, Order::kRelease, Order::kRelease));
}

TEST(Litmus, LoadsOfOneLocationNeverGoBack) {
  Model m("CoRR");
  const int x = m.location("x");
  m.thread("a").store(x, 1, Order::kRelaxed).store(x, 2, Order::kRelaxed);
  auto& b = m.thread("b");
  b.load(r0, x, Order::kRelaxed).load(r1, x, Order::kRelaxed);
  b.check([](const Registers& r) { return r[0] <= r[1]; }, "seen");
  EXPECT_FALSE(seen(m));
}

bool independent_reads(Order fence) {
  Model m("IRIW");
  const int x = m.location("x"), y = m.location("y");
  m.thread("a").store(x, 1, Order::kRelease);
  m.thread("b").store(y, 1, Order::kRelease);
  const int first[2] = {x, y}, second[2] = {y, x};
  for (int t = 0; t < 2; ++t) {
    auto& reader = m.thread("reader" + std::to_string(t));
    reader.load(r0, first[t], Order::kAcquire).fence(fence).load(r1, second[t], Order::kAcquire);
    reader.set(r1, [](const Registers& r) { return r[0] == 1 && r[1] == 0 ? 0 : 9; });
    finish_with(reader, t, r1, {0, 0});
  }
  return seen(m);
}

TEST(Litmus, TwoReadersMayDisagreeUnlessFenced) {
  EXPECT_TRUE(independent_reads(Order::kNone));
  EXPECT_TRUE(independent_reads(Order::kAcqRel));
  EXPECT_FALSE(independent_reads(Order::kSeqCst));
}

TEST(Litmus, LoadsAreNotDelayedPastStores) {  // the limit that README.md names
  Model m("LB");
  const int x = m.location("x"), y = m.location("y");
  auto& a = m.thread("a");
  a.load(r0, x, Order::kRelaxed).store(y, 1, Order::kRelaxed);
  finish_with(a, 0, r0, {1, 1});
  auto& b = m.thread("b");
  b.load(r0, y, Order::kRelaxed).store(x, 1, Order::kRelaxed);
  finish_with(b, 1, r0, {1, 1});
  EXPECT_FALSE(seen(m));
}

// A relaxed store after a release store does not carry the release on (C++20).
bool release_sequence(Order second) {
  Model m("release sequence");
  const int x = m.location("x"), y = m.location("y");
  m.thread("a").store(x, 1, Order::kRelaxed).store(y, 1, Order::kRelease).store(y, 2, second);
  auto& b = m.thread("b");
  b.load(r0, y, Order::kAcquire).load(r1, x, Order::kRelaxed);
  b.check([](const Registers& r) { return r[0] != 2 || r[1] == 1; }, "seen");
  return seen(m);
}

TEST(Litmus, RelaxedStoreEndsAReleaseSequence) {
  EXPECT_TRUE(release_sequence(Order::kRelaxed));
  EXPECT_FALSE(release_sequence(Order::kRelease));
}

// Bytes are read, then given up by `release`; the other thread writes them after `acquire`.
bool bytes_race(Order release, Order acquire) {
  Model m("bytes");
  const int bytes = m.location("bytes"), done = m.location("done");
  m.thread("reader").plain_read(r0, bytes).store(done, 1, release);
  m.thread("writer").await(r0, done, 1, acquire).plain_write(bytes, 2);
  return seen(m);
}

TEST(Litmus, BytesThatMayStillBeReadMustNotBeWritten) {
  EXPECT_FALSE(bytes_race(Order::kRelease, Order::kAcquire));
  EXPECT_TRUE(bytes_race(Order::kRelaxed, Order::kAcquire));
  EXPECT_TRUE(bytes_race(Order::kRelease, Order::kRelaxed));
}

TEST(Litmus, SleeperThatNobodyWakesIsAViolation) {
  Model m("sleep");
  m.must_finish = true;
  const int eventfd = m.shared("eventfd");
  m.thread("sleeper").sleep(eventfd);
  m.thread("other").drain(eventfd);
  EXPECT_TRUE(seen(m));
}

TEST(Litmus, CounterexampleIsPrintedStepByStep) {
  Model m("trace");
  const int x = m.location("x");
  m.thread("a").store(x, 1, Order::kRelaxed);
  m.thread("b").load(r0, x, Order::kRelaxed).check(r0, "reads 0");
  m.finish();
  const auto result = explore(m);
  EXPECT_EQ(result.violation, "reads 0");
  ASSERT_EQ(result.trace.size(), 2u);
  EXPECT_EQ(result.trace[0], "a: store x = 1 [relaxed]");
  EXPECT_EQ(result.trace[1], "b: load x -> 0 (older: 1 newer) [relaxed]");
}

}  // namespace
}  // namespace kvtier::model
