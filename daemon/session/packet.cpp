// recvmsg and sendmsg.
#include "daemon/session/packet.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <cstdint>

namespace kvtier::daemon {
namespace {

constexpr int kSoPassRights = 83;  // Linux 6.16, asm-generic/socket.h; the C library is older

void take_fds(msghdr& message, std::vector<Fd>* fds) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(part) + i * sizeof number, sizeof number);
      fds->emplace_back(number);
    }
  }
}

}  // namespace

Received receive_packet(const Fd& socket, Packet* packet) {
  iovec part = {packet->bytes.data(), packet->bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * wire::kMessageFdsMax)> control;
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t size = -1;
  do {
    size = ::recvmsg(socket.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
  } while (size < 0 && errno == EINTR);
  if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return Received::kNothing;
  if (size <= 0) {
    take_fds(message, &packet->strange);
    return Received::kEnd;
  }
  packet->size = static_cast<size_t>(size);
  packet->fds_lost = (message.msg_flags & MSG_CTRUNC) != 0;
  take_fds(message, &packet->strange);
  return Received::kMessage;
}

bool send_packet(const Fd& socket, std::span<const std::byte> bytes, std::span<const int> fds) {
  iovec part = {const_cast<std::byte*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * wire::kMessageFdsMax)> control = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(rights), fds.data(), sizeof(int) * fds.size());
  }
  ssize_t sent = -1;
  do {
    sent = ::sendmsg(socket.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(bytes.size());
}

void refuse_fds(const Fd& socket) {
  const int off = 0;
  // An older kernel does not know the option: then fds arrive and are closed.
  [[maybe_unused]] const int result =
      ::setsockopt(socket.get(), SOL_SOCKET, kSoPassRights, &off, sizeof off);
}

}  // namespace kvtier::daemon
