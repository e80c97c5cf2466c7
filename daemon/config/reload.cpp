// What a changed configuration means for a running daemon; see reload.hpp.
#include "daemon/config/reload.hpp"

#include <map>
#include <utility>

#include "daemon/config/load.hpp"
#include "daemon/config/options.hpp"

namespace kvtier::daemon {
namespace {

void diff_rows(std::span<const OptionRow> rows, const std::string& prefix, const void* current,
               const void* wanted, ConfigDiff& diff) {
  for (const OptionRow& row : rows) {
    if (option_text(row, current) == option_text(row, wanted)) continue;
    auto& names = row.reload == Reload::kLive ? diff.live : diff.restart;
    names.push_back(prefix + std::string(row.name));
  }
}

std::map<std::string, const TenantConfig*> by_name(const Config& config) {
  std::map<std::string, const TenantConfig*> tenants;
  for (const TenantConfig& tenant : config.tenant) tenants.emplace(tenant.name, &tenant);
  return tenants;
}

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

ConfigDiff diff_config(const Config& current, const Config& wanted) {
  ConfigDiff diff;
  diff_rows(option_rows(), "", &current, &wanted, diff);
  const auto before = by_name(current), after = by_name(wanted);
  for (const auto& [name, tenant] : before) {
    const auto found = after.find(name);
    if (found == after.end()) {
      diff.restart.push_back("tenant." + name);
    } else {
      diff_rows(tenant_rows(), "tenant." + name + ".", tenant, found->second, diff);
    }
  }
  for (const auto& [name, tenant] : after) {
    if (!before.contains(name)) diff.restart.push_back("tenant." + name);
  }
  if (current.space != wanted.space) diff.live.push_back("space");
  return diff;
}

ReloadPlan plan_reload(const Config& current, const std::string& path) {
  ReloadPlan plan;
  plan.config = current;
  ConfigOutcome outcome = load_config_file(path);
  if (!outcome.ok()) {
    plan.details = render_problems(outcome.problems, Color::kNever);
    plan.message = "kept the running configuration: " + std::to_string(outcome.problems.size()) +
                   " problem(s) in " + path;
    return plan;
  }
  plan.diff = diff_config(current, outcome.config);
  if (plan.diff.empty()) {
    plan.verdict = ReloadPlan::Verdict::kNothingChanged;
    plan.message = "the configuration has not changed";
  } else if (!plan.diff.restart.empty()) {
    plan.message =
        "kept the running configuration: a restart is needed for " + join(plan.diff.restart);
    if (!plan.diff.live.empty()) plan.message += "; not taken over: " + join(plan.diff.live);
  } else {
    plan.verdict = ReloadPlan::Verdict::kApply;
    plan.config = std::move(outcome.config);
    plan.message = "took over " + join(plan.diff.live);
  }
  return plan;
}

}  // namespace kvtier::daemon
