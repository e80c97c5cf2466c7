// One connection to an attach socket and, once it has attached, its session. Core thread; owned by
// Server. Outlives its socket: a session whose socket has closed stays until its process has ended.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/core/session.hpp"
#include "daemon/memory/fd.hpp"
#include "daemon/session/peer.hpp"

namespace kvtier::daemon {

struct Connection {
  uint64_t number = 0;  // never used twice
  Fd socket;            // empty once closed
  Peer peer;
  std::string tenant;  // of the listening socket; empty: by uid
  uint64_t accepted_ns = 0;

  Session* session = nullptr;  // null until attached
  Fd submission_event;         // written by the client, never read: every write wakes us
  Fd completion_event;         // written by us, read by the client

  // Ring service. Active: looked at every turn, and its need_wake flag is 0. Otherwise the flag is
  // 1, so that the next request comes with an event.
  bool active = false;
  bool more = false;     // its turn ended before its requests did
  bool stalled = false;  // no room for completions: looked at again at the next tick
  uint64_t served_ns = 0;

  bool serving() const {
    return session != nullptr && session->state == SessionState::kAttached && socket;
  }
};

}  // namespace kvtier::daemon
