// The core thread's loop: listening sockets, connections, rings, completions of workers, calls of
// the admin thread, signals and time. One turn never waits for a client, gives each session the
// same budget, and does a bounded amount of everything. Core thread, except where noted.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/core/core.hpp"
#include "daemon/session/connection.hpp"
#include "daemon/session/listener.hpp"
#include "daemon/session/mailbox.hpp"
#include "daemon/session/messages.hpp"
#include "daemon/session/poller.hpp"
#include "daemon/session/rings.hpp"

namespace kvtier::daemon {

struct ServerOptions {
  // Serve SIGTERM, SIGINT (drain) and SIGHUP (on_reload); the caller has blocked them in every
  // thread.
  bool signals = false;
  std::function<void()> on_reload;
  std::function<void()> on_drain;  // when it begins
  // After every tick of the core, at least once in idle_tick_ns while the loop turns: whoever
  // watches over the loop is told here and nowhere else.
  std::function<void(uint64_t now_ns)> on_tick;
  uint64_t idle_tick_ns = 1'000'000'000;        // instead of Core::kTickNs, without any work
  uint64_t attach_deadline_ns = 2'000'000'000;  // from the connect to a complete attach
};

class Server {
 public:
  static constexpr size_t kAcceptsPerTurnMax = 16;
  static constexpr size_t kMessagesPerTurnMax = 4;         // of one connection
  static constexpr size_t kGreetingsMax = 256;             // connected, not attached yet
  static constexpr uint64_t kAcceptPauseNs = 100'000'000;  // when descriptors have run out
  static constexpr uint64_t kIdleAfterNs = 2'000'000'000;  // without any work
  static constexpr uint64_t kSlowTurnNs = 100'000'000;     // worth a line in the log

  // `core`, `executor` and `clock` outlive the server. Errors: system.
  static Result<std::unique_ptr<Server>> create(ServerOptions options, Core& core,
                                                Executor& executor, const Clock& clock);
  ~Server();

  // Serves another listening socket, or one connection that exists already (for tests).
  Status listen(Listener listener);
  void adopt(Fd socket, const std::string& tenant);

  // Until drained after SIGTERM or stop().
  void run();
  // One turn; waits at most `wait_ns_max` for something to do. False once drained.
  bool turn(uint64_t wait_ns_max);
  // Any thread: as SIGTERM.
  void stop();

  // For the admin thread.
  Mailbox& mailbox() { return *mailbox_; }

  size_t connection_count() const { return connections_.size(); }

 private:
  using Connections = std::unordered_map<uint64_t, std::unique_ptr<Connection>>;
  enum class Life : uint8_t { kServing, kDraining, kStopped };
  struct Door {
    Listener listener;
    uint64_t closed_until_ns = 0;  // 0: open
  };

  Server(ServerOptions options, Core& core, Executor& executor, const Clock& clock, Poller poller);
  Status prepare();
  Status watch_orphans();

  // server.cpp: the loop
  void dispatch(Ready ready);
  uint64_t prepare_to_sleep();
  bool nothing_in_rings(uint64_t now_ns);
  uint64_t next_deadline(uint64_t now_ns) const;
  void serve_rings();
  void answer_prefetches();
  void measure_turn(uint64_t begin_ns);

  // server_time.cpp: what happens by time, and the end
  void keep_house(uint64_t now_ns);
  void tick(uint64_t now_ns);
  void read_signals();
  void drain(uint64_t now_ns);
  void advance_drain(uint64_t now_ns);

  // server_connections.cpp
  void accept_some(Door& door);
  void refuse_without_descriptors(Door& door);
  void close_door(Door& door);
  void reopen_doors(uint64_t now_ns);
  bool too_many_greetings(uint32_t uid) const;
  void receive_some(Connection& connection);
  bool receive_one(Connection& connection);
  void dispose(std::vector<Fd> strange);
  void attached(Connection& connection);
  void close_socket(Connection& connection);
  void process_ended(Connection& connection);
  void forget(Connection& connection);
  void end_killed_sessions();
  void drop_late_greetings(uint64_t now_ns);
  void activate(Connection& connection);
  Connection* find(uint64_t number);

  ServerOptions options_;
  Core& core_;
  Executor& executor_;
  const Clock& clock_;
  Poller poller_;
  MessageServer messages_;
  RingServer rings_;
  std::unique_ptr<CoreMailbox> mailbox_;
  Fd signals_;
  int tier_fd_ = -1;  // of the lower tier; -1: it is polled every turn
  Fd reserve_;        // given up for a moment when there are no others
  std::vector<Door> doors_;
  Connections connections_;
  std::unordered_map<uint32_t, Connection*> by_session_;
  std::vector<Connection*> active_;
  std::vector<uint64_t> greetings_;  // numbers of connections without a session, oldest first
  uint64_t next_number_ = 1;
  Life life_ = Life::kServing;
  std::atomic<bool> stop_wanted_{false};
  uint64_t drain_deadline_ns_ = 0;
  uint64_t drain_rings_until_ns_ = 0;
  uint64_t next_tick_ns_ = 0;
  uint64_t worked_ns_ = 0;  // when there was something to do last
};

}  // namespace kvtier::daemon
