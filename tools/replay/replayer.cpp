#include "tools/replay/replayer.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace kvtier::tools {
namespace {

constexpr size_t kQueueRequestsMax = 32;
constexpr auto kProgressEvery = std::chrono::milliseconds(100);
constexpr auto kStopSeenWithin = std::chrono::milliseconds(50);

// Requests dealt to one client and not served yet.
class RequestQueue {
 public:
  // False when there is no room before `until`.
  bool push(TraceRequest& request, Clock::time_point until) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_until(lock, until, [this] { return requests_.size() < kQueueRequestsMax; }))
      return false;
    requests_.push_back(std::move(request));
    changed_.notify_all();
    return true;
  }
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }
  // False when it is closed and empty.
  bool pop(TraceRequest& request) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || !requests_.empty(); });
    if (requests_.empty()) return false;
    request = std::move(requests_.front());
    requests_.pop_front();
    changed_.notify_all();
    return true;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<TraceRequest> requests_;
  bool closed_ = false;
};

struct Worker {
  std::unique_ptr<ReplayClient> client;
  RequestQueue queue;
  std::thread thread;
  std::optional<Error> ended_by;
};

class Replay {
 public:
  Replay(const ReplayPlan& plan, const std::atomic<bool>& interrupted, const ShowProgress& show)
      : plan_(plan), interrupted_(interrupted), show_(show) {}

  Status open();
  ReplayOutcome run(TraceSource& source);

 private:
  void serve(Worker& worker);
  std::optional<Error> deal(TraceSource& source);
  bool wait_until_due(const TraceRequest& request);
  bool stopped() { return stop_ || check_interrupted(); }
  bool check_interrupted() {
    if (interrupted_) stop_ = true;
    return stop_;
  }
  void tick();
  double seconds() const { return std::chrono::duration<double>(Clock::now() - began_).count(); }

  const ReplayPlan& plan_;
  const std::atomic<bool>& interrupted_;
  const ShowProgress& show_;
  std::atomic<bool> stop_{false};
  std::deque<Worker> workers_;
  std::atomic<uint64_t> requests_{0}, asked_{0}, hit_{0};
  std::atomic<uint32_t> running_{0};
  Clock::time_point began_{}, shown_{};
  std::optional<uint64_t> first_timestamp_ms_;
};

Status Replay::open() {
  for (uint32_t i = 0; i < plan_.clients; ++i) {
    ReplayClientOptions options = plan_.client;
    options.name = "replay " + std::to_string(i + 1) + " of " + std::to_string(plan_.clients);
    auto client = ReplayClient::open(options, stop_);
    if (!client) return client.error();
    workers_.emplace_back().client = *std::move(client);
  }
  return {};
}

void Replay::serve(Worker& worker) {
  TraceRequest request;
  uint64_t hit = 0;
  while (worker.queue.pop(request)) {
    if (stop_) continue;  // empties the queue
    const Status served = worker.client->serve(request);
    const uint64_t hit_now = worker.client->totals().blocks_hit;
    requests_ += 1;
    asked_ += request.hash_ids.size();
    hit_ += hit_now - hit;
    hit = hit_now;
    if (served) continue;
    worker.ended_by = served.error();
    stop_ = true;
  }
  --running_;
}

void Replay::tick() {
  const auto now = Clock::now();
  if (!show_ || now - shown_ < kProgressEvery) return;
  shown_ = now;
  show_({requests_, asked_, hit_, seconds()});
}

// False when the replay was stopped meanwhile.
bool Replay::wait_until_due(const TraceRequest& request) {
  if (!first_timestamp_ms_) first_timestamp_ms_ = request.timestamp_ms;
  if (request.timestamp_ms <= *first_timestamp_ms_) return true;
  const double after_s =
      static_cast<double>(request.timestamp_ms - *first_timestamp_ms_) / 1e3 / *plan_.paced;
  while (!stopped()) {
    tick();
    const double left_s = after_s - seconds();
    if (left_s <= 0) return true;
    std::this_thread::sleep_for(std::min<std::chrono::duration<double>>(
        std::chrono::duration<double>(left_s), kStopSeenWithin));
  }
  return false;
}

// Reads and deals until the end; the error of the trace, if it has one.
std::optional<Error> Replay::deal(TraceSource& source) {
  TraceRequest request;
  for (uint64_t number = 0; !stopped(); ++number) {
    if (plan_.requests_max && number >= *plan_.requests_max) return {};
    const auto more = source.next(request);
    if (!more) return more.error();
    if (!*more) return {};
    if (plan_.paced && !wait_until_due(request)) return {};
    RequestQueue& queue = workers_[number % workers_.size()].queue;
    while (!stopped() && !queue.push(request, Clock::now() + kStopSeenWithin)) tick();
    tick();
  }
  return {};
}

ReplayOutcome Replay::run(TraceSource& source) {
  began_ = Clock::now();
  running_ = plan_.clients;
  for (Worker& worker : workers_) worker.thread = std::thread([&] { serve(worker); });
  ReplayOutcome outcome;
  outcome.ended_by = deal(source);
  for (Worker& worker : workers_) worker.queue.close();
  while (running_ > 0) {
    check_interrupted();
    tick();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  outcome.seconds = seconds();
  outcome.interrupted = interrupted_;
  for (Worker& worker : workers_) {
    worker.thread.join();
    outcome.totals.add(worker.client->totals());
    if (!outcome.ended_by) outcome.ended_by = worker.ended_by;
  }
  if (show_) show_({requests_, asked_, hit_, outcome.seconds});
  return outcome;
}

}  // namespace

Result<ReplayOutcome> replay(TraceSource& source, const ReplayPlan& plan,
                             const std::atomic<bool>& interrupted, const ShowProgress& show) {
  Replay run(plan, interrupted, show);
  if (Status status = run.open(); !status) return status.error();
  return run.run(source);
}

}  // namespace kvtier::tools
