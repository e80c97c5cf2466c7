// The newest plans of all sessions with what became of them, for `kvtier explain`, and the error of
// their predictions. Bounded. Core thread. Records are written by clients: nothing in them is
// believed beyond being shown to their own operator.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "daemon/planner/histogram.hpp"
#include "kvtier/wire/plan_record.hpp"

namespace kvtier::daemon {

struct LoggedPlan {
  uint32_t session = 0;
  std::string tenant;
  wire::PlanRecord plan = {};
  bool ended = false;
  wire::PlanRecord end = {};  // only what an end has
};

class PlanLog {
 public:
  static constexpr size_t kPlansMax = 512;

  void add(uint32_t session, const std::string& tenant, const wire::PlanRecord& record);
  void add_lost(uint64_t records) { lost_ += records; }

  // Newest first, at most `count`. `select`: "last", the number of a plan (16 hex digits), a
  // request's name as the engine gave it, or a key of 32 hex digits (or its first 8 and more): the
  // first or last resident chunk of the plan.
  std::vector<LoggedPlan> find(const std::string& select, size_t count) const;

  uint64_t recorded() const { return recorded_; }
  uint64_t lost() const { return lost_; }
  uint64_t ends() const { return errors_.total(); }
  // Of loads that brought all they should: |taken - predicted| / predicted.
  double error(double share) const { return static_cast<double>(errors_.quantile(share)) * 1e-3; }

 private:
  static constexpr double kErrorMax = 1e6;
  std::deque<LoggedPlan> plans_;  // oldest first
  Histogram errors_;              // in thousandths
  uint64_t recorded_ = 0;
  uint64_t lost_ = 0;
};

// 32 hex digits.
std::string plan_key_text(ChunkKey key);

}  // namespace kvtier::daemon
