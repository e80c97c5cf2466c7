// One connection of an operator: reads a request, writes an answer, again until either side has
// enough. The admin thread only. Every wait has a deadline; a request has a bound. The only users
// of the HTTP library are connection.cpp and admin_server.cpp.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <chrono>
#include <memory>

#include "daemon/admin/routes.hpp"

namespace kvtier::daemon {

inline constexpr uint32_t kRequestHeadBytesMax = 8 * 1024;
inline constexpr uint32_t kRequestBodyBytesMax = 4 * 1024;  // no request has one that is read
inline constexpr uint32_t kRequestsPerConnectionMax = 1000;

struct ConnectionOptions {
  Access access = Access::kNone;
  bool on_port = false;
  std::chrono::milliseconds client_timeout{0};
};

// Decrements the number of connections when the connection is gone.
class ConnectionCount {
 public:
  explicit ConnectionCount(uint32_t& count) : count_(count) { ++count_; }
  ~ConnectionCount() { --count_; }
  ConnectionCount(const ConnectionCount&) = delete;
  ConnectionCount& operator=(const ConnectionCount&) = delete;

 private:
  uint32_t& count_;
};

// Serves in the background, owning itself. `state` and `count` outlive the io_context's handlers.
void serve_connection(boost::asio::local::stream_protocol::socket socket, ConnectionOptions options,
                      RouteState& state, uint32_t& count);
void serve_connection(boost::asio::ip::tcp::socket socket, ConnectionOptions options,
                      RouteState& state, uint32_t& count);

}  // namespace kvtier::daemon
