// Serving one session's rings. Core thread. Never waits for the client, never takes more than its
// budget in a turn, and takes no request for whose completion there is no room.
#pragma once

#include "daemon/session/connection.hpp"
#include "daemon/session/doorbell.hpp"
#include "daemon/session/requests.hpp"

namespace kvtier::daemon {

class RingServer {
 public:
  // Besides the number of requests: bytes of arguments that a session can have copied in a turn,
  // give or take one request.
  static constexpr uint64_t kBytesPerTurnMax = wire::MiB;

  explicit RingServer(Core& core) : core_(core), decoder_(core) {}

  // Takes requests of an attached session, at most `requests_max`, and answers them. Sets
  // Connection::more and stalled. Returns the number; a broken ring ends the session (Core knows).
  uint32_t serve(Connection& connection, uint64_t requests_max);

  // The answer to a request that was taken earlier. The session is attached.
  void complete(Connection& connection, const PrefetchAnswer& done);

  // Whether there is something in the submission ring that could be taken.
  static bool has_requests(const Connection& connection);

  // The two halves of falling asleep, docs/protocol.md section 5: after announce() of all sessions
  // and a fence, has_requests() of each once more.
  static void announce_sleep(const Connection& connection);
  static void take_back_sleep(const Connection& connection);

  // Now and then, see Doorbell.
  void rest() { doorbell_.rest(); }

 private:
  bool room_for_completions(const Session& session, uint32_t* room);
  void answer(Session& session, const wire::Completion& completion);
  void wake(Connection& connection);

  Core& core_;
  RequestDecoder decoder_;
  Doorbell doorbell_;
};

}  // namespace kvtier::daemon
