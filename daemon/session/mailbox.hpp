// The admin thread's calls, carried out on the core thread between two turns. Each call lies in
// memory that both sides share, under one lock that is held for pushes and changes of state only.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include "daemon/core/control.hpp"
#include "daemon/memory/fd.hpp"

namespace kvtier::daemon {

class CoreMailbox final : public Mailbox {
 public:
  static constexpr size_t kCallsMax = 64;

  static Result<std::unique_ptr<CoreMailbox>> create();

  // Any thread but the core's. A call that was not begun when the time is over is never run; one
  // that was is waited for, so that nothing of the caller's is touched after the return.
  // Errors: deadline, full, unavailable (the daemon is stopping; the call was not run).
  Status post_wait(std::function<void(Control&)> call, uint64_t timeout_ns) override;

  // Core thread.
  const Fd& fd() const { return event_; }  // readable when there are calls, or after poke()
  void run(Control& control);
  void close();  // nobody waits any longer, and nobody will

  // Any thread, and signal handlers: makes the core thread return from its wait.
  void poke();

 private:
  struct Call;
  explicit CoreMailbox(Fd event) : event_(std::move(event)) {}
  std::shared_ptr<Call> take();

  Fd event_;
  std::mutex mutex_;
  std::condition_variable ended_;
  std::deque<std::shared_ptr<Call>> calls_;
  bool closed_ = false;
};

}  // namespace kvtier::daemon
