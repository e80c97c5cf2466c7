// A client of the attach socket and the rings, byte by byte and without manners: what the client
// library never does can be done with it. One thread. Waits at most kPatience.
#pragma once

#include <chrono>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "daemon/memory/fd.hpp"
#include "daemon/memory/memfd.hpp"
#include "kvtier/wire/messages.hpp"
#include "kvtier/wire/session.hpp"

namespace kvtier::daemon {

struct RawReply {
  std::vector<std::byte> bytes;
  std::vector<Fd> fds;

  wire::MessageHeader header() const { return as<wire::MessageHeader>(); }
  wire::MessageType type() const { return static_cast<wire::MessageType>(header().type); }
  template <typename T>
  T as() const {
    T value = {};
    std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
    return value;
  }
  std::string text() const { return as<wire::Refused>().message; }  // of a refusal
};

class RawClient {
 public:
  static constexpr std::chrono::milliseconds kPatience{10'000};

  explicit RawClient(Fd socket) : socket_(std::move(socket)) {}
  static Fd connect(const std::string& path);  // empty if nobody is there

  // Called while waiting, so that a server in the same thread gets its turns.
  void set_pump(std::function<void()> pump) { pump_ = std::move(pump); }

  // 0, or errno.
  int send_bytes(const void* bytes, size_t count, const std::vector<int>& fds = {});
  template <typename Request>
  int send(wire::MessageType type, Request request, const std::vector<int>& fds = {}) {
    request.header = header_of(type, sizeof request);
    return send_bytes(&request, sizeof request, fds);
  }
  static wire::MessageHeader header_of(wire::MessageType type, size_t bytes);
  static wire::AttachRequest attach_request(const std::string& name = "test");

  // Empty at the end of the connection, or when patience is over (timed_out()).
  std::optional<RawReply> receive();
  bool timed_out() const { return timed_out_; }
  template <typename Request>
  std::optional<RawReply> call(wire::MessageType type, const Request& request) {
    send(type, request);
    return receive();
  }

  // Attaches and maps what comes. Empty text, or why not.
  std::string attach(const std::string& name = "test", uint32_t flags = 0);
  const wire::AttachReply& attached() const { return attached_; }
  // The space's id, 0 if it was refused.
  uint32_t open_space(const char* model, uint64_t chunk_bytes, uint32_t tokens_per_chunk = 16);

  wire::SessionHeader& header() { return *reinterpret_cast<wire::SessionHeader*>(memory()); }
  std::byte* memory() { return session_.data(); }
  const std::byte* published() const { return published_.data(); }
  std::byte* arguments() { return memory() + header().args_offset; }
  wire::Submission* submissions() {
    return reinterpret_cast<wire::Submission*>(memory() + header().submissions_offset);
  }
  const Fd& socket() const { return socket_; }
  const Fd& submission_event() const { return submission_event_; }
  const Fd& completion_event() const { return completion_event_; }
  const Fd& published_fd() const { return published_fd_; }
  void close_socket() { socket_.reset(); }

  // Rings as docs/protocol.md section 5 says.
  uint64_t submit(wire::Submission request);  // returns its user_data
  void publish(uint32_t tail);                // tail, fence, eventfd
  std::optional<wire::Completion> take();     // without waiting
  std::optional<wire::Completion> wait();     // sleeps on the eventfd; empty: lost
  std::optional<wire::Completion> ask(const wire::Submission& request);

  // Asks for one empty slot; arguments and answer at the begin of the argument area.
  wire::ReserveAnswer reserve(uint32_t space, ChunkKey key, uint64_t payload_bytes,
                              uint32_t tokens = 0);
  wire::CommitOutcome commit(uint64_t place, std::optional<uint64_t> checksum = std::nullopt);

 private:
  bool wait_readable(const Fd& fd);

  Fd socket_;
  Fd published_fd_;
  Fd submission_event_;
  Fd completion_event_;
  Mapping published_;
  Mapping session_;
  wire::AttachReply attached_ = {};
  std::function<void()> pump_;
  bool timed_out_ = false;
  uint64_t next_user_data_ = 1;
  uint32_t submission_tail_ = 0;
  uint32_t completion_head_ = 0;
};

// Open descriptors of this process.
size_t open_fd_count();

}  // namespace kvtier::daemon
