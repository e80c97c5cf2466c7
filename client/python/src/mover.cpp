// The moving threads and their binding, kvtier.Mover.
#include "client/python/src/mover.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <csignal>
#include <system_error>

#include "client/python/src/paged.hpp"

namespace kvtier::python {

Mover::Mover(Limits limits) : limits_(limits), event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (event_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  // Signals are the engine's: its own threads take them.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (size_t i = 0; i < limits_.threads; ++i) threads_.emplace_back([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Mover::~Mover() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    queue_.clear();
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  close(event_);
}

uint64_t Mover::bytes_of(const Job& job) {
  return job.space->spec().chunk_bytes * job.chunks.size();
}

uint64_t Mover::submit(Job job) {
  const uint64_t bytes = bytes_of(job);
  const std::lock_guard lock(mutex_);
  if (open_.size() >= limits_.jobs_max || (bytes_ > 0 && bytes_ + bytes > limits_.bytes_max)) {
    return 0;
  }
  const uint64_t id = ++last_id_;
  job.id = id;
  bytes_ += bytes;
  open_.insert(id);
  queue_.push_back(std::move(job));
  work_.notify_one();
  return id;
}

std::vector<Completion> Mover::poll() {
  uint64_t count;
  const std::lock_guard lock(mutex_);
  if (read(event_, &count, sizeof count) < 0 && errno != EAGAIN) std::abort();
  return std::exchange(completed_, {});
}

bool Mover::wait(const std::vector<uint64_t>& ids, Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  const auto closed = [&] {
    for (const uint64_t id : ids) {
      if (open_.count(id) != 0) return false;
    }
    return true;
  };
  if (deadline == Clock::time_point::max()) {
    done_.wait(lock, closed);
    return true;
  }
  return done_.wait_until(lock, deadline, closed);
}

size_t Mover::pending() const {
  const std::lock_guard lock(mutex_);
  return open_.size();
}

void Mover::run() {
  pthread_setname_np(pthread_self(), "kvtier-mover");
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [&] { return stop_ || !queue_.empty(); });
    if (stop_) return;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    Completion completion = perform(job);
    const uint64_t bytes = bytes_of(job);
    job = {};  // before it is announced: nothing of it is used any more
    lock.lock();
    bytes_ -= bytes;
    open_.erase(completion.id);
    completed_.push_back(std::move(completion));
    const uint64_t one = 1;
    if (write(event_, &one, sizeof one) < 0 && errno != EAGAIN) std::abort();
    done_.notify_all();
  }
}

namespace {

void perform_load(const Job& job, Completion* completion) {
  const std::lock_guard turn(job.chain->turn);
  MatchOptions options;
  options.first = job.chunks.front();
  options.chunks_max = job.chunks.size();
  auto match = job.space->match(job.chain->chain, options);
  if (!match) {
    completion->ended = MissReason::kUnavailable;
    return;
  }
  completion->ended = match->ended();
  std::vector<LoadTarget> targets;
  for (size_t i = 0; i < match->chunks(); ++i) targets.push_back({i, job.fragments[i]});
  const auto loaded = job.space->load(*match, targets, job.deadline);
  if (!loaded) return;
  completion->chunks = loaded->chunks;
  completion->bytes = loaded->bytes;
}

void perform_store(const Job& job, Completion* completion) {
  const std::lock_guard turn(job.chain->turn);
  std::vector<std::vector<ConstFragment>> lists;
  std::vector<StoreSource> sources;
  lists.reserve(job.chunks.size());
  for (size_t i = 0; i < job.chunks.size(); ++i) {
    lists.emplace_back();
    for (const Fragment& part : job.fragments[i]) lists.back().push_back({part.data, part.bytes});
    sources.push_back({job.chunks[i], lists.back()});
  }
  auto outcomes = job.space->store(job.chain->chain, sources, job.deadline);
  completion->outcomes =
      outcomes ? std::move(outcomes).value() : std::vector(sources.size(), StoreOutcome::kFailed);
  for (const StoreOutcome outcome : completion->outcomes) {
    if (outcome == StoreOutcome::kStored) ++completion->chunks;
  }
  completion->bytes = completion->chunks * job.space->spec().chunk_bytes;
}

void perform_prefetch(const Job& job, Completion* completion) {
  const std::lock_guard turn(job.chain->turn);
  const auto brought =
      job.space->prefetch(job.chain->chain, job.chunks.front(), job.chunks.size(), job.deadline);
  if (brought) completion->chunks = *brought;
}

}  // namespace

Completion Mover::perform(const Job& job) {
  Completion completion;
  completion.id = job.id;
  completion.kind = job.kind;
  const Clock::time_point begin = Clock::now();
  try {
    if (job.kind == JobKind::kLoad) perform_load(job, &completion);
    if (job.kind == JobKind::kStore) perform_store(job, &completion);
    if (job.kind == JobKind::kPrefetch) perform_prefetch(job, &completion);
  } catch (const std::bad_alloc&) {
    completion.chunks = 0;
    if (job.kind == JobKind::kStore) {
      completion.outcomes.assign(job.chunks.size(), StoreOutcome::kFailed);
    }
  }
  completion.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return completion;
}

namespace {

std::vector<size_t> range(const PyChain& chain, size_t first, size_t count) {
  if (first > chain.chain.size() || count > chain.chain.size() - first) {
    throw WrongUse(Code::kInvalidArgument, "the chain has fewer chunks");
  }
  std::vector<size_t> chunks(count);
  for (size_t i = 0; i < count; ++i) chunks[i] = first + i;
  return chunks;
}

std::optional<uint64_t> submit(Mover& self, Job job) {
  if (job.chunks.empty()) throw WrongUse(Code::kInvalidArgument, "a job without chunks");
  const uint64_t id = self.submit(std::move(job));
  return id == 0 ? std::nullopt : std::optional(id);
}

// The fragments of whole blocks, chunk after chunk.
void place(Job* job, const PagedLayout& layout, const std::vector<int64_t>& blocks) {
  if (job->chunks.empty()) return;
  job->fragments = chunk_fragments(layout, blocks, job->chunks.size());
  const uint64_t bytes = layout.block_bytes * (blocks.size() / job->chunks.size());
  if (bytes != job->space->spec().chunk_bytes) {
    throw WrongUse(Code::kInvalidArgument, "the blocks of a chunk have " + std::to_string(bytes) +
                                               " bytes, the space says " +
                                               std::to_string(job->space->spec().chunk_bytes));
  }
}

std::optional<uint64_t> submit_load(Mover& self, const PySpace& space,
                                    const std::shared_ptr<PyChain>& chain, size_t first,
                                    size_t count, const PagedLayout& layout,
                                    const std::vector<int64_t>& blocks,
                                    std::optional<double> timeout) {
  Job job;
  job.space = space.use();
  job.chain = chain;
  job.chunks = range(*chain, first, count);
  job.deadline = deadline_of(timeout);
  place(&job, layout, blocks);
  return submit(self, std::move(job));
}

std::optional<uint64_t> submit_store(Mover& self, const PySpace& space,
                                     const std::shared_ptr<PyChain>& chain,
                                     std::vector<size_t> chunks, const PagedLayout& layout,
                                     const std::vector<int64_t>& blocks,
                                     std::optional<double> timeout) {
  for (const size_t chunk : chunks) (void)range(*chain, chunk, 1);
  Job job;
  job.kind = JobKind::kStore;
  job.space = space.use();
  job.chain = chain;
  job.chunks = std::move(chunks);
  job.deadline = deadline_of(timeout);
  place(&job, layout, blocks);
  return submit(self, std::move(job));
}

std::optional<uint64_t> submit_prefetch(Mover& self, const PySpace& space,
                                        const std::shared_ptr<PyChain>& chain, size_t first,
                                        size_t count, std::optional<double> timeout) {
  Job job;
  job.kind = JobKind::kPrefetch;
  job.space = space.use();
  job.chain = chain;
  job.chunks = range(*chain, first, count);
  job.deadline = deadline_of(timeout);
  return submit(self, std::move(job));
}

bool wait(Mover& self, const std::vector<uint64_t>& ids, std::optional<double> timeout) {
  const Clock::time_point deadline = deadline_of(timeout);
  py::gil_scoped_release unlocked;
  return self.wait(ids, deadline);
}

// Its destructor waits for the job that runs.
struct WithoutGil {
  void operator()(Mover* last) const {
    py::gil_scoped_release unlocked;
    delete last;
  }
};

}  // namespace

void bind_mover(py::module_& module) {
  py::class_<Completion>(module, "Completion")
      .def_readonly("id", &Completion::id)
      .def_property_readonly("kind",
                             [](const Completion& c) {
                               if (c.kind == JobKind::kPrefetch) return "prefetch";
                               return c.kind == JobKind::kStore ? "store" : "load";
                             })
      .def_readonly("chunks", &Completion::chunks)
      .def_readonly("bytes", &Completion::bytes)
      .def_readonly("seconds", &Completion::seconds)
      .def_property_readonly("ended", [](const Completion& c) { return miss_reason_name(c.ended); })
      .def_property_readonly("outcomes", [](const Completion& c) {
        std::vector<const char*> list;
        for (const StoreOutcome outcome : c.outcomes) list.push_back(store_outcome_name(outcome));
        return list;
      });
  const auto timeout = py::arg_v("timeout", py::none());
  py::class_<Mover, std::unique_ptr<Mover, WithoutGil>>(module, "Mover")
      .def(py::init([](size_t jobs_max, uint64_t bytes_max, size_t threads) {
             if (threads < 1 || threads > 64) {
               throw WrongUse(Code::kInvalidArgument, "threads is not in 1 .. 64");
             }
             return std::unique_ptr<Mover, WithoutGil>(new Mover({jobs_max, bytes_max, threads}));
           }),
           py::kw_only(), py::arg("jobs_max") = 64, py::arg("bytes_max") = uint64_t{1} << 30,
           py::arg("threads") = 1)
      .def("submit_load", &submit_load, py::arg("space"), py::arg("chain"), py::arg("first"),
           py::arg("count"), py::arg("layout"), py::arg("blocks"), timeout)
      .def("submit_store", &submit_store, py::arg("space"), py::arg("chain"), py::arg("chunks"),
           py::arg("layout"), py::arg("blocks"), timeout)
      .def("submit_prefetch", &submit_prefetch, py::arg("space"), py::arg("chain"),
           py::arg("first"), py::arg("count"), timeout)
      .def("poll", &Mover::poll)
      .def("wait", &wait, py::arg("ids"), timeout)
      .def_property_readonly("pending", &Mover::pending)
      .def("fileno", &Mover::fd);
}

}  // namespace kvtier::python
