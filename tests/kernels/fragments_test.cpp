// Gather and scatter: lists and strided shapes, with and without the checksum, and what is refused.
#include <array>

#include "kernels/copy.hpp"
#include "tests/kernels/reference.hpp"

namespace kvtier::kernels::testing {
namespace {

class KernelFragments : public OnEveryIsa {};

// A list of fragments somewhere in a memory of its own, with gaps, in an order of its own.
struct Layout {
  std::vector<size_t> offsets;
  std::vector<size_t> sizes;
  size_t memory_bytes = 0;
  size_t payload_bytes = 0;
};

Layout random_layout(std::mt19937_64& random, size_t fragment_bytes_max, size_t multiple_of) {
  Layout layout;
  const size_t count = below(random, 40);
  for (size_t i = 0; i < count; ++i) {
    const size_t bytes = below(random, fragment_bytes_max) / multiple_of * multiple_of;
    layout.memory_bytes += below(random, 3) * multiple_of;
    layout.offsets.push_back(layout.memory_bytes);
    layout.sizes.push_back(bytes);
    layout.memory_bytes += bytes;
    layout.payload_bytes += bytes;
  }
  for (size_t i = count; i > 1; --i) {
    const size_t other = below(random, i);
    std::swap(layout.offsets[i - 1], layout.offsets[other]);
    std::swap(layout.sizes[i - 1], layout.sizes[other]);
  }
  return layout;
}

template <typename Item>
std::vector<Item> list(const Layout& layout, std::byte* memory) {
  std::vector<Item> items;
  for (size_t i = 0; i < layout.sizes.size(); ++i) {
    items.push_back({memory + layout.offsets[i], layout.sizes[i]});
  }
  return items;
}

bool same(GuardedBuffer& one, GuardedBuffer& other) {
  return one.size() == 0 || std::memcmp(one.data(), other.data(), one.size()) == 0;
}

void check_layout(const Layout& layout, size_t memory_skew, size_t payload_skew, StoreKind store) {
  GuardedBuffer memory(layout.memory_bytes, memory_skew);
  memory.fill(layout.payload_bytes);
  const CopyOptions options{.store = store, .temporal_bytes_max = 5000};
  const auto sources = list<ConstFragment>(layout, memory.data());
  GuardedBuffer expected(layout.payload_bytes);
  reference_gather(expected.data(), sources);
  const uint64_t expected_root = reference_root(expected.data(), layout.payload_bytes);
  const uint64_t bytes = layout.payload_bytes;

  GuardedBuffer payload(bytes, payload_skew);
  ASSERT_TRUE(gather(payload.data(), bytes, sources, options));
  ASSERT_TRUE(same(payload, expected));
  payload.poison();
  uint64_t root = 0;
  ASSERT_TRUE(gather_and_hash(payload.data(), bytes, sources, &root, options));
  ASSERT_TRUE(same(payload, expected));
  ASSERT_EQ(root, expected_root);
  ASSERT_TRUE(payload.surroundings_untouched());

  // Gaps between the fragments must keep their poison.
  GuardedBuffer scattered(layout.memory_bytes, memory_skew);
  reference_scatter(list<Fragment>(layout, scattered.data()), payload.data());
  GuardedBuffer target(layout.memory_bytes, memory_skew);
  const auto targets = list<Fragment>(layout, target.data());
  ASSERT_TRUE(scatter(targets, payload.data(), bytes, options));
  ASSERT_TRUE(same(target, scattered));
  target.poison();
  root = 0;
  ASSERT_TRUE(scatter_and_hash(targets, payload.data(), bytes, &root, options));
  ASSERT_TRUE(same(target, scattered));
  ASSERT_EQ(root, expected_root);
  ASSERT_TRUE(target.surroundings_untouched());
}

constexpr StoreKind kStores[] = {StoreKind::kTemporal, StoreKind::kStreaming, StoreKind::kBySize};

TEST_P(KernelFragments, RandomListsAreGatheredAndScatteredExactly) {
  std::mt19937_64 random = seeded_random();
  for (int round = 0; round < 120; ++round) {
    const size_t bytes_max = size_t{2} << below(random, 15);
    const size_t multiple_of = size_t{1} << (below(random, 3) * 3);  // 1, 8 or 64
    const Layout layout = random_layout(random, bytes_max, multiple_of);
    const bool aligned = multiple_of == 64;
    SCOPED_TRACE(::testing::Message() << "round " << round);
    check_layout(layout, aligned ? 0 : below(random, 64), aligned ? 0 : below(random, 64),
                 kStores[round % 3]);
    if (HasFatalFailure()) return;
  }
}

TEST_P(KernelFragments, NoFragmentsAndEmptyFragmentsMakeAnEmptyPayload) {
  const std::array<ConstFragment, 2> empty_sources = {{{nullptr, 0}, {nullptr, 0}}};
  const std::array<Fragment, 2> empty_targets = {{{nullptr, 0}, {nullptr, 0}}};
  const uint64_t expected = reference_root(nullptr, 0);
  for (StoreKind store : kStores) {
    uint64_t root = 1;
    EXPECT_TRUE(gather(nullptr, 0, std::span<const ConstFragment>(), {.store = store}));
    EXPECT_TRUE(gather_and_hash(nullptr, 0, empty_sources, &root, {.store = store}));
    EXPECT_EQ(root, expected);
    root = 1;
    EXPECT_TRUE(scatter(std::span<const Fragment>(), nullptr, 0, {.store = store}));
    EXPECT_TRUE(scatter_and_hash(empty_targets, nullptr, 0, &root, {.store = store}));
    EXPECT_EQ(root, expected);
    EXPECT_TRUE(gather(nullptr, 0, nullptr, StridedShape{0, 100, 0}, {.store = store}));
    EXPECT_TRUE(scatter(nullptr, StridedShape{7, 0, 64}, nullptr, 0, {.store = store}));
  }
}

TEST_P(KernelFragments, StridedShapesEqualTheListThatTheyDescribe) {
  constexpr StridedShape kShapes[] = {{1, 100, 0},       {5, 64, 64},      {9, 1000, 1003},
                                      {4, 32768, 65536}, {33, 4096, 4160}, {3, 70000, 70001}};
  for (const StridedShape& shape : kShapes) {
    Layout layout;
    for (size_t i = 0; i < shape.count; ++i) {
      layout.offsets.push_back(i * shape.stride_bytes);
      layout.sizes.push_back(shape.fragment_bytes);
    }
    layout.memory_bytes = layout.offsets.back() + shape.fragment_bytes;
    const uint64_t bytes = shape.count * shape.fragment_bytes;
    GuardedBuffer memory(layout.memory_bytes, 16);
    memory.fill(bytes);
    GuardedBuffer expected(bytes);
    reference_gather(expected.data(), list<ConstFragment>(layout, memory.data()));
    const uint64_t expected_root = reference_root(expected.data(), bytes);
    GuardedBuffer scattered(layout.memory_bytes);
    reference_scatter(list<Fragment>(layout, scattered.data()), expected.data());

    for (StoreKind store : kStores) {
      const CopyOptions options{.store = store};
      GuardedBuffer payload(bytes);
      ASSERT_TRUE(gather(payload.data(), bytes, memory.data(), shape, options));
      ASSERT_TRUE(same(payload, expected));
      payload.poison();
      uint64_t root = 0;
      ASSERT_TRUE(gather_and_hash(payload.data(), bytes, memory.data(), shape, &root, options));
      ASSERT_TRUE(same(payload, expected));
      ASSERT_EQ(root, expected_root);

      GuardedBuffer target(layout.memory_bytes, 16);
      ASSERT_TRUE(scatter(target.data(), shape, payload.data(), bytes, options));
      ASSERT_TRUE(same(target, scattered));
      target.poison();
      root = 0;
      ASSERT_TRUE(scatter_and_hash(target.data(), shape, payload.data(), bytes, &root, options));
      ASSERT_TRUE(same(target, scattered));
      ASSERT_EQ(root, expected_root);
      ASSERT_TRUE(target.surroundings_untouched());
    }
  }
}

TEST_P(KernelFragments, SizesThatDoNotAddUpAreRefusedBeforeAnythingIsWritten) {
  GuardedBuffer memory(300);
  GuardedBuffer payload(300);
  const std::array<ConstFragment, 2> sources = {{{memory.data(), 100}, {memory.data() + 150, 50}}};
  const std::array<Fragment, 2> targets = {{{memory.data(), 100}, {memory.data() + 150, 50}}};
  payload.fill(1);
  uint64_t root = 7;
  for (uint64_t bytes : {0U, 149U, 151U}) {
    EXPECT_FALSE(scatter(targets, payload.data(), bytes));
    EXPECT_FALSE(scatter_and_hash(targets, payload.data(), bytes, &root));
    EXPECT_FALSE(scatter(memory.data(), {3, 50, 50}, payload.data(), bytes));
  }
  for (size_t i = 0; i < 300; ++i) ASSERT_EQ(memory[i], kPoison);
  payload.poison();
  memory.fill(1);
  for (uint64_t bytes : {0U, 149U, 151U}) {
    EXPECT_FALSE(gather(payload.data(), bytes, sources));
    EXPECT_FALSE(gather_and_hash(payload.data(), bytes, sources, &root));
    EXPECT_FALSE(gather_and_hash(payload.data(), bytes, memory.data(), {3, 50, 50}, &root));
  }
  for (size_t i = 0; i < 300; ++i) ASSERT_EQ(payload[i], kPoison);
  EXPECT_EQ(root, 7U);
}

TEST_P(KernelFragments, SumsThatOverflowAndOverlappingStridesAreRefused) {
  GuardedBuffer memory(300);
  GuardedBuffer payload(300);
  const std::array<ConstFragment, 2> huge = {
      {{memory.data(), SIZE_MAX}, {memory.data() + 100, 101}}};  // adds up to 100 modulo 2^64
  EXPECT_FALSE(gather(payload.data(), 100, huge));
  constexpr uint64_t kHalf = uint64_t{1} << 63;
  EXPECT_FALSE(gather(payload.data(), 0, memory.data(), {2, kHalf, kHalf}));
  EXPECT_FALSE(gather(payload.data(), 20, memory.data(), {20, 1, kHalf}));
  EXPECT_FALSE(scatter(memory.data(), {2, 50, 49}, payload.data(), 100));
  EXPECT_TRUE(scatter(memory.data(), {2, 50, 50}, payload.data(), 100));
}

KVTIER_ON_EVERY_ISA(KernelFragments);

}  // namespace
}  // namespace kvtier::kernels::testing
