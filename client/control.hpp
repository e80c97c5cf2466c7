// The attach socket from the client's side: one request and its reply at a time, by any thread.
// Rare and slow by design. Never blocks in the kernel: everything waits in ppoll, until a deadline.
// What arrives is not believed: sizes, types and fds are checked, what does not belong is closed.
#pragma once

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <string>

#include "client/deadline.hpp"
#include "client/fd.hpp"
#include "kvtier/result.hpp"
#include "kvtier/wire/messages.hpp"

namespace kvtier::client {

// One packet and its fds.
struct Packet {
  alignas(8) std::array<std::byte, wire::kMessageBytesMax> bytes;
  size_t size = 0;
  std::array<Fd, wire::kMessageFdsMax> fds;
  size_t fd_count = 0;

  const wire::MessageHeader& header() const {
    return *reinterpret_cast<const wire::MessageHeader*>(bytes.data());
  }
};

class ControlChannel {
 public:
  // Connects. Errors: unavailable (nobody there, or its queue is full), permission, system,
  // invalid_argument (the path is too long for a socket).
  static Result<Fd> connect(const std::string& path);

  // `version`: the protocol that was agreed on; 0 before the attach, whose header says its own.
  explicit ControlChannel(Fd socket, uint32_t version = 0)
      : socket_(std::move(socket)), version_(static_cast<uint16_t>(version)) {}

  // Sends a request and waits for its reply, which has the given type, exactly `reply_bytes` and
  // `fds`. Replies of earlier requests that nobody waits for any more are dropped. `stop_fd`, when
  // not negative, ends the wait as unavailable once readable.
  // Errors: deadline, unavailable (end of file), or what the daemon's refusal says.
  struct Expected {
    wire::MessageType type;
    size_t bytes;
    size_t fds;
  };
  Status call(wire::MessageHeader* request, const Expected& expected, Packet* reply,
              Clock::time_point deadline, int stop_fd = -1);

  // The same for structures.
  template <typename Reply, typename Request>
  Result<Reply> call(wire::MessageType type, Request request, wire::MessageType reply_type,
                     Clock::time_point deadline, Fd* fd = nullptr, int stop_fd = -1) {
    request.header.type = static_cast<uint16_t>(type);
    request.header.bytes = sizeof request;
    Packet packet;
    const Expected expected = {reply_type, sizeof(Reply), fd == nullptr ? size_t{0} : size_t{1}};
    if (Status status = call(&request.header, expected, &packet, deadline, stop_fd); !status) {
      return status.error();
    }
    Reply reply;
    std::memcpy(&reply, packet.bytes.data(), sizeof reply);
    if (fd != nullptr) *fd = std::move(packet.fds[0]);
    return reply;
  }

  int fd() const { return socket_.get(); }
  Fd take_socket() { return std::move(socket_); }

 private:
  Status exchange(wire::MessageHeader* request, const Expected& expected, Packet* reply,
                  Clock::time_point deadline, int stop_fd);
  Status send_request(const wire::MessageHeader& request, Clock::time_point deadline, int stop_fd);
  Status receive(Packet* packet, Clock::time_point deadline, int stop_fd);
  Status wait_for(short events, Clock::time_point deadline, int stop_fd);

  Fd socket_;
  const uint16_t version_;
  std::mutex mutex_;  // of busy_ and next_request_; never held while waiting
  std::condition_variable turn_;
  bool busy_ = false;
  uint32_t next_request_ = 1;
};

}  // namespace kvtier::client
