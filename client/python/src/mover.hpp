// A thread that matches, loads and stores for a caller that must not wait, behind a bounded queue.
// It never takes the GIL. Completions are announced on an eventfd and taken with poll().
#pragma once

#include <condition_variable>
#include <deque>
#include <thread>
#include <unordered_set>

#include "client/python/src/match.hpp"
#include "client/python/src/session.hpp"

namespace kvtier::python {

enum class JobKind { kLoad, kStore, kPrefetch };

struct Completion {
  uint64_t id = 0;
  JobKind kind = JobKind::kLoad;
  size_t chunks = 0;  // valid, from the first; stored by this job; resident, from the first
  uint64_t bytes = 0;
  double seconds = 0;
  MissReason ended = MissReason::kNone;  // of a load's match
  std::vector<StoreOutcome> outcomes;    // of a store
};

struct Job {
  uint64_t id = 0;
  JobKind kind = JobKind::kLoad;
  PySpace::Use space;
  std::shared_ptr<PyChain> chain;
  std::vector<size_t> chunks;  // of a load or prefetch: consecutive
  std::vector<std::vector<Fragment>> fragments;
  Clock::time_point deadline;
};

class Mover {
 public:
  struct Limits {
    size_t jobs_max;
    uint64_t bytes_max;  // of all jobs that wait or run
    size_t threads;
  };
  // Throws std::system_error without an eventfd.
  explicit Mover(Limits limits);
  ~Mover();  // drops what has not begun, waits for what has
  Mover(const Mover&) = delete;
  Mover& operator=(const Mover&) = delete;

  // Its number, from 1; 0 when the queue is full: the job was not taken.
  uint64_t submit(Job job);
  std::vector<Completion> poll();
  // Until none of the jobs waits or runs. False: the deadline passed.
  bool wait(const std::vector<uint64_t>& ids, Clock::time_point deadline);
  size_t pending() const;
  int fd() const { return event_; }

 private:
  void run();
  static Completion perform(const Job& job);
  static uint64_t bytes_of(const Job& job);

  const Limits limits_;
  int event_ = -1;
  mutable std::mutex mutex_;
  std::condition_variable work_, done_;
  std::deque<Job> queue_;
  std::unordered_set<uint64_t> open_;
  std::vector<Completion> completed_;
  uint64_t last_id_ = 0;
  uint64_t bytes_ = 0;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace kvtier::python
