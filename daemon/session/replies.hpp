// What replies on the attach socket say. Pure functions of the core's state. Core thread.
#pragma once

#include <string>

#include "daemon/core/core.hpp"
#include "kvtier/wire/messages.hpp"

namespace kvtier::daemon {

wire::MessageHeader reply_header(wire::MessageType type, size_t bytes);

// Everything but the chosen version.
wire::AttachReply attach_reply(const Core& core, const Session& session, const Tenant& tenant);

// A client's name for itself, cut at its end, with '?' for what a terminal could act on.
std::string printable(const char* text, size_t bytes_max);

}  // namespace kvtier::daemon
