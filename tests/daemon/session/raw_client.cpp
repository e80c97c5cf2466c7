// See raw_client.hpp.
#include "tests/daemon/session/raw_client.hpp"

#include <dirent.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>

namespace kvtier::daemon {
namespace {

Mapping map(const Fd& fd, uint64_t bytes, int protection) {
  void* at = ::mmap(nullptr, bytes, protection, MAP_SHARED, fd.get(), 0);
  return at == MAP_FAILED ? Mapping() : Mapping(static_cast<std::byte*>(at), bytes);
}

}  // namespace

Fd RawClient::connect(const std::string& path) {
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof address.sun_path - 1));
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return {};
  }
  return socket;
}

int RawClient::send_bytes(const void* bytes, size_t count, const std::vector<int>& fds) {
  iovec part = {const_cast<void*>(bytes), count};
  std::vector<char> control(CMSG_SPACE(sizeof(int) * fds.size()));
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(rights), fds.data(), sizeof(int) * fds.size());
  }
  return ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno : 0;
}

wire::MessageHeader RawClient::header_of(wire::MessageType type, size_t bytes) {
  wire::MessageHeader header = {};
  header.magic = wire::kMessageMagic;
  header.type = static_cast<uint16_t>(type);
  header.version = wire::kProtocolVersion;
  header.bytes = static_cast<uint32_t>(bytes);
  header.request = 77;
  return header;
}

wire::AttachRequest RawClient::attach_request(const std::string& name) {
  wire::AttachRequest request = {};
  request.header = header_of(wire::MessageType::kAttach, sizeof request);
  request.version_min = 1;
  request.version_max = wire::kProtocolVersion;
  std::snprintf(request.name, sizeof request.name, "%s", name.c_str());
  return request;
}

bool RawClient::wait_readable(const Fd& fd) {
  timed_out_ = false;
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < until) {
    if (pump_) pump_();
    pollfd entry = {fd.get(), POLLIN, 0};
    const int left = static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                          until - std::chrono::steady_clock::now())
                                          .count());
    if (::poll(&entry, 1, pump_ ? 0 : left) > 0) return true;
  }
  timed_out_ = true;
  return false;
}

std::optional<RawReply> RawClient::receive() {
  if (!wait_readable(socket_)) return std::nullopt;
  RawReply reply;
  reply.bytes.resize(wire::kMessageBytesMax);
  iovec part = {reply.bytes.data(), reply.bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 16)];
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t size = -1;
  do {
    size = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (size < 0 && (errno == EINTR || errno == ECONNRESET));  // a reset comes before the text
  if (size <= 0) return std::nullopt;
  reply.bytes.resize(static_cast<size_t>(size));
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      reply.fds.emplace_back(fd);
    }
  }
  return reply;
}

std::string RawClient::attach(const std::string& name, uint32_t flags) {
  wire::AttachRequest request = attach_request(name);
  request.flags = flags;
  if (const int error = send_bytes(&request, sizeof request); error != 0) {
    return std::string("send: ") + std::strerror(error);
  }
  std::optional<RawReply> reply = receive();
  if (!reply) return timed_out_ ? "no answer" : "closed";
  if (reply->type() != wire::MessageType::kAttachReply) return reply->text();
  if (reply->bytes.size() != sizeof attached_ || reply->fds.size() != wire::kAttachFds) {
    return "a malformed reply";
  }
  attached_ = reply->as<wire::AttachReply>();
  published_fd_ = std::move(reply->fds[0]);
  published_ = map(published_fd_, attached_.published_bytes, PROT_READ);
  session_ = map(reply->fds[1], attached_.session_bytes, PROT_READ | PROT_WRITE);
  submission_event_ = std::move(reply->fds[2]);
  completion_event_ = std::move(reply->fds[3]);
  return published_ && session_ ? "" : "mapping failed";
}

uint32_t RawClient::open_space(const char* model, uint64_t chunk_bytes, uint32_t tokens_per_chunk) {
  wire::OpenSpaceRequest request = {};
  std::snprintf(request.spec.model, sizeof request.spec.model, "%s", model);
  request.spec.tokens_per_chunk = tokens_per_chunk;
  request.spec.shards = 1;
  request.spec.chunk_bytes_max = chunk_bytes;
  const std::optional<RawReply> reply = call(wire::MessageType::kOpenSpace, request);
  if (!reply || reply->type() != wire::MessageType::kOpenSpaceReply) return 0;
  return reply->as<wire::OpenSpaceReply>().space;
}

uint64_t RawClient::submit(wire::Submission request) {
  request.user_data = next_user_data_++;
  submissions()[submission_tail_ & (header().submission_entries - 1)] = request;
  publish(++submission_tail_);
  return request.user_data;
}

void RawClient::publish(uint32_t tail) {
  submission_tail_ = tail;
  header().submission_tail.store(tail, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (header().daemon_need_wake.load(std::memory_order_relaxed) != 0) {
    const uint64_t one = 1;
    (void)!::write(submission_event_.get(), &one, sizeof one);
  }
}

std::optional<wire::Completion> RawClient::take() {
  if (header().completion_tail.load(std::memory_order_acquire) == completion_head_) return {};
  const auto* completions =
      reinterpret_cast<const wire::Completion*>(memory() + header().completions_offset);
  const wire::Completion completion =
      completions[completion_head_ & (header().completion_entries - 1)];
  header().completion_head.store(++completion_head_, std::memory_order_release);
  return completion;
}

std::optional<wire::Completion> RawClient::wait() {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < until) {
    if (auto completion = take()) return completion;
    header().client_need_wake.store(1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    std::optional<wire::Completion> completion = take();
    if (!completion && wait_readable(completion_event_)) {
      uint64_t count = 0;
      (void)!::read(completion_event_.get(), &count, sizeof count);
    }
    header().client_need_wake.store(0, std::memory_order_relaxed);
    if (completion) return completion;
  }
  return std::nullopt;
}

std::optional<wire::Completion> RawClient::ask(const wire::Submission& request) {
  const uint64_t user_data = submit(request);
  std::optional<wire::Completion> completion = wait();
  if (completion && completion->user_data != user_data) return std::nullopt;
  return completion;
}

wire::ReserveAnswer RawClient::reserve(uint32_t space, ChunkKey key, uint64_t payload_bytes,
                                       uint32_t tokens) {
  wire::ReserveArg argument = {};
  argument.key = key;
  argument.payload_bytes = payload_bytes;
  argument.tokens = tokens;
  argument.ids_offset = wire::round_up(sizeof argument, 8);
  std::memcpy(arguments(), &argument, sizeof argument);
  std::memset(arguments() + argument.ids_offset, 1, tokens * sizeof(uint32_t));
  wire::Submission request = {};
  request.op = static_cast<uint16_t>(wire::Op::kReserve);
  request.space = space;
  request.count = 1;
  request.args_bytes = argument.ids_offset + tokens * 4;
  wire::ReserveAnswer answer = {.place = 0, .outcome = UINT32_MAX, .retry_after_us = 0};
  const auto completion = ask(request);
  if (completion && completion->status == 0) std::memcpy(&answer, arguments(), sizeof answer);
  return answer;
}

wire::CommitOutcome RawClient::commit(uint64_t place, std::optional<uint64_t> checksum) {
  wire::CommitArg argument = {};
  argument.place = place;
  argument.checksum = checksum.value_or(0);
  argument.flags = checksum ? wire::kCommitHasChecksum : 0;
  std::memcpy(arguments(), &argument, sizeof argument);
  wire::Submission request = {};
  request.op = static_cast<uint16_t>(wire::Op::kCommit);
  request.count = 1;
  request.args_bytes = sizeof argument;
  wire::CommitAnswer answer = {static_cast<uint32_t>(wire::CommitOutcome::kFailed), 0};
  const auto completion = ask(request);
  if (completion && completion->status == 0) std::memcpy(&answer, arguments(), sizeof answer);
  return static_cast<wire::CommitOutcome>(answer.outcome);
}

size_t open_fd_count() {
  DIR* folder = ::opendir("/proc/self/fd");
  size_t count = 0;
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

}  // namespace kvtier::daemon
