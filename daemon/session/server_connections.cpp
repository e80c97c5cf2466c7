// Connections: from accept to the end of the process behind them. Core thread.
#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "daemon/log/log.hpp"
#include "daemon/session/server.hpp"

namespace kvtier::daemon {
namespace {

bool out_of_descriptors(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

}  // namespace

Connection* Server::find(uint64_t number) {
  const auto found = connections_.find(number);
  return found == connections_.end() ? nullptr : found->second.get();
}

void Server::accept_some(Door& door) {
  for (size_t i = 0; i < kAcceptsPerTurnMax && door.listener.fd(); ++i) {
    Fd socket(::accept4(door.listener.fd().get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket) {
      adopt(std::move(socket), door.listener.tenant());
    } else if (out_of_descriptors(errno)) {
      refuse_without_descriptors(door);
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

// The reserve makes room to accept and to say why not; after a few the socket is left alone for a
// while, because what waits there would wake this thread again and again.
void Server::refuse_without_descriptors(Door& door) {
  const Error error(Code::kFull,
                    "the daemon has no free file descriptors: raise its LimitNOFILE, "
                    "or lower daemon.sessions_max");
  for (size_t i = 0; i < kAcceptsPerTurnMax; ++i) {
    reserve_.reset();
    Fd socket(::accept4(door.listener.fd().get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket) {
      ++core_.counters().accept_refused_fds;
      messages_.refuse(socket, error);
    }
    const bool accepted = static_cast<bool>(socket);
    socket.reset();
    reserve_ = Fd(::fcntl(mailbox_->fd().get(), F_DUPFD_CLOEXEC, 0));
    if (!accepted || !reserve_) break;
  }
  log_event(LogCode::kDescriptorsExhausted, "no free file descriptors with {} connections",
            connections_.size());
  poller_.remove(door.listener.fd());
  door.closed_until_ns = clock_.now_ns() + kAcceptPauseNs;
}

void Server::reopen_doors(uint64_t now_ns) {
  for (size_t i = 0; i < doors_.size(); ++i) {
    Door& door = doors_[i];
    if (door.closed_until_ns == 0 || now_ns < door.closed_until_ns) continue;
    if (!reserve_) reserve_ = Fd(::fcntl(mailbox_->fd().get(), F_DUPFD_CLOEXEC, 0));
    const Status added = poller_.add(door.listener.fd(), {Source::kListener, i});
    door.closed_until_ns = added.ok() ? 0 : now_ns + kAcceptPauseNs;
  }
}

void Server::close_door(Door& door) {
  poller_.remove(door.listener.fd());
  door.closed_until_ns = 0;
  door.listener.close();
}

bool Server::too_many_greetings(uint32_t uid) const {
  if (greetings_.size() >= kGreetingsMax) return true;
  const auto of_uid = std::count_if(greetings_.begin(), greetings_.end(), [&](uint64_t number) {
    return connections_.at(number)->peer.uid == uid;
  });
  // One user cannot keep the others out; what attached is counted and limited by the core.
  return static_cast<size_t>(of_uid) >= kGreetingsMax / 2;
}

// Sessions of the daemon before have no socket; what they held returns when they are given up or
// when their process has ended, which may have happened while no daemon ran.
Status Server::watch_orphans() {
  for (OrphanedSession& orphan : core_.take_orphans()) {
    auto connection = std::make_unique<Connection>();
    connection->number = next_number_++;
    connection->peer.pid = orphan.session->pid;
    connection->peer.uid = orphan.session->uid;
    connection->peer.pidfd = std::move(orphan.process);
    connection->accepted_ns = clock_.now_ns();
    connection->session = orphan.session;
    const Ready meaning = {Source::kProcess, connection->number};
    if (Status s = poller_.add(connection->peer.pidfd, meaning); !s) return s;
    by_session_[orphan.session->id] = connection.get();
    connections_.emplace(connection->number, std::move(connection));
  }
  return {};
}

void Server::adopt(Fd socket, const std::string& tenant) {
  Result<Peer> peer = identify_peer(socket);
  if (!peer.ok()) return messages_.refuse(socket, peer.error());
  if (too_many_greetings(peer->uid)) {
    return messages_.refuse(
        socket, Error::format(Code::kFull, "uid %u has too many connections that do not attach",
                              peer->uid));
  }
  auto connection = std::make_unique<Connection>();
  connection->number = next_number_++;
  connection->tenant = tenant;
  connection->peer = std::move(peer).value();
  connection->accepted_ns = clock_.now_ns();
  connection->socket = std::move(socket);
  if (!poller_.add(connection->socket, {Source::kSocket, connection->number}) ||
      !poller_.add(connection->peer.pidfd, {Source::kProcess, connection->number})) {
    return;  // out of kernel memory: the client tries again
  }
  greetings_.push_back(connection->number);
  connections_.emplace(connection->number, std::move(connection));
}

void Server::receive_some(Connection& connection) {
  for (size_t i = 0; i < kMessagesPerTurnMax; ++i) {
    if (!receive_one(connection)) return;
  }
}

// False when there is no more to receive now, or the connection is gone.
bool Server::receive_one(Connection& connection) {
  Packet packet;
  const Received received = receive_packet(connection.socket, &packet);
  std::vector<Fd> strange;
  if (received == Received::kNothing) return false;
  if (received == Received::kEnd) {
    dispose(std::move(packet.strange));
    close_socket(connection);
    return false;
  }
  worked_ns_ = clock_.now_ns();
  const Handled handled = messages_.handle(connection, packet);
  dispose(std::move(packet.strange));
  if (handled.given_up != 0) {
    const auto old = by_session_.find(handled.given_up);
    if (old != by_session_.end()) {
      old->second->session = nullptr;
      forget(*old->second);
    }
  }
  switch (handled.after) {
    case After::kOpen:
      return true;
    case After::kAttached:
      attached(connection);
      return connection.socket.get() >= 0;
    case After::kDetached:
      forget(connection);
      return false;
    case After::kClose:
      close_socket(connection);
      return false;
  }
  return false;
}

// Closing a descriptor of a stranger may wait for him (a lingering socket, a file system of his),
// so a worker does it.
void Server::dispose(std::vector<Fd> strange) {
  if (strange.empty()) return;
  const auto fds = std::make_shared<std::vector<Fd>>(std::move(strange));
  // When the workers' queue is full they are closed here, with the last reference to them.
  [[maybe_unused]] const bool queued = executor_.submit({[fds] { fds->clear(); }, [] {}});
}

void Server::attached(Connection& connection) {
  std::erase(greetings_, connection.number);
  by_session_[connection.session->id] = &connection;
  const Status watched = poller_.add(connection.submission_event,
                                     {Source::kSubmission, connection.number}, Trigger::kEdge);
  if (!watched) close_socket(connection);  // out of kernel memory: the client attaches again
}

// No more requests; leases and grants stay until the process has ended, or gives them up.
void Server::close_socket(Connection& connection) {
  poller_.remove(connection.socket);
  if (connection.session == nullptr) return forget(connection);
  core_.orphan_session(*connection.session);
  poller_.remove(connection.submission_event);
  connection.socket.reset();
  connection.submission_event.reset();
  connection.completion_event.reset();
}

void Server::process_ended(Connection& connection) {
  if (connection.session == nullptr) return forget(connection);
  Session& session = *connection.session;
  log_event(LogCode::kSessionEnded, "session {}: process {} has ended", session.id, session.pid);
  if (!session.grants.empty()) {
    log_event(LogCode::kClientDied, "process {} ended with {} grants", session.pid,
              session.grants.size());
  }
  worked_ns_ = clock_.now_ns();
  core_.remove_session(session);
  connection.session = nullptr;
  forget(connection);
}

void Server::forget(Connection& connection) {
  poller_.remove(connection.socket);
  poller_.remove(connection.submission_event);
  poller_.remove(connection.peer.pidfd);
  std::erase(active_, &connection);
  std::erase(greetings_, connection.number);
  std::erase_if(by_session_, [&](const auto& entry) { return entry.second == &connection; });
  connections_.erase(connection.number);
}

void Server::end_killed_sessions() {
  for (const uint32_t id : core_.take_ended_sessions()) {
    const auto found = by_session_.find(id);
    if (found == by_session_.end()) continue;
    const Session& session = *found->second->session;
    if (session.protocol_errors != 0) {
      log_event(LogCode::kProtocolError, "session {} of process {} broke its rings; ended", id,
                session.pid);
    } else {
      log_event(LogCode::kSessionEnded, "session {} of process {} was ended by an operator", id,
                session.pid);
    }
    close_socket(*found->second);
  }
}

void Server::drop_late_greetings(uint64_t now_ns) {
  while (!greetings_.empty()) {
    Connection* oldest = find(greetings_.front());
    if (now_ns < oldest->accepted_ns + options_.attach_deadline_ns) return;
    messages_.refuse(oldest->socket,
                     Error(Code::kDeadline, "nothing was said on this connection for too long"));
    forget(*oldest);
  }
}

}  // namespace kvtier::daemon
