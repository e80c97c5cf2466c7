// The references of the kernels' tests, against index arithmetic written out.
#include "tests/kernels/reference.hpp"

namespace kvtier::kernels::testing {
namespace {

TEST(KernelReference, GatherPutsByteJOfFragmentIWhereTheSizesBeforeItSay) {
  constexpr size_t kSizes[] = {3, 0, 64, 1, 100};
  GuardedBuffer memory(1000);
  memory.fill(1);
  std::vector<ConstFragment> sources;
  for (size_t i = 0; i < 5; ++i) sources.push_back({memory.data() + i * 150, kSizes[i]});
  GuardedBuffer payload(168);
  reference_gather(payload.data(), sources);
  for (size_t i = 0, before = 0; i < 5; before += kSizes[i++]) {
    for (size_t j = 0; j < kSizes[i]; ++j) {
      ASSERT_EQ(payload[before + j], pattern(i * 150 + j, 1));
    }
  }
  EXPECT_TRUE(payload.surroundings_untouched());
}

TEST(KernelReference, ScatterIsTheInverseOfGather) {
  GuardedBuffer payload(300);
  payload.fill(2);
  GuardedBuffer memory(1200);
  std::vector<Fragment> targets;
  std::vector<ConstFragment> sources;
  for (size_t i = 0; i < 3; ++i) {
    targets.push_back({memory.data() + (2 - i) * 400, 100});
    sources.push_back({memory.data() + (2 - i) * 400, 100});
  }
  reference_scatter(targets, payload.data());
  for (size_t i = 0; i < 1200; ++i) {
    const size_t fragment = 2 - i / 400;
    const bool inside = i % 400 < 100;
    ASSERT_EQ(memory[i], inside ? pattern(fragment * 100 + i % 400, 2) : kPoison) << i;
  }
  GuardedBuffer again(300);
  reference_gather(again.data(), sources);
  EXPECT_EQ(std::memcmp(again.data(), payload.data(), 300), 0);
}

TEST(KernelReference, CopyMovesEachByteToItsIndex) {
  GuardedBuffer source(77, 5);
  source.fill(3);
  GuardedBuffer target(77, 9);
  reference_copy(target.data(), source.data(), 77);
  for (size_t i = 0; i < 77; ++i) ASSERT_EQ(target[i], pattern(i, 3));
  EXPECT_TRUE(target.surroundings_untouched());
}

TEST(KernelReference, GuardedBufferNoticesOneByteOnEitherSide) {
  GuardedBuffer before(10, 7);
  before.data()[-1] = std::byte{0};
  EXPECT_FALSE(before.surroundings_untouched());
  GuardedBuffer after(10, 7);
  after.data()[10] = std::byte{0};
  EXPECT_FALSE(after.surroundings_untouched());
}

}  // namespace
}  // namespace kvtier::kernels::testing
