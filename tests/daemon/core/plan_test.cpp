// What the core makes of reports and records for planning: the board says it, lies are refused,
// records outlive their session, and a ring with nonsense in it costs a bounded look.
#include <cmath>
#include <limits>

#include "tests/daemon/core/core_fixture.hpp"

namespace kvtier::daemon {
namespace {

class CorePlanTest : public CoreTest {
 protected:
  // As a client does.
  static void write(Session& session, const wire::PlanRecord& record) {
    wire::SessionHeader& header = session.memory.header();
    auto* cells = reinterpret_cast<wire::PlanCell*>(reinterpret_cast<std::byte*>(&header) +
                                                    header.plans_offset);
    const uint32_t tail = header.plan_tail.load();
    wire::write_plan_cell(cells[tail % header.plan_entries], tail, record);
    header.plan_tail.store(tail + 1, std::memory_order_release);
  }
  static wire::PlanRecord plan(uint64_t id) {
    wire::PlanRecord record = {};
    record.kind = static_cast<uint32_t>(wire::PlanRecordKind::kPlan);
    record.id = id;
    return record;
  }
  wire::CostSnapshot board(Session& session) {
    core_->tick();
    wire::CostSnapshot snapshot;
    EXPECT_TRUE(wire::read_board(*core_->tenant(session.tenant).index->view().board, 0, &snapshot));
    return snapshot;
  }
};

TEST_F(CorePlanTest, TheBoardSaysWhatEnginesReport) {
  start();
  Session& session = attach();
  const uint32_t space = open_space(session);
  EXPECT_EQ(board(session).space.samples, 0u);
  EXPECT_NEAR(board(session).space.a, 100e-6, 1e-9) << "planner.recompute_default";
  ASSERT_TRUE(core_->report_model(session, space, 1.6e10, 5e5, 4e14).ok());
  EXPECT_NEAR(board(session).space.a, 4e-5, 1e-9);
  for (uint64_t i = 1; i <= 50; ++i) {
    const auto tokens = static_cast<double>(100 * i);
    ASSERT_TRUE(core_
                    ->report_prefill(session, space, 100 * i, 0,
                                     2e-3 + 1e-5 * tokens + 1e-9 * tokens * tokens / 2)
                    .ok());
  }
  const wire::CostSnapshot now = board(session);
  EXPECT_EQ(now.space.samples, 50u);
  EXPECT_NEAR(wire::recompute_seconds(now.space, 0, 3000), 2e-3 + 3e-2 + 4.5e-3, 1e-3);
}

TEST_F(CorePlanTest, LiesAreRefusedAndCounted) {
  start();
  Session& session = attach();
  const uint32_t space = open_space(session);
  const double none = std::numeric_limits<double>::quiet_NaN();
  for (const double seconds : {none, 0.0, -1.0, 1e-9, HUGE_VAL}) {
    EXPECT_FALSE(core_->report_prefill(session, space, 1000, 0, seconds).ok());
    EXPECT_FALSE(core_->report_load(session, wire::Tier::kHost, 1 << 20, seconds - 1).ok());
  }
  EXPECT_FALSE(core_->report_prefill(session, space + 7, 1000, 0, 1).ok());
  EXPECT_FALSE(core_->report_load(session, wire::Tier::kNvme, 1 << 20, 1).ok());
  EXPECT_FALSE(core_->report_model(session, space, none, 1, 1).ok());
  EXPECT_FALSE(core_->report_model(session, space + 7, 1e10, 1, 1e14).ok());
  EXPECT_EQ(core_->counters().reports_refused, 14u);
  EXPECT_EQ(board(session).space.samples, 0u);
  EXPECT_EQ(board(session).tiers[0].samples, 0u);
}

TEST_F(CorePlanTest, RecordsOutliveTheirSession) {
  start();
  Session& session = attach();
  write(session, plan(7));
  core_->remove_session(session);
  const auto found = core_->explain("last", 10);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].plan.id, 7u);
  EXPECT_EQ(core_->snapshot().plans.recorded, 1u);
}

TEST_F(CorePlanTest, WhatWasOverwrittenIsCountedAsLost) {
  start();
  Session& session = attach();
  for (uint64_t i = 1; i <= kPlanEntries + 10; ++i) write(session, plan(i));
  core_->tick();
  EXPECT_EQ(core_->snapshot().plans.recorded, kPlanEntries);
  EXPECT_EQ(core_->snapshot().plans.records_lost, 10u);
  EXPECT_EQ(core_->explain("last", 1)[0].plan.id, kPlanEntries + 10);
}

TEST_F(CorePlanTest, ARingOfNonsenseCostsABoundedLook) {
  start();
  Session& session = attach();
  for (const uint32_t tail : {5u, 0x8000'0000u, UINT32_MAX, 3u}) {
    session.memory.header().plan_tail.store(tail);
    core_->tick();
  }
  EXPECT_EQ(core_->snapshot().plans.recorded, 0u);
  write(session, plan(9));
  EXPECT_EQ(core_->explain("last", 1).at(0).plan.id, 9u) << "goes on with what is right";
}

}  // namespace
}  // namespace kvtier::daemon
