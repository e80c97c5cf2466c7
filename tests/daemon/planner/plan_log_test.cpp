// The daemon's memory of plans: what is found by which name, ends, errors, bounds, and records that
// a client made up.
#include "daemon/planner/plan_log.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

namespace kvtier::daemon {
namespace {

wire::PlanRecord plan(uint64_t id, const char* request = "") {
  wire::PlanRecord record = {};
  record.kind = static_cast<uint32_t>(wire::PlanRecordKind::kPlan);
  record.id = id;
  std::strncpy(record.request, request, sizeof record.request - 1);
  record.first_key = {.lo = id, .hi = 0xAAAA'0000'0000'0000};
  record.last_key = {.lo = id, .hi = 0xBBBB'0000'0000'0000 + id};
  record.resident = 4;
  record.load_end = 4;
  record.load_seconds = 1;
  return record;
}
wire::PlanRecord end(uint64_t id, uint64_t loaded, double seconds) {
  wire::PlanRecord record = {};
  record.kind = static_cast<uint32_t>(wire::PlanRecordKind::kEnd);
  record.id = id;
  record.loaded = loaded;
  record.seconds = seconds;
  return record;
}

TEST(PlanLog, IsFoundByRequestNumberKeyOrAsTheLast) {
  PlanLog log;
  log.add(1, "chat", plan(1, "one"));
  log.add(1, "chat", plan(2, "two"));
  EXPECT_EQ(log.find("last", 1).at(0).plan.id, 2u);
  EXPECT_EQ(log.find("last", 10).size(), 2u);
  EXPECT_EQ(log.find("one", 10).at(0).plan.id, 1u);
  EXPECT_EQ(log.find("0000000000000002", 10).at(0).plan.id, 2u);
  EXPECT_EQ(log.find("bbbb000000000001", 10).at(0).plan.id, 1u);
  EXPECT_EQ(log.find("aaaa0000", 10).size(), 2u);
  EXPECT_TRUE(log.find("aaaa000", 10).empty()) << "too short for a key";
  EXPECT_TRUE(log.find("three", 10).empty());
}

TEST(PlanLog, AnEndBelongsToItsPlanAndItsTenant) {
  PlanLog log;
  log.add(1, "chat", plan(1));
  log.add(2, "other", end(1, 4, 2));
  EXPECT_FALSE(log.find("last", 1)[0].ended);
  log.add(9, "chat", end(1, 4, 1.5));  // the worker's session
  EXPECT_TRUE(log.find("last", 1)[0].ended);
  EXPECT_EQ(log.ends(), 1u);
  EXPECT_NEAR(log.error(0.5), 0.5, 0.02);
  log.add(1, "chat", end(1, 4, 1.5));
  EXPECT_EQ(log.ends(), 1u) << "a plan ends once";
}

TEST(PlanLog, OnlyWholeLoadsTellOfErrors) {
  PlanLog log;
  for (const auto& made : {end(1, 3, 1), end(2, 4, 0), end(3, 4, -1),
                           end(4, 4, std::numeric_limits<double>::quiet_NaN())}) {
    log.add(1, "chat", plan(made.id));
    log.add(1, "chat", made);
  }
  EXPECT_EQ(log.ends(), 0u);
}

TEST(PlanLog, ARequestThatAsksAgainHasOnePlan) {
  PlanLog log;
  for (uint64_t i = 1; i <= 20; ++i) log.add(1, "chat", plan(i, "waits"));
  log.add(2, "chat", plan(21, "waits"));
  EXPECT_EQ(log.find("waits", 100).size(), 2u) << "one a session";
  EXPECT_EQ(log.recorded(), 21u);
}

TEST(PlanLog, IsBoundedAndShowsOnlyLetters) {
  PlanLog log;
  for (uint64_t i = 1; i <= 2 * PlanLog::kPlansMax; ++i) log.add(1, "chat", plan(i));
  EXPECT_EQ(log.find("last", SIZE_MAX).size(), PlanLog::kPlansMax);
  wire::PlanRecord evil = plan(7);
  std::memset(evil.request, 0x1b, sizeof evil.request);
  evil.load_seconds = std::numeric_limits<double>::quiet_NaN();
  evil.kind = static_cast<uint32_t>(wire::PlanRecordKind::kPlan);
  log.add(1, "chat", evil);
  EXPECT_EQ(std::string(log.find("last", 1)[0].plan.request),
            std::string(sizeof evil.request - 1, '?'));
  evil.kind = 77;
  log.add(1, "chat", evil);
  EXPECT_EQ(log.recorded(), 2 * PlanLog::kPlansMax + 1);
}

}  // namespace
}  // namespace kvtier::daemon
