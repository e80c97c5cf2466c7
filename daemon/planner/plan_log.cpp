// See plan_log.hpp. Core thread.
#include "daemon/planner/plan_log.hpp"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace kvtier::daemon {
namespace {

constexpr size_t kLookBack = 64;

bool names(const LoggedPlan& logged, const std::string& select) {
  if (select == "last" || select == logged.plan.request) return true;
  char id[17];
  std::snprintf(id, sizeof id, "%016" PRIx64, logged.plan.id);
  if (select == id) return true;
  constexpr size_t kKeyDigitsMin = 8;
  if (select.size() < kKeyDigitsMin || logged.plan.resident == 0) return false;
  return plan_key_text(logged.plan.first_key).compare(0, select.size(), select) == 0 ||
         plan_key_text(logged.plan.last_key).compare(0, select.size(), select) == 0;
}

}  // namespace

std::string plan_key_text(ChunkKey key) {
  char text[33];
  std::snprintf(text, sizeof text, "%016" PRIx64 "%016" PRIx64, key.hi, key.lo);
  return text;
}

void PlanLog::add(uint32_t session, const std::string& tenant, const wire::PlanRecord& record) {
  if (record.kind == static_cast<uint32_t>(wire::PlanRecordKind::kPlan)) {
    LoggedPlan logged;
    logged.session = session;
    logged.tenant = tenant;
    logged.plan = record;
    logged.plan.request[sizeof record.request - 1] = 0;
    for (char& letter : logged.plan.request) {
      if (letter != 0 && (letter < 0x20 || letter > 0x7e)) letter = '?';
    }
    ++recorded_;
    // An engine that asks again at each step for a request that waits has one plan for it.
    for (size_t back = 0; back < std::min(plans_.size(), kLookBack); ++back) {
      LoggedPlan& earlier = plans_[plans_.size() - 1 - back];
      if (record.request[0] == 0 || earlier.session != session || earlier.ended ||
          std::strcmp(earlier.plan.request, logged.plan.request) != 0) {
        continue;
      }
      plans_.erase(plans_.end() - 1 - static_cast<ptrdiff_t>(back));
      break;
    }
    plans_.push_back(std::move(logged));
    if (plans_.size() > kPlansMax) plans_.pop_front();
    return;
  }
  if (record.kind != static_cast<uint32_t>(wire::PlanRecordKind::kEnd)) return;
  for (auto logged = plans_.rbegin(); logged != plans_.rend(); ++logged) {
    if (logged->plan.id != record.id || logged->tenant != tenant || logged->ended) continue;
    logged->ended = true;
    logged->end = record;
    const wire::PlanRecord& plan = logged->plan;
    const bool whole = record.loaded > 0 && record.loaded == plan.load_end - plan.load_begin;
    if (whole && plan.load_seconds > 0 && std::isfinite(record.seconds) && record.seconds > 0) {
      const double error = std::fabs(record.seconds - plan.load_seconds) / plan.load_seconds;
      errors_.add(static_cast<uint64_t>(std::min(error, kErrorMax) * 1e3));
    }
    return;
  }
}

std::vector<LoggedPlan> PlanLog::find(const std::string& select, size_t count) const {
  std::vector<LoggedPlan> found;
  for (auto logged = plans_.rbegin(); logged != plans_.rend() && found.size() < count; ++logged) {
    if (names(*logged, select)) found.push_back(*logged);
  }
  return found;
}

}  // namespace kvtier::daemon
