// What the core tells its curves: every use once, whatever became of it.
#include "tests/daemon/core/core_fixture.hpp"

namespace kvtier::daemon {
namespace {

class CurveTest : public CoreTest {
 protected:
  CurveReading hour() { return core_->curves().at(0).windows[1]; }
  uint64_t place_of(Session& session, uint32_t space, uint64_t key) {
    return find(session, space, key_of(key)).place.word();
  }
};

TEST_F(CurveTest, StoresAndTouchesAreUsesAndOnlyTouchesHit) {
  start(64);
  Session& session = attach();
  const uint32_t space = open_space(session);
  core_->tick();  // what computing costs
  for (uint64_t key = 0; key < 32; ++key) ASSERT_TRUE(store(session, space, key_of(key)));
  EXPECT_EQ(core_->curves().at(0).host_chunks, 32u);
  // Often enough that all of them are hot, and followed exactly.
  for (int round = 0; round < 200; ++round) {
    for (uint64_t key = 0; key < 32; ++key) touch(session, place_of(session, space, key));
  }
  const CurveReading before = hour();
  for (int round = 0; round < 100; ++round) {
    for (uint64_t key = 0; key < 32; ++key) touch(session, place_of(session, space, key));
  }
  const CurveReading after = hour();
  EXPECT_NEAR(after.asked.tokens - before.asked.tokens, 100 * 32 * 16, 1);
  EXPECT_NEAR(after.hit(64).tokens - before.hit(64).tokens, 100 * 32 * 16, 1);
  // One after the other in a circle: a smaller LRU hits none of them.
  EXPECT_NEAR(after.hit(24).tokens - before.hit(24).tokens, 0, 1);
  EXPECT_GT(after.asked.seconds, 0) << "by the assumed cost of computing";
}

TEST_F(CurveTest, TheShardsOfAChunkAreOneUse) {
  start(64);
  Session& session = attach();
  const uint32_t first = open_space(session, "m", 0, 2);
  const uint32_t second = open_space(session, "m", 1, 2);
  for (uint64_t key = 0; key < 8; ++key) {
    ASSERT_TRUE(store(session, first, key_of(key)));
    ASSERT_TRUE(store(session, second, key_of(key)));
  }
  EXPECT_EQ(core_->curves().at(0).host_chunks, 8u);
  for (int round = 0; round < 1000; ++round) touch(session, place_of(session, first, 3));
  const CurveReading before = hour();
  for (int round = 0; round < 1000; ++round) touch(session, place_of(session, first, 3));
  EXPECT_NEAR(hour().asked.tokens - before.asked.tokens, 1000 * 16, 1);
}

}  // namespace
}  // namespace kvtier::daemon
