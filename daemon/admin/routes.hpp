// One row a path: who may ask for it, and what answers. Knows nothing of sockets. The admin thread.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "daemon/admin/access.hpp"
#include "daemon/admin/core_link.hpp"
#include "daemon/admin/metrics.hpp"

namespace kvtier::daemon {

struct AdminRequest {
  std::string method;  // "GET"
  std::string target;  // "/v1/chunks?count=10"
  Access access = Access::kNone;
  bool on_port = false;  // the loopback port serves little
};

struct AdminAnswer {
  unsigned status = 200;  // of HTTP
  std::string content_type = "application/json";
  std::string body;
  std::string allow = {};  // of 405: the methods that exist
};

struct RouteState {
  CoreLink core;
  LookupTotals lookups;
};

// Always an answer; errors are JSON {"error": {"code", "message"}}.
AdminAnswer answer_request(const AdminRequest& request, RouteState& state);

AdminAnswer error_answer(unsigned status, std::string_view code, std::string_view message);

}  // namespace kvtier::daemon
