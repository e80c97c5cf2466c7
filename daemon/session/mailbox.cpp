// See mailbox.hpp.
#include "daemon/session/mailbox.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace kvtier::daemon {

struct CoreMailbox::Call {
  enum class State : uint8_t { kWaiting, kRunning, kDone, kRefused };
  std::function<void(Control&)> function;
  State state = State::kWaiting;
};

Result<std::unique_ptr<CoreMailbox>> CoreMailbox::create() {
  Fd event(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!event) return Error::system(errno, "making the core's mailbox");
  return std::unique_ptr<CoreMailbox>(new CoreMailbox(std::move(event)));
}

Status CoreMailbox::post_wait(std::function<void(Control&)> function, uint64_t timeout_ns) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::nanoseconds(timeout_ns);
  const auto call = std::make_shared<Call>();
  call->function = std::move(function);
  std::unique_lock lock(mutex_);
  if (closed_) return Error(Code::kUnavailable, "the daemon is stopping");
  if (calls_.size() >= kCallsMax) {
    return Error::format(Code::kFull, "%zu calls wait for the core thread already", kCallsMax);
  }
  calls_.push_back(call);
  poke();
  const auto begun = [&] { return call->state != Call::State::kWaiting; };
  if (!ended_.wait_until(lock, deadline, begun)) {
    calls_.erase(std::find(calls_.begin(), calls_.end(), call));
    return Error::format(Code::kDeadline, "the core thread did not answer within %.3f s",
                         static_cast<double>(timeout_ns) * 1e-9);
  }
  ended_.wait(lock, [&] { return call->state != Call::State::kRunning; });
  if (call->state == Call::State::kRefused) {
    return Error(Code::kUnavailable, "the daemon is stopping");
  }
  return {};
}

std::shared_ptr<CoreMailbox::Call> CoreMailbox::take() {
  const std::lock_guard lock(mutex_);
  if (calls_.empty()) return nullptr;
  std::shared_ptr<Call> call = calls_.front();
  calls_.pop_front();
  call->state = Call::State::kRunning;
  return call;
}

void CoreMailbox::run(Control& control) {
  uint64_t ignored = 0;
  [[maybe_unused]] const ssize_t drained = ::read(event_.get(), &ignored, sizeof ignored);
  // No more than one queue's length a turn: those that post meanwhile wait for the next.
  for (size_t i = 0; i < kCallsMax; ++i) {
    const std::shared_ptr<Call> call = take();
    if (call == nullptr) return;
    call->function(control);
    {
      const std::lock_guard lock(mutex_);
      call->state = Call::State::kDone;
    }
    ended_.notify_all();
  }
  poke();
}

void CoreMailbox::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    for (const std::shared_ptr<Call>& call : calls_) call->state = Call::State::kRefused;
    calls_.clear();
  }
  ended_.notify_all();
}

void CoreMailbox::poke() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event_.get(), &one, sizeof one);
}

}  // namespace kvtier::daemon
