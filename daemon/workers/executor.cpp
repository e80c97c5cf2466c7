// Worker threads and their queues. The core thread submits and completes; workers run jobs. The
// mutex guards pushes and pops only, never work.
#include "daemon/workers/executor.hpp"

#include <sys/eventfd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "daemon/memory/fd.hpp"

namespace kvtier::daemon {

namespace {

constexpr uint64_t kInlineBytesMax = 128 << 10;  // 5 us of a checksum; two wakes cost more
// Completions of a busy worker are told together, but none waits for longer than this.
constexpr std::chrono::microseconds kTellWithin(100);

class ThreadExecutor final : public Executor {
 public:
  explicit ThreadExecutor(Fd event) : event_(std::move(event)) {}

  ~ThreadExecutor() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void start(size_t count) {
    // Signals belong to the main thread's signalfd.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (size_t i = 0; i < count; ++i) threads_.emplace_back([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  bool submit(Job job) override {
    {
      const std::lock_guard lock(mutex_);
      if (pending_ >= kJobsMax) return false;
      ++pending_;
      waiting_.push_back(std::move(job));
    }
    wake_.notify_one();
    return true;
  }

  size_t complete() override {
    uint64_t ignored = 0;
    [[maybe_unused]] const auto drained = ::read(event_.get(), &ignored, sizeof ignored);
    std::deque<Job> finished;
    {
      const std::lock_guard lock(mutex_);
      finished.swap(finished_);
      pending_ -= finished.size();
    }
    for (Job& job : finished) job.done();
    return finished.size();
  }

  int completion_fd() const override { return event_.get(); }

  size_t pending() const override {
    const std::lock_guard lock(mutex_);
    return pending_;
  }
  uint64_t inline_bytes_max() const override { return kInlineBytesMax; }

 private:
  using Clock = std::chrono::steady_clock;

  void run() {
    Clock::time_point busy_since;  // of the first job that nobody was told of yet
    for (;;) {
      Job job;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
        if (stopping_) return;
        job = std::move(waiting_.front());
        waiting_.pop_front();
      }
      if (busy_since == Clock::time_point()) busy_since = Clock::now();
      job.work();
      bool tell = false;
      {
        const std::lock_guard lock(mutex_);
        finished_.push_back(std::move(job));
        tell = waiting_.empty() || Clock::now() - busy_since >= kTellWithin;
      }
      if (!tell) continue;
      busy_since = {};
      const uint64_t one = 1;
      [[maybe_unused]] const auto written = ::write(event_.get(), &one, sizeof one);
    }
  }

  Fd event_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> waiting_;
  std::deque<Job> finished_;
  size_t pending_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

class InlineExecutor final : public Executor {
 public:
  bool submit(Job job) override {
    if (jobs_.size() >= kJobsMax) return false;
    jobs_.push_back(std::move(job));
    return true;
  }
  size_t complete() override {
    std::deque<Job> jobs;
    jobs.swap(jobs_);
    for (Job& job : jobs) {
      job.work();
      job.done();
    }
    return jobs.size();
  }
  int completion_fd() const override { return -1; }
  size_t pending() const override { return jobs_.size(); }
  uint64_t inline_bytes_max() const override { return 0; }  // tests want the step in between

 private:
  std::deque<Job> jobs_;
};

}  // namespace

bool run_or_submit(Executor& executor, uint64_t bytes, Job job) {
  if (bytes > executor.inline_bytes_max()) return executor.submit(std::move(job));
  job.work();
  job.done();
  return true;
}

Result<std::unique_ptr<Executor>> make_thread_executor(size_t threads) {
  Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return Error::system(errno, "eventfd for worker completions");
  auto executor = std::make_unique<ThreadExecutor>(std::move(event));
  executor->start(threads);
  return std::unique_ptr<Executor>(std::move(executor));
}

std::unique_ptr<Executor> make_inline_executor() {
  return std::make_unique<InlineExecutor>();
}

}  // namespace kvtier::daemon
