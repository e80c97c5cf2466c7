// Two settings compared: what is certain, what is chance, and settings that are none.
#include "tools/simulate/compare.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tools/simulate/settings.hpp"

namespace kvtier::tools {
namespace {

TEST(Compare, AClearDifferenceIsFound) {
  std::vector<uint32_t> asked(2000, 10), a(2000), b(2000);
  for (size_t i = 0; i < a.size(); ++i) {
    a[i] = i % 3 == 0 ? 5 : 0;
    b[i] = a[i] + (i % 2 == 0 ? 1 : 0);
  }
  const Difference found = compare(asked, a, b, 1);
  EXPECT_NEAR(found.rate_b - found.rate_a, 0.05, 1e-9);
  EXPECT_LT(found.p, 0.01);
  EXPECT_GT(found.low, 0.04);
  EXPECT_LT(found.high, 0.06);
}

// Of equal settings at most about one in twenty looks different: 100 of them, seed 7.
TEST(Compare, ChanceIsCalledChance) {
  std::mt19937_64 random(7);
  std::vector<uint32_t> asked(1000, 10), a(1000), b(1000);
  int significant = 0, covered = 0;
  for (int round = 0; round < 100; ++round) {
    for (size_t i = 0; i < a.size(); ++i) {
      a[i] = static_cast<uint32_t>(random() % 11);
      b[i] = static_cast<uint32_t>(random() % 11);
    }
    const Difference found = compare(asked, a, b, random());
    significant += found.p < 0.05 ? 1 : 0;
    covered += found.low <= 0 && found.high >= 0 ? 1 : 0;
  }
  EXPECT_LE(significant, 14);
  EXPECT_GE(covered, 86);
}

TEST(Compare, TheSameIsNoDifferenceAndNothingIsNoError) {
  const std::vector<uint32_t> some = {3, 2, 1};
  EXPECT_EQ(compare(some, some, some, 1).p, 1);
  EXPECT_EQ(compare({}, {}, {}, 1).runs, 0u);
  const std::vector<uint32_t> none = {0, 0};
  EXPECT_EQ(compare(none, none, none, 1).rate_a, 0);
}

TEST(Settings, AreReadOrRefusedWithWhatIsWrong) {
  const auto all = read_setting("lru:host=10%:nvme=64:writes=0.4:hints=session-end=0.9", 1000);
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(all->host.policy, "lru");
  EXPECT_EQ(all->host.chunks, 100u);
  EXPECT_EQ(all->nvme.chunks, 64u);
  EXPECT_EQ(all->nvme_write_share, 0.4);
  EXPECT_EQ(all->hint_accuracy, 0.9);
  EXPECT_EQ(read_setting("lru", 1000)->host.chunks, 50u);
  for (const char* wrong : {"", "lru:host=x", "lru:writes=-1", "lru:writes=", "lru:colour=red",
                            "lru:nvme", "lru:hints=never"}) {
    EXPECT_EQ(read_setting(wrong, 1000).error().code(), Code::kInvalidArgument) << wrong;
  }
}

}  // namespace
}  // namespace kvtier::tools
