// What happens by time and by signal: ticks, overdue connections, the orderly end. Core thread.
#include <sys/signalfd.h>

#include <algorithm>
#include <csignal>

#include "daemon/log/log.hpp"
#include "daemon/session/server.hpp"

namespace kvtier::daemon {
namespace {

// An orderly end answers what is in the rings already; clients that keep asking do not delay it.
constexpr uint64_t kDrainRingsNs = 100'000'000;

}  // namespace

void Server::keep_house(uint64_t now_ns) {
  if (now_ns >= next_tick_ns_) tick(now_ns);
  drop_late_greetings(now_ns);
  reopen_doors(now_ns);
  if (life_ == Life::kServing && stop_wanted_.load(std::memory_order_relaxed)) drain(now_ns);
  if (life_ == Life::kDraining) advance_drain(now_ns);
}

void Server::tick(uint64_t now_ns) {
  CoreCounters& counters = core_.counters();
  counters.loop_lag_ns_max = std::max(counters.loop_lag_ns_max, now_ns - next_tick_ns_);
  for (const auto& [id, connection] : by_session_) {
    if (!connection->serving()) continue;
    // Touches come without an event; they are work, too.
    const uint32_t touches =
        connection->session->memory.header().touch_tail.load(std::memory_order_relaxed);
    if (touches != connection->session->touch_head) worked_ns_ = now_ns;
    if (connection->stalled) activate(*connection);
  }
  core_.tick();
  rings_.rest();
  const bool idle = by_session_.empty() || now_ns > worked_ns_ + kIdleAfterNs;
  next_tick_ns_ =
      now_ns + (idle && executor_.pending() == 0 && !core_.tier_active() ? options_.idle_tick_ns
                                                                         : Core::kTickNs);
  if (options_.on_tick) options_.on_tick(now_ns);
}

void Server::read_signals() {
  signalfd_siginfo info = {};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGHUP) {
      if (options_.on_reload) options_.on_reload();
    } else if (life_ == Life::kServing) {
      stop_wanted_.store(true, std::memory_order_relaxed);
    } else {
      drain_deadline_ns_ = 0;  // asked twice: at once
    }
  }
}

void Server::drain(uint64_t now_ns) {
  life_ = Life::kDraining;
  drain_deadline_ns_ = now_ns + core_.config().daemon.drain_timeout_ns;
  drain_rings_until_ns_ = now_ns + kDrainRingsNs;
  core_.set_draining(true);
  for (Door& door : doors_) close_door(door);
  if (options_.on_drain) options_.on_drain();
  log_event(LogCode::kDraining, "stopping: {} sessions, {} jobs under way", by_session_.size(),
            executor_.pending());
}

void Server::advance_drain(uint64_t now_ns) {
  const size_t jobs = executor_.pending();
  const bool overdue = now_ns >= drain_deadline_ns_;
  const bool rings_done = active_.empty() || now_ns >= drain_rings_until_ns_;
  if (!overdue && (!rings_done || jobs != 0)) return;
  if (jobs != 0) {
    log_event(LogCode::kDrainTimeout, "{} jobs were still under way; stopping without them", jobs);
  }
  core_.close();
  mailbox_->close();
  life_ = Life::kStopped;
}

}  // namespace kvtier::daemon
