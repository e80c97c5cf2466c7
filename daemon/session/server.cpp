// One turn of the loop. Sleep follows docs/protocol.md section 5: sessions that are not active have
// need_wake set since they were last found empty, so only the active ones are announced and looked
// at again before the wait, and an idle daemon's turn does not grow with its sessions.
#include "daemon/session/server.hpp"

#include <fcntl.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <limits>

#include "daemon/log/log.hpp"

namespace kvtier::daemon {
namespace {

double milliseconds(uint64_t nanoseconds) {
  return static_cast<double>(nanoseconds) * 1e-6;
}

}  // namespace

Server::Server(ServerOptions options, Core& core, Executor& executor, const Clock& clock,
               Poller poller)
    : options_(std::move(options)),
      core_(core),
      executor_(executor),
      clock_(clock),
      poller_(std::move(poller)),
      messages_(core),
      rings_(core) {}

Server::~Server() {
  mailbox_->close();
}

Result<std::unique_ptr<Server>> Server::create(ServerOptions options, Core& core,
                                               Executor& executor, const Clock& clock) {
  Result<Poller> poller = Poller::create();
  if (!poller.ok()) return poller.error();
  Result<std::unique_ptr<CoreMailbox>> mailbox = CoreMailbox::create();
  if (!mailbox.ok()) return mailbox.error();
  std::unique_ptr<Server> server(
      new Server(std::move(options), core, executor, clock, std::move(poller).value()));
  server->mailbox_ = std::move(mailbox).value();
  if (Status ready = server->prepare(); !ready) return ready.error();
  return server;
}

Status Server::prepare() {
  const uint64_t now = clock_.now_ns();
  next_tick_ns_ = now + Core::kTickNs;
  worked_ns_ = now;
  if (Status s = poller_.add(mailbox_->fd(), {Source::kMailbox, 0}); !s) return s;
  if (executor_.completion_fd() >= 0) {
    if (Status s = poller_.add(executor_.completion_fd(), {Source::kExecutor, 0}); !s) return s;
  }
  Tier* tier = core_.lower_tier();
  tier_fd_ = tier == nullptr ? -1 : tier->completion_fd();
  if (tier_fd_ >= 0) {
    if (Status s = poller_.add(tier_fd_, {Source::kTier, 0}); !s) return s;
  }
  reserve_ = Fd(::fcntl(mailbox_->fd().get(), F_DUPFD_CLOEXEC, 0));
  if (!reserve_) return Error::system(errno, "keeping a descriptor in reserve");
  if (Status s = watch_orphans(); !s) return s;
  if (!options_.signals) return {};
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  signals_ = Fd(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!signals_) return Error::system(errno, "listening to signals");
  return poller_.add(signals_, {Source::kSignal, 0});
}

Status Server::listen(Listener listener) {
  const uint64_t number = doors_.size();
  if (Status s = poller_.add(listener.fd(), {Source::kListener, number}); !s) return s;
  doors_.push_back({std::move(listener), 0});
  return {};
}

void Server::run() {
  while (turn(Poller::kForever)) {
  }
}

void Server::stop() {
  stop_wanted_.store(true, std::memory_order_relaxed);
  mailbox_->poke();
}

bool Server::turn(uint64_t wait_ns_max) {
  if (life_ == Life::kStopped) return false;
  const std::span<const Ready> ready = poller_.wait(std::min(prepare_to_sleep(), wait_ns_max));
  const uint64_t begin = clock_.now_ns();
  for (const Ready& one : ready) dispatch(one);
  // An executor without a descriptor does its work here.
  if (executor_.completion_fd() < 0) executor_.complete();
  serve_rings();
  if (core_.tier_wait_ns() != UINT64_MAX) core_.poll_tier();
  if (clock_.now_ns() >= core_.next_deadline_ns()) core_.expire_prefetches();
  answer_prefetches();
  end_killed_sessions();
  keep_house(clock_.now_ns());
  core_.submit_transfers();
  measure_turn(begin);
  return life_ != Life::kStopped;
}

void Server::dispatch(Ready ready) {
  switch (ready.source) {
    case Source::kListener:
      if (life_ == Life::kServing) accept_some(doors_[ready.number]);
      return;
    case Source::kExecutor:
      executor_.complete();
      return;
    case Source::kMailbox:
      mailbox_->run(core_);
      return;
    case Source::kSignal:
      read_signals();
      return;
    case Source::kTier:
      core_.poll_tier();
      return;
    case Source::kSocket:
    case Source::kSubmission:
    case Source::kProcess:
      break;
  }
  Connection* connection = find(ready.number);
  if (connection == nullptr) return;  // went earlier in this turn
  if (ready.source == Source::kSocket) receive_some(*connection);
  if (ready.source == Source::kSubmission) activate(*connection);
  if (ready.source == Source::kProcess) process_ended(*connection);
}

void Server::activate(Connection& connection) {
  if (connection.active || !connection.serving()) return;
  connection.active = true;
  connection.stalled = false;
  RingServer::take_back_sleep(connection);
  connection.served_ns = clock_.now_ns();
  active_.push_back(&connection);
}

void Server::serve_rings() {
  uint64_t served = 0;
  for (Connection* connection : active_) {
    if (!connection->serving()) continue;
    const uint32_t count = rings_.serve(*connection, core_.config().session.requests_per_turn);
    if (count != 0) connection->served_ns = clock_.now_ns();
    served += count;
  }
  if (served != 0) worked_ns_ = clock_.now_ns();
}

// How long the loop may wait. Afterwards every session is either active, or has announced that the
// daemon sleeps and was found empty after the fence.
uint64_t Server::prepare_to_sleep() {
  const uint64_t now = clock_.now_ns();
  if (stop_wanted_.load(std::memory_order_relaxed) && life_ == Life::kServing) return 0;
  if (!nothing_in_rings(now)) return 0;
  if (executor_.completion_fd() < 0 && executor_.pending() > 0) return 0;
  const uint64_t deadline = next_deadline(now);
  return deadline > now ? std::min(deadline - now, core_.tier_wait_ns()) : 0;
}

bool Server::nothing_in_rings(uint64_t now_ns) {
  const uint64_t spin_ns = core_.config().daemon.spin_ns;
  std::erase_if(active_, [](Connection* connection) {
    const bool ends = !connection->serving() || connection->stalled;
    if (ends) connection->active = false;
    if (connection->stalled && connection->serving()) RingServer::announce_sleep(*connection);
    return ends;
  });
  for (const Connection* connection : active_) {
    if (connection->more || now_ns < connection->served_ns + spin_ns) return false;
  }
  for (const Connection* connection : active_) RingServer::announce_sleep(*connection);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // W1
  std::erase_if(active_, [](Connection* connection) {
    connection->active = RingServer::has_requests(*connection);
    if (connection->active) RingServer::take_back_sleep(*connection);
    return !connection->active;
  });
  return active_.empty();
}

uint64_t Server::next_deadline(uint64_t now_ns) const {
  uint64_t deadline = std::min(next_tick_ns_, core_.next_deadline_ns());
  if (life_ == Life::kDraining) {
    deadline = std::min({deadline, drain_deadline_ns_,
                         now_ns < drain_rings_until_ns_ ? drain_rings_until_ns_ : UINT64_MAX});
  }
  if (!greetings_.empty()) {
    const auto oldest = connections_.find(greetings_.front());
    if (oldest != connections_.end()) {
      deadline = std::min(deadline, oldest->second->accepted_ns + options_.attach_deadline_ns);
    }
  }
  for (const Door& door : doors_) {
    if (door.closed_until_ns != 0) deadline = std::min(deadline, door.closed_until_ns);
  }
  return deadline;
}

// Requests that the core answered in this turn.
void Server::answer_prefetches() {
  for (const PrefetchAnswer& answer : core_.take_prefetch_answers()) {
    const auto asked = by_session_.find(answer.session);
    if (asked != by_session_.end() && asked->second->serving()) {
      rings_.complete(*asked->second, answer);
    }
  }
}

void Server::measure_turn(uint64_t begin_ns) {
  CoreCounters& counters = core_.counters();
  const uint64_t turn_ns = clock_.now_ns() - begin_ns;
  ++counters.turns;
  counters.turn_ns_max = std::max(counters.turn_ns_max, turn_ns);
  if (turn_ns > kSlowTurnNs) {
    log_event(LogCode::kCoreSlow, "a turn took {:.1f} ms", milliseconds(turn_ns));
  }
}

}  // namespace kvtier::daemon
