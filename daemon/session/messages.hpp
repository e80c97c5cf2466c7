// Serving the attach socket: one message in, one reply out. The table in messages.cpp says what a
// message must look like; everything else is refused with a text that says what was found. Core
// thread. Never waits: a client that does not read its replies is given up.
#pragma once

#include <optional>

#include "daemon/core/core.hpp"
#include "daemon/session/connection.hpp"
#include "daemon/session/packet.hpp"

namespace kvtier::daemon {

// What the connection is after a message.
enum class After : uint8_t {
  kOpen,
  kAttached,  // now: its session, eventfds and the reply are done
  kDetached,  // its session is gone, in good order
  kClose,     // refused as the first message, or does not read
};

struct Handled {
  After after = After::kOpen;
  uint32_t given_up = 0;  // the session that a give-up removed, or 0
};

class MessageServer {
 public:
  explicit MessageServer(Core& core) : core_(core) {}

  Handled handle(Connection& connection, const Packet& packet);

  // Says why, and nothing else; for connections that get no further.
  void refuse(const Fd& socket, const Error& error);

 private:
  Handled attach(Connection& connection, const Packet& packet);
  Handled open_space(Connection& connection, const Packet& packet);
  Handled get_segment(Connection& connection, const Packet& packet);
  Handled detach(Connection& connection, const Packet& packet);
  Handled give_up(Connection& connection, const Packet& packet);

  struct MessageRow;
  static const MessageRow* find_row(uint16_t type);
  // What is wrong with the packet, before anything in it is used.
  static std::optional<Error> look_at_frame(const Packet& packet);
  static std::optional<Error> look_at_versions(const Packet& packet);
  static std::optional<Error> look_at_kind(const Connection& connection, const Packet& packet);

  Result<Session*> admit(Connection& connection, const wire::AttachRequest& request);
  Handled refused(Connection& connection, const Packet& packet, const Error& error);
  template <typename Reply>
  After reply(Connection& connection, const Packet& request, wire::MessageType type, Reply reply,
              std::span<const int> fds = {});

  Core& core_;
};

}  // namespace kvtier::daemon
