// See rings.hpp. The daemon's own positions are in Session; the words in the memory are what it
// tells the client. Invariant: submission_head <= tail as last read <= submission_head + entries.
#include "daemon/session/rings.hpp"

#include <algorithm>

#include "daemon/session/copy_once.hpp"

namespace kvtier::daemon {
namespace {

uint32_t submissions_waiting(const Session& session) {
  const uint32_t tail = session.memory.header().submission_tail.load(std::memory_order_acquire);
  return tail - session.submission_head;
}

}  // namespace

uint32_t RingServer::serve(Connection& connection, uint64_t requests_max) {
  Session& session = *connection.session;
  connection.more = false;
  connection.stalled = false;
  const uint32_t waiting = submissions_waiting(session);
  uint32_t room = 0;
  if (waiting > session.memory.layout().submission_entries ||
      !room_for_completions(session, &room)) {
    core_.protocol_error(session);
    return 0;
  }
  if (waiting == 0) return 0;
  core_.drain_touches(session);  // those logged before the tail was written are behind it
  const auto count = static_cast<uint32_t>(std::min<uint64_t>({waiting, room, requests_max}));
  decoder_.take_bytes_copied();
  uint64_t bytes = 0;
  uint32_t taken = 0;
  while (taken < count && bytes < kBytesPerTurnMax && session.state == SessionState::kAttached) {
    wire::Submission request;
    copy_once(&request, &session.memory.submission(session.submission_head), sizeof request);
    ++session.submission_head;
    session.memory.header().submission_head.store(session.submission_head,
                                                  std::memory_order_release);
    if (const auto completion = decoder_.carry_out(session, request)) answer(session, *completion);
    bytes += decoder_.take_bytes_copied();
    ++taken;
  }
  connection.stalled = room == 0;
  connection.more = !connection.stalled && taken < waiting;
  if (taken > 0) wake(connection);
  return taken;
}

void RingServer::complete(Connection& connection, const PrefetchAnswer& done) {
  Session& session = *connection.session;
  --session.unanswered;
  wire::Completion completion = {};
  completion.user_data = done.user_data;
  completion.status = static_cast<int32_t>(done.status);
  completion.count = done.count;
  completion.a = done.count;
  completion.b = done.retry_after_us;
  answer(session, completion);
  wake(connection);
}

bool RingServer::has_requests(const Connection& connection) {
  return submissions_waiting(*connection.session) != 0;
}

void RingServer::announce_sleep(const Connection& connection) {
  connection.session->memory.header().daemon_need_wake.store(1, std::memory_order_relaxed);
}

void RingServer::take_back_sleep(const Connection& connection) {
  connection.session->memory.header().daemon_need_wake.store(0, std::memory_order_relaxed);
}

bool RingServer::room_for_completions(const Session& session, uint32_t* room) {
  const uint32_t head = session.memory.header().completion_head.load(std::memory_order_acquire);
  const uint32_t used = session.completion_tail - head;
  const uint32_t entries = session.memory.layout().completion_entries;
  if (used > entries) return false;
  // Requests that are answered later have their room already.
  *room = entries - used - std::min(session.unanswered, entries - used);
  return true;
}

void RingServer::answer(Session& session, const wire::Completion& completion) {
  session.memory.completion(session.completion_tail) = completion;
  ++session.completion_tail;
  session.memory.header().completion_tail.store(session.completion_tail, std::memory_order_release);
}

void RingServer::wake(Connection& connection) {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // W2
  const wire::SessionHeader& header = connection.session->memory.header();
  if (header.client_need_wake.load(std::memory_order_relaxed) == 0) return;
  if (!doorbell_.ring(connection.completion_event)) core_.protocol_error(*connection.session);
}

}  // namespace kvtier::daemon
