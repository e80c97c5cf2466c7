// What a message must look like, refusals, and the messages of attached sessions. See messages.hpp.
#include "daemon/session/messages.hpp"

#include <array>
#include <cinttypes>
#include <cstdio>

#include "daemon/log/log.hpp"
#include "daemon/session/doorbell.hpp"
#include "daemon/session/replies.hpp"
#include "daemon/session/versions.hpp"

namespace kvtier::daemon {

// When a message may come.
enum class Phase : uint8_t { kBeforeAttach, kAttached };

struct MessageServer::MessageRow {
  wire::MessageType type;
  const char* name;
  size_t bytes;
  Phase phase;
  Handled (MessageServer::*serve)(Connection&, const Packet&);
};

const MessageServer::MessageRow* MessageServer::find_row(uint16_t type) {
  static constexpr std::array kRows = {
      MessageRow{wire::MessageType::kAttach, "attach", sizeof(wire::AttachRequest),
                 Phase::kBeforeAttach, &MessageServer::attach},
      MessageRow{wire::MessageType::kOpenSpace, "open-space", sizeof(wire::OpenSpaceRequest),
                 Phase::kAttached, &MessageServer::open_space},
      MessageRow{wire::MessageType::kGetSegment, "get-segment", sizeof(wire::GetSegmentRequest),
                 Phase::kAttached, &MessageServer::get_segment},
      MessageRow{wire::MessageType::kDetach, "detach", sizeof(wire::DetachRequest),
                 Phase::kAttached, &MessageServer::detach},
      MessageRow{wire::MessageType::kGiveUp, "give-up", sizeof(wire::GiveUpRequest),
                 Phase::kAttached, &MessageServer::give_up},
  };
  for (const MessageRow& row : kRows) {
    if (static_cast<uint16_t>(row.type) == type) return &row;
  }
  return nullptr;
}

std::optional<Error> MessageServer::look_at_frame(const Packet& packet) {
  if (!packet.strange.empty() || packet.fds_lost) {
    return Error::format(Code::kInvalidArgument,
                         "the message came with %s%zu file descriptors; no request has any",
                         packet.fds_lost ? "more than " : "", packet.strange.size());
  }
  if (packet.size > wire::kMessageBytesMax) {
    return Error::format(Code::kInvalidArgument, "a message of %zu bytes; at most %u are allowed",
                         packet.size, wire::kMessageBytesMax);
  }
  if (packet.size < sizeof(wire::MessageHeader)) {
    return Error::format(Code::kInvalidArgument, "a message of %zu bytes; its header alone has %zu",
                         packet.size, sizeof(wire::MessageHeader));
  }
  const auto header = packet.as<wire::MessageHeader>();
  if (header.magic != wire::kMessageMagic) {
    return Error::format(Code::kInvalidArgument,
                         "a message begins with %08" PRIx32 ", not with %08" PRIx32
                         ": this is kvtierd's attach socket",
                         header.magic, wire::kMessageMagic);
  }
  if (header.bytes != packet.size) {
    return Error::format(Code::kInvalidArgument,
                         "a message says that it has %" PRIu32 " bytes, but has %zu", header.bytes,
                         packet.size);
  }
  return std::nullopt;
}

// Before the size of the kind: that of another version's attach may be another one.
std::optional<Error> MessageServer::look_at_versions(const Packet& packet) {
  const auto header = packet.as<wire::MessageHeader>();
  const ServedVersions served = served_versions();
  uint32_t lowest = header.version;
  uint32_t highest = header.version;
  if (header.type == static_cast<uint16_t>(wire::MessageType::kAttach)) {
    if (packet.size < offsetof(wire::AttachRequest, features)) return std::nullopt;
    const auto request = packet.as<wire::AttachRequest>();
    lowest = request.version_min;
    highest = request.version_max;
  }
  if (common_version(served, lowest, highest) != 0) return std::nullopt;
  return Error::format(Code::kIncompatible,
                       "the client speaks protocol %" PRIu32 " to %" PRIu32 ", the daemon %" PRIu32
                       " to %" PRIu32 ": update the older of the two",
                       lowest, highest, served.min, served.max);
}

std::optional<Error> MessageServer::look_at_kind(const Connection& connection,
                                                 const Packet& packet) {
  const auto header = packet.as<wire::MessageHeader>();
  const MessageRow* row = find_row(header.type);
  if (row == nullptr) {
    return Error::format(Code::kInvalidArgument, "a message of type %u, which is no request",
                         header.type);
  }
  if (packet.size != row->bytes) {
    return Error::format(Code::kInvalidArgument, "%s of %zu bytes; it has %zu", row->name,
                         packet.size, row->bytes);
  }
  if (row->phase == Phase::kBeforeAttach && connection.session != nullptr) {
    return Error::format(Code::kInvalidArgument,
                         "this connection is session %u already: connect again to attach again",
                         connection.session->id);
  }
  if (row->phase == Phase::kAttached && connection.session == nullptr) {
    return Error::format(Code::kInvalidArgument, "%s before attach", row->name);
  }
  return std::nullopt;
}

Handled MessageServer::handle(Connection& connection, const Packet& packet) {
  std::optional<Error> wrong = look_at_frame(packet);
  if (!wrong) wrong = look_at_versions(packet);
  if (!wrong) wrong = look_at_kind(connection, packet);
  if (wrong) return refused(connection, packet, *wrong);
  const MessageRow* row = find_row(packet.as<wire::MessageHeader>().type);
  return (this->*row->serve)(connection, packet);
}

namespace {

wire::Refused refusal(const Error& error) {
  wire::Refused refused = {};
  refused.header = reply_header(wire::MessageType::kRefused, sizeof refused);
  refused.header.status = static_cast<int32_t>(error.code());
  refused.version_min = served_versions().min;
  refused.version_max = served_versions().max;
  std::snprintf(refused.message, sizeof refused.message, "%s", error.message());
  return refused;
}

}  // namespace

Handled MessageServer::refused(Connection& connection, const Packet& packet, const Error& error) {
  wire::Refused reply = refusal(error);
  if (packet.size >= sizeof(wire::MessageHeader)) {
    reply.header.request = packet.as<wire::MessageHeader>().request;
  }
  const bool first = connection.session == nullptr;
  if (first) {
    ++core_.counters().attach_refused;
    log_event(LogCode::kAttachRefused, "refused process {} of uid {}: {}", connection.peer.pid,
              connection.peer.uid, error.message());
  }
  const bool sent = send_packet(connection.socket, std::as_bytes(std::span(&reply, 1)), {});
  return {.after = first || !sent ? After::kClose : After::kOpen};
}

void MessageServer::refuse(const Fd& socket, const Error& error) {
  const wire::Refused reply = refusal(error);
  ++core_.counters().attach_refused;
  log_event(LogCode::kAttachRefused, "refused a connection: {}", error.message());
  [[maybe_unused]] const bool sent = send_packet(socket, std::as_bytes(std::span(&reply, 1)), {});
}

template <typename Reply>
After MessageServer::reply(Connection& connection, const Packet& request, wire::MessageType type,
                           Reply reply, std::span<const int> fds) {
  reply.header = reply_header(type, sizeof reply);
  reply.header.request = request.as<wire::MessageHeader>().request;
  const bool sent = send_packet(connection.socket, std::as_bytes(std::span(&reply, 1)), fds);
  return sent ? After::kOpen : After::kClose;
}

Handled MessageServer::attach(Connection& connection, const Packet& packet) {
  const auto request = packet.as<wire::AttachRequest>();
  const Result<Session*> admitted = admit(connection, request);
  if (!admitted.ok()) return refused(connection, packet, admitted.error());
  Session& session = **admitted;
  connection.session = &session;
  const Tenant& tenant = core_.tenant(session.tenant);
  wire::AttachReply answer = attach_reply(core_, session, tenant);
  answer.version = common_version(served_versions(), request.version_min, request.version_max);
  const int fds[wire::kAttachFds] = {tenant.index->read_only_fd().get(), session.memory.fd().get(),
                                     connection.submission_event.get(),
                                     connection.completion_event.get()};
  // Nobody looks at the rings before the first event, so it must come with one.
  session.memory.header().daemon_need_wake.store(1, std::memory_order_release);
  const After sent =
      reply(connection, packet, wire::MessageType::kAttachReply, answer, std::span(fds));
  if (sent == After::kOpen) {
    log_event(LogCode::kSessionAttached, "session {} of tenant {}: process {} of uid {}, '{}'",
              session.id, tenant.name, session.pid, session.uid, session.name);
    return {.after = After::kAttached};
  }
  core_.remove_session(session);  // it never learned of it
  connection.session = nullptr;
  return {.after = After::kClose};
}

Result<Session*> MessageServer::admit(Connection& connection, const wire::AttachRequest& request) {
  if ((request.flags & ~wire::kAttachReadOnly) != 0) {
    return Error::format(Code::kUnsupported,
                         "attach with flags %08" PRIx32 "; only %08" PRIx32 " is defined",
                         request.flags, wire::kAttachReadOnly);
  }
  const Result<TenantNumber> tenant = connection.tenant.empty()
                                          ? core_.tenant_by_uid(connection.peer.uid)
                                          : core_.tenant_by_name(connection.tenant);
  if (!tenant.ok()) return tenant.error();
  Result<Fd> submission = Doorbell::make_eventfd();
  if (!submission.ok()) return submission.error();
  Result<Fd> completion = Doorbell::make_eventfd();
  if (!completion.ok()) return completion.error();
  connection.submission_event = std::move(submission).value();
  connection.completion_event = std::move(completion).value();
  AdmitRequest admit;
  admit.tenant = *tenant;
  admit.pid = connection.peer.pid;
  admit.uid = connection.peer.uid;
  admit.name = printable(request.name, sizeof request.name);
  admit.read_only = (request.flags & wire::kAttachReadOnly) != 0;
  admit.process = &connection.peer.pidfd;
  return core_.admit(admit);
}

Handled MessageServer::open_space(Connection& connection, const Packet& packet) {
  const auto request = packet.as<wire::OpenSpaceRequest>();
  const Result<OpenedSpace> space = core_.open_space(*connection.session, request.spec);
  if (!space.ok()) return refused(connection, packet, space.error());
  wire::OpenSpaceReply answer = {};
  answer.space = space->id;
  answer.number = space->number;
  answer.header_bytes = space->header_bytes;
  answer.group = space->group;
  answer.slot_bytes = space->slot_bytes;
  return {.after = reply(connection, packet, wire::MessageType::kOpenSpaceReply, answer)};
}

Handled MessageServer::get_segment(Connection& connection, const Packet& packet) {
  const auto request = packet.as<wire::GetSegmentRequest>();
  const Result<Core::SegmentFd> segment =
      core_.segment_fd(*connection.session, request.segment, request.uid);
  if (!segment.ok()) return refused(connection, packet, segment.error());
  wire::GetSegmentReply answer = {};
  answer.bytes = segment->bytes;
  const int fds[] = {segment->fd.get()};
  return {.after = reply(connection, packet, wire::MessageType::kGetSegmentReply, answer,
                         std::span(fds))};
}

Handled MessageServer::detach(Connection& connection, const Packet& packet) {
  log_event(LogCode::kSessionEnded, "session {}: process {} detached", connection.session->id,
            connection.session->pid);
  core_.remove_session(*connection.session);
  connection.session = nullptr;
  reply(connection, packet, wire::MessageType::kDetachReply, wire::EmptyReply{});
  return {.after = After::kDetached};
}

Handled MessageServer::give_up(Connection& connection, const Packet& packet) {
  const auto request = packet.as<wire::GiveUpRequest>();
  const Status given = core_.give_up(*connection.session, request.session, request.epoch);
  if (!given) return refused(connection, packet, given.error());
  Handled handled;
  handled.given_up = request.session;
  handled.after = reply(connection, packet, wire::MessageType::kGiveUpReply, wire::EmptyReply{});
  return handled;
}

}  // namespace kvtier::daemon
