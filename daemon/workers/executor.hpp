// Work that costs CPU per byte or may stall, away from the core thread. A job runs somewhere else;
// its completion runs on the core thread, when that asks for it, and only records results.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "kvtier/result.hpp"

namespace kvtier::daemon {

struct Job {
  std::function<void()> work;  // on a worker; must not throw
  std::function<void()> done;  // on the core thread, afterwards
};

// Two bodies: ThreadExecutor, and InlineExecutor for tests and simulation.
class Executor {
 public:
  virtual ~Executor() = default;
  // False when the bounded queue is full: the caller tries again in a later turn.
  [[nodiscard]] virtual bool submit(Job job) = 0;
  // Runs the completions of finished jobs; returns how many.
  virtual size_t complete() = 0;
  // Readable when complete() has something to do; -1 when there is no need to wait.
  virtual int completion_fd() const = 0;
  virtual size_t pending() const = 0;
  // A job over so few bytes costs less where it is than on its way to a worker and back.
  virtual uint64_t inline_bytes_max() const = 0;
};

// As submit(); one over at most inline_bytes_max() runs at once, and its completion with it.
[[nodiscard]] bool run_or_submit(Executor& executor, uint64_t bytes, Job job);

inline constexpr size_t kJobsMax = 1024;

Result<std::unique_ptr<Executor>> make_thread_executor(size_t threads);

// Jobs wait until complete() runs them, in order, on the caller's thread.
std::unique_ptr<Executor> make_inline_executor();

}  // namespace kvtier::daemon
