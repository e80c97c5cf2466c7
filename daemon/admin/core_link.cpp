// See core_link.hpp.
#include "daemon/admin/core_link.hpp"

#include <algorithm>

namespace kvtier::daemon {
namespace {
constexpr std::chrono::milliseconds kTimeoutWhenStuck{100};
}

Status CoreLink::post(std::function<void(Control&)> call) {
  const auto timeout = stuck_ ? std::min(timeout_, kTimeoutWhenStuck) : timeout_;
  const auto ns = std::chrono::nanoseconds(timeout).count();
  const Status ran = mailbox_.post_wait(std::move(call), static_cast<uint64_t>(ns));
  stuck_ = ran.code() == Code::kDeadline;
  return ran;
}

}  // namespace kvtier::daemon
