// Asks kvtierd's admin socket one question. Blocking, with a deadline; any thread. Never trusts the
// answer's size: it has a bound.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "kvtier/result.hpp"

namespace kvtier::tools {

inline constexpr size_t kAdminReplyBytesMax = 256u << 20;
// Longer than the daemon waits for its own core, so that its answer says what is wrong.
inline constexpr std::chrono::milliseconds kAdminTimeout{5'000};

struct AdminReply {
  unsigned status = 0;  // of HTTP
  std::string body;
};

struct AdminQuestion {
  std::string socket;
  std::string_view method = "GET";
  std::string target;  // "/v1/status"
  std::chrono::milliseconds timeout = kAdminTimeout;
};

// A reply of whatever status. Errors: unavailable (nobody listens, or it went away), permission
// (the socket may not be opened), deadline, invalid_argument (the path does not fit), corrupt (no
// HTTP).
Result<AdminReply> ask_admin(const AdminQuestion& question);

// For a path segment or a value of a query.
std::string escape_target(std::string_view text);

}  // namespace kvtier::tools
