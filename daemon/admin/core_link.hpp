// The admin thread's way to the core: a question, an answer, a deadline. The admin thread only.
// A core that missed one deadline is asked with a short one until it answers again, so that a stuck
// core costs the operators' other requests little.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "daemon/core/control.hpp"
#include "kvtier/result.hpp"

namespace kvtier::daemon {

class CoreLink {
 public:
  CoreLink(Mailbox& mailbox, std::chrono::milliseconds timeout)
      : mailbox_(mailbox), timeout_(timeout) {}

  // Runs `call(Control&)` on the core thread and returns what it returned.
  // Errors: deadline, full (of the mailbox), unavailable (it was never run).
  // `call` holds what it needs by value: after a deadline it may still run, or never.
  template <typename Call>
  auto ask(Call call) -> Result<decltype(call(std::declval<Control&>()))> {
    using Answer = decltype(call(std::declval<Control&>()));
    auto answer = std::make_shared<std::optional<Answer>>();
    const Status ran = post([answer, call](Control& control) { answer->emplace(call(control)); });
    if (!ran) return ran.error();
    if (!answer->has_value()) {
      return Error(Code::kUnavailable, "the daemon is stopping; ask again when it has restarted");
    }
    return std::move(**answer);
  }

 private:
  Status post(std::function<void(Control&)> call);

  Mailbox& mailbox_;
  std::chrono::milliseconds timeout_;
  bool stuck_ = false;
};

}  // namespace kvtier::daemon
