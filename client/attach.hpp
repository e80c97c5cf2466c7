// Attaching: the handshake, and the checks of everything the daemon sent. Called by the session's
// maintenance thread. Believes no size, offset, seal or version before it was compared with what
// the kernel says of the memory.
#pragma once

#include <cstdint>
#include <string>

#include "client/control.hpp"
#include "client/mapping.hpp"
#include "kvtier/wire/key.hpp"
#include "kvtier/wire/messages.hpp"
#include "kvtier/wire/published.hpp"
#include "kvtier/wire/session.hpp"

// Protocol versions this library speaks. A test build sets others.
#ifndef KVTIER_CLIENT_VERSION_MIN
#define KVTIER_CLIENT_VERSION_MIN 1
#endif
#ifndef KVTIER_CLIENT_VERSION_MAX
#define KVTIER_CLIENT_VERSION_MAX ::kvtier::wire::kProtocolVersion
#endif

namespace kvtier::client {

// What a session works with, all checked.
struct AttachedMemory {
  Fd socket;
  uint32_t version = 0;
  uint32_t session = 0;
  uint64_t epoch = 0;
  uint32_t verify_default = 0;
  wire::KeySecret secret = {};
  Mapping published;
  Mapping session_memory;
  Fd submission_eventfd;
  Fd completion_eventfd;
};

struct AttachOptions {
  std::string socket;
  std::string name;
  bool read_only = false;
  Clock::time_point deadline;
  int stop_fd = -1;
};

// Errors: unavailable, deadline (nobody answers), incompatible (versions; or the reply is not what
// the protocol says, with what was found), permission, system.
Result<AttachedMemory> attach(const AttachOptions& options);

// The parts of the check, over memory of `bytes` bytes.
Status check_published(const std::byte* memory, uint64_t bytes, const wire::AttachReply& reply);
Status check_session(const std::byte* memory, uint64_t bytes, const wire::AttachReply& reply);

// A memfd of exactly `bytes` that can neither shrink nor grow.
Status check_sealed(int fd, uint64_t bytes, const char* what);

}  // namespace kvtier::client
