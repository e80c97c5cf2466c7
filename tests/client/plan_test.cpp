// The pure function, with the worked examples of docs/planner.md, and the board's sequence.
#include "kvtier/wire/plan.hpp"

#include <thread>

#include "tests/client/fixture.hpp"

namespace kvtier::testing {
namespace {

using wire::PlanInput;

// 2 GB/s after 1 ms; 100 us a token and 10 ns a token and position; chunks of 256 tokens, 8 MiB.
struct Example : PlanInput {
  std::vector<wire::ChunkRun> held;

  Example& set(std::vector<wire::ChunkRun> all) {
    held = std::move(all);
    runs = held;
    return *this;
  }
  Example() = default;
  Example(const Example& other) : PlanInput(other), held(other.held) { runs = held; }
  Example& operator=(const Example&) = delete;
};

Example example() {
  Example input;
  input.costs.tiers[0] = {.bandwidth_bytes_per_s = 2e9,
                          .latency_s = 1e-3,
                          .queued_bytes = 0,
                          .samples = 10,
                          .measured_ns = 0};
  input.costs.space = {.a = 100e-6, .b = 10e-9, .g = 5e-3, .samples = 10};
  input.tokens_per_chunk = 256;
  input.set({{.chunks = 10, .tier = Tier::kHost, .codec = 0, .stored_bytes = 8 * wire::MiB}});
  return input;
}

TEST(Plan, TheWorkedExample) {
  const Example input = example();
  const wire::PlanOutput plan = wire::plan_load(input);
  EXPECT_EQ(plan.load_chunks(), 10u);
  EXPECT_NEAR(plan.load_seconds, 1e-3 + 10 * 8.0 * wire::MiB / 2e9, 1e-9);
  EXPECT_NEAR(plan.recompute_seconds, 5e-3 + 100e-6 * 2560 + 10e-9 * 2560.0 * 2560 / 2, 1e-9);
  EXPECT_EQ(plan.deadline_seconds, plan.recompute_seconds);
}

TEST(Plan, ASlowTierIsNotLoaded) {
  Example input = example();
  input.costs.tiers[0].queued_bytes = uint64_t{10'000'000'000};
  EXPECT_EQ(wire::plan_load(input).load_chunks(), 0u);
}

TEST(Plan, DeepTokensAreDearer) {
  Example input = example();
  input.costs.tiers[0].bandwidth_bytes_per_s = 250e6;
  EXPECT_EQ(wire::plan_load(input).load_chunks(), 0u);
  input.first = 2000;
  EXPECT_EQ(wire::plan_load(input).load_chunks(), 10u);
}

TEST(Plan, StopsWhereASlowTierBegins) {
  Example input = example();
  input.set({{.chunks = 10, .tier = Tier::kHost, .codec = 0, .stored_bytes = 8 * wire::MiB},
             {.chunks = 10, .tier = Tier::kNvme, .codec = 0, .stored_bytes = 8 * wire::MiB}});
  input.costs.tiers[2] = {.bandwidth_bytes_per_s = 50e6,
                          .latency_s = 0,
                          .queued_bytes = 0,
                          .samples = 1,
                          .measured_ns = 0};
  EXPECT_EQ(wire::plan_load(input).load_chunks(), 10u);
}

TEST(Plan, WithoutReportsWhatIsThereIsLoaded) {
  Example input = example();
  input.costs.space = {};
  EXPECT_EQ(wire::plan_load(input).load_chunks(), 10u);
  EXPECT_EQ(wire::plan_load(input).deadline_seconds, 0);
}

TEST(Plan, NumbersThatAreNoneDoNotDecide) {
  Example input = example();
  input.costs.tiers[0] = {.bandwidth_bytes_per_s = std::nan(""),
                          .latency_s = -1,
                          .queued_bytes = 0,
                          .samples = 0,
                          .measured_ns = 0};
  input.costs.space.b = std::numeric_limits<double>::infinity();
  const wire::PlanOutput plan = wire::plan_load(input);
  EXPECT_TRUE(std::isfinite(plan.load_seconds));
  EXPECT_TRUE(std::isfinite(plan.recompute_seconds));
  EXPECT_EQ(wire::plan_load({}).load_chunks(), 0u);
}

TEST(Plan, NearTiesKeepTheLastDecision) {
  Example input = example();
  input.costs.space = {.a = 0, .b = 0, .g = 0.0425, .samples = 1};  // load takes 0.0429 s
  EXPECT_EQ(wire::plan_load(input).load_chunks(), 0u);
  input.has_last = true;
  input.last_load_chunks = 10;
  EXPECT_EQ(wire::plan_load(input).load_chunks(), 10u);
  input.costs.space.g = 0.001;
  EXPECT_EQ(wire::plan_load(input).load_chunks(), 0u) << "no tie any more";
}

TEST(Plan, LambdaPrefersLoadingWhenTheGpuIsBusy) {
  Example input = example();
  input.costs.space = {.a = 0, .b = 0, .g = 0.03, .samples = 1};
  EXPECT_EQ(wire::plan_load(input).load_chunks(), 0u);
  input.lambda = 1;
  EXPECT_EQ(wire::plan_load(input).load_chunks(), 10u);
}

TEST(Board, AWriterThatNeverEndsIsGivenUp) {
  wire::CostBoard board = {};
  wire::CostSnapshot snapshot;
  EXPECT_TRUE(wire::read_board(board, 3, &snapshot));
  board.sequence.store(1);
  EXPECT_FALSE(wire::read_board(board, 3, &snapshot));
  EXPECT_FALSE(wire::read_board(board, wire::kSpacesMax, &snapshot));
}

TEST(Board, ASnapshotIsOfOneMoment) {
  wire::CostBoard board = {};
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (uint64_t i = 1; !stop.load(); ++i) {
      board.sequence.store(2 * i - 1, std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_release);
      for (auto& tier : board.tiers) tier.queued_bytes.store(i, std::memory_order_relaxed);
      board.spaces[0].samples.store(i, std::memory_order_relaxed);
      board.sequence.store(2 * i, std::memory_order_release);
    }
  });
  for (int read = 0; read < 20'000; ++read) {
    wire::CostSnapshot snapshot;
    if (!wire::read_board(board, 0, &snapshot)) continue;
    for (const auto& tier : snapshot.tiers) {
      ASSERT_EQ(tier.queued_bytes, snapshot.space.samples);
    }
  }
  stop.store(true);
  writer.join();
}

class PlanTest : public ClientTest {};

TEST_F(PlanTest, ReadsTheBoardOfItsSpace) {
  start();
  const KeyChain chain = derive(prompt(4));
  store(chain, 4);
  const Lookup lookup = space_->lookup(chain);
  EXPECT_EQ(space_->plan(lookup).load_chunks, 4u);
  wire::CostBoard& board = daemon_->board();
  board.spaces[0].g.store(wire::double_bits(1e-7));
  board.tiers[0].latency_s.store(wire::double_bits(1));
  const Plan plan = space_->plan(lookup);
  EXPECT_EQ(plan.load_chunks, 0u);
  board.spaces[0].g.store(wire::double_bits(5));
  const Plan load = space_->plan(lookup);
  EXPECT_EQ(load.load_chunks, 4u);
  EXPECT_EQ(load.load_deadline, std::chrono::seconds(5));
}

}  // namespace
}  // namespace kvtier::testing
