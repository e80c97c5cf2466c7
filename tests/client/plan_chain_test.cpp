// Space::plan of a chain: with the live board, tiers that go, boards that are stale, epochs that
// end; its records, and the probe of a tier that was declined long ago.
#include "kvtier/wire/plan_record.hpp"
#include "tests/client/fixture.hpp"

namespace kvtier::testing {
namespace {

class PlanChainTest : public ClientTest {
 protected:
  void begin(FakeOptions options = {}) {
    start(std::move(options));
    chain_.emplace(derive(prompt(10)));
    store(*chain_, 10);
  }
  void board_says(double a, double nvme_bandwidth) {
    wire::CostBoard& board = daemon_->board();
    board.spaces[0].a.store(wire::double_bits(a));
    board.tiers[2].bandwidth_bytes_per_s.store(wire::double_bits(nvme_bandwidth));
  }
  wire::PlanRecord record(uint32_t number) {
    const wire::SessionHeader& header = daemon_->session_header();
    const auto* cells = reinterpret_cast<const wire::PlanCell*>(
        reinterpret_cast<const std::byte*>(&header) + header.plans_offset);
    wire::PlanRecord record = {};
    EXPECT_TRUE(wire::read_plan_cell(cells[number % header.plan_entries], number, &record))
        << number;
    return record;
  }
  uint32_t records() { return daemon_->session_header().plan_tail.load(); }

  std::optional<KeyChain> chain_;
};

TEST_F(PlanChainTest, TakesMixedTiersInTheirOrder) {
  begin();
  board_says(1e-3, 1e9);
  for (size_t i = 4; i < 10; ++i) daemon_->demote(chain_->keys()[i]);
  const Plan plan = space_->plan(*chain_, {.request = "request 1"});
  EXPECT_EQ(plan.resident, 10u);
  EXPECT_EQ(plan.load_chunks, 10u);
  EXPECT_NE(plan.id, 0u);
  EXPECT_GT(plan.load_deadline.count(), 0);
  board_says(1e-3, 1e3);  // 20 s a chunk
  EXPECT_EQ(space_->plan(*chain_).load_chunks, 4u);
  const Plan tail = space_->plan(*chain_, {.overlap = Overlap::kOverlapped});
  EXPECT_EQ(tail.load_chunks, 0u) << "the tail is the slow part";
  const Plan later = space_->plan(*chain_, {.first = 2});
  EXPECT_EQ(later.load_first, 2u);
  EXPECT_EQ(later.load_chunks, 2u);
}

TEST_F(PlanChainTest, ATierOutOfServiceIsNotThere) {
  begin();
  board_says(1e-3, 1e9);
  for (size_t i = 4; i < 10; ++i) daemon_->demote(chain_->keys()[i]);
  daemon_->board().tiers_down.store(1u << static_cast<unsigned>(Tier::kNvme));
  const Plan plan = space_->plan(*chain_);
  EXPECT_EQ(plan.resident, 4u);
  EXPECT_EQ(plan.load_chunks, 4u);
  daemon_->board().tiers_down.store(0);
  EXPECT_EQ(space_->plan(*chain_).resident, 10u);
}

TEST_F(PlanChainTest, ABoardThatIsBeingWrittenForEverIsAssumed) {
  begin();
  daemon_->board().sequence.store(1);
  const Plan plan = space_->plan(*chain_);
  EXPECT_EQ(plan.load_chunks, 10u) << "what is there is loaded";
  EXPECT_EQ(plan.load_deadline.count(), 0);
  daemon_->board().sequence.store(2);
}

TEST_F(PlanChainTest, WithoutAnEpochOrADaemonAllIsComputed) {
  begin();
  daemon_.reset();
  ASSERT_TRUE(FakeDaemon::eventually([&] { return !session_->attached(); }));
  const Plan plan = space_->plan(*chain_);
  EXPECT_EQ(plan.load_chunks, 0u);
  EXPECT_EQ(plan.id, 0u);
  space_->plan_ended(plan, {});
}

TEST_F(PlanChainTest, WhatWasKnownAndWhatHappenedAreRecorded) {
  begin();
  board_says(1e-3, 1e9);
  for (size_t i = 4; i < 10; ++i) daemon_->demote(chain_->keys()[i]);
  const Plan plan =
      space_->plan(*chain_, {.tokens_behind = 7, .lambda = 0.5, .request = std::string(100, 'r')});
  ASSERT_EQ(records(), 1u);
  const wire::PlanRecord made = record(0);
  EXPECT_EQ(made.kind, static_cast<uint32_t>(wire::PlanRecordKind::kPlan));
  EXPECT_EQ(made.id, plan.id);
  EXPECT_EQ(std::string(made.request), std::string(47, 'r'));
  EXPECT_EQ(made.first_key, chain_->keys()[0]);
  EXPECT_EQ(made.last_key, chain_->keys()[9]);
  EXPECT_EQ(made.tokens_behind, 7u);
  EXPECT_EQ(made.lambda, 0.5);
  EXPECT_EQ(made.a, 1e-3);
  EXPECT_EQ(made.tiers[2].bandwidth_bytes_per_s, 1e9);
  ASSERT_EQ(made.runs_count, 2u);
  EXPECT_EQ(made.runs[0].chunks, 4u);
  EXPECT_EQ(made.runs[1].chunks, 6u);
  EXPECT_EQ(made.runs[1].tier, static_cast<uint8_t>(Tier::kNvme));
  EXPECT_EQ(made.load_end, plan.load_chunks);
  space_->plan_ended(plan, {.loaded = 3, .seconds = 0.25, .ended = MissReason::kDeadline});
  const wire::PlanRecord end = record(1);
  EXPECT_EQ(end.kind, static_cast<uint32_t>(wire::PlanRecordKind::kEnd));
  EXPECT_EQ(end.id, plan.id);
  EXPECT_EQ(end.loaded, 3u);
  EXPECT_EQ(end.seconds, 0.25);
  EXPECT_EQ(end.ended, static_cast<uint32_t>(MissReason::kDeadline));
}

TEST_F(PlanChainTest, TheRingKeepsTheNewest) {
  begin({.plan_entries = 4});
  uint64_t last = 0;
  for (int i = 0; i < 11; ++i) last = space_->plan(*chain_).id;
  EXPECT_EQ(records(), 11u);
  EXPECT_EQ(record(10).id, last);
  wire::PlanRecord gone = {};
  const wire::SessionHeader& header = daemon_->session_header();
  const auto* cells = reinterpret_cast<const wire::PlanCell*>(
      reinterpret_cast<const std::byte*>(&header) + header.plans_offset);
  EXPECT_FALSE(wire::read_plan_cell(cells[0], 0, &gone));
}

TEST_F(PlanChainTest, ADaemonWithoutRoomForRecordsIsServedToo) {
  begin({.plan_entries = 0});
  const Plan plan = space_->plan(*chain_);
  EXPECT_EQ(plan.load_chunks, 10u);
  EXPECT_EQ(plan.id, 0u);
}

TEST_F(PlanChainTest, ADeclinedTierWithAnOldMeasurementIsProbedOnceASecond) {
  begin();
  board_says(1e-6, 1e3);
  daemon_->board().tiers[0].bandwidth_bytes_per_s.store(wire::double_bits(1e12));
  for (size_t i = 4; i < 10; ++i) daemon_->demote(chain_->keys()[i]);
  daemon_->board().measured_ns[2].store(1'000'000'000);
  daemon_->board().heartbeat_ns.store(1'100'000'000);
  (void)space_->plan(*chain_);
  daemon_->board().heartbeat_ns.store(2'000'000'000);
  for (int i = 0; i < 5; ++i) (void)space_->plan(*chain_);
  ASSERT_TRUE(
      FakeDaemon::eventually([&] { return !daemon_->requests(wire::Op::kPrefetch).empty(); }));
  (void)space_->flush_touches(in(std::chrono::seconds(5)));
  const auto probes = daemon_->requests(wire::Op::kPrefetch);
  ASSERT_EQ(probes.size(), 1u);
  EXPECT_EQ(probes[0].count, 6u) << "all that lie there: they are small";
}

TEST_F(PlanChainTest, AModelsFlopsAreSentOrRefused) {
  begin();
  EXPECT_TRUE(space_->report_model(1.6e10, 5e5, 4e14).ok());
  EXPECT_EQ(space_->report_model(0, 5e5, 4e14).code(), Code::kInvalidArgument);
  EXPECT_EQ(space_->report_model(1e10, std::nan(""), 4e14).code(), Code::kInvalidArgument);
  ASSERT_TRUE(space_->flush_touches(in(std::chrono::seconds(5))).ok());
  EXPECT_EQ(daemon_->requests(wire::Op::kReportModel).size(), 1u);
}

}  // namespace
}  // namespace kvtier::testing
