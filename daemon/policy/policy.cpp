// The table of policies: adding one is a row here. Core thread.
#include "daemon/policy/policy.hpp"

#include "daemon/policy/lru.hpp"

namespace kvtier::daemon {

namespace {
struct Row {
  const char* name;
  std::unique_ptr<Policy> (*make)();
};
constexpr Row kPolicies[] = {
    {"lru", []() -> std::unique_ptr<Policy> { return std::make_unique<LruPolicy>(); }},
};
}  // namespace

Result<std::unique_ptr<Policy>> make_policy(std::string_view name) {
  for (const Row& row : kPolicies) {
    if (name == row.name) return row.make();
  }
  return Error::format(Code::kNotFound, "no eviction policy is named '%.*s'; there is: %s",
                       static_cast<int>(name.size()), name.data(), policy_names());
}

const char* policy_names() {
  return "lru";
}

}  // namespace kvtier::daemon
