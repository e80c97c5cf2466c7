// The table of policies: adding one is a row here. Core thread.
#include "daemon/policy/policy.hpp"

#include "daemon/policy/adaptive.hpp"
#include "daemon/policy/arc.hpp"
#include "daemon/policy/classes_policy.hpp"
#include "daemon/policy/gdsf.hpp"
#include "daemon/policy/lru.hpp"
#include "daemon/policy/s3fifo.hpp"

namespace kvtier::daemon {

namespace {
struct Row {
  const char* name;
  std::unique_ptr<Policy> (*make)();
};
template <typename T>
std::unique_ptr<Policy> make() {
  return std::make_unique<T>();
}
constexpr Row kPolicies[] = {
    {"default", make<AdaptivePolicy>},
    {"lru", make<LruPolicy>},
    {"arc", make<ArcPolicy>},
    {"reuse",
     []() -> std::unique_ptr<Policy> {
       return std::make_unique<ClassesPolicy>(ClassesPolicy::Order::kReuse);
     }},
    {"s3-fifo", make<S3FifoPolicy>},
    {"gdsf", make<GdsfPolicy>},
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
  return "default, lru, arc, reuse, s3-fifo, gdsf";
}

}  // namespace kvtier::daemon
