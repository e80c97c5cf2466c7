// See hold_protocol.hpp. Any thread.
#include "daemon/keep/hold_protocol.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace kvtier::daemon {

HoldMessage hold_message(HoldOp op, const std::string& name, uint64_t value) {
  HoldMessage message = {};
  message.magic = kHoldMagic;
  message.op = op;
  message.value = value;
  std::memcpy(message.name, name.data(), std::min(name.size(), sizeof message.name - 1));
  return message;
}

int send_hold(const Fd& socket, const HoldMessage& message, int fd, int flags) {
  HoldMessage copy = message;
  iovec part = {&copy, sizeof copy};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {};
  if (fd >= 0) {
    header.msg_control = room;
    header.msg_controllen = sizeof room;
    cmsghdr* control = CMSG_FIRSTHDR(&header);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(control), &fd, sizeof fd);
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket.get(), &header, MSG_NOSIGNAL | flags);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? errno : 0;
}

HoldReceived receive_hold(const Fd& socket, HoldMessage* message, Fd* fd, int flags) {
  iovec part = {message, sizeof *message};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  // Room for one: the kernel closes what does not fit.
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {};
  header.msg_control = room;
  header.msg_controllen = sizeof room;
  ssize_t bytes = 0;
  do {
    bytes = ::recvmsg(socket.get(), &header, MSG_CMSG_CLOEXEC | flags);
  } while (bytes < 0 && errno == EINTR);
  if (bytes < 0) return errno == EAGAIN ? HoldReceived::kNothing : HoldReceived::kEnd;
  fd->reset();
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr;
       control = CMSG_NXTHDR(&header, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    if (control->cmsg_len < CMSG_LEN(sizeof(int))) continue;
    int number = -1;
    std::memcpy(&number, CMSG_DATA(control), sizeof number);
    *fd = Fd(number);
  }
  if (bytes != ssize_t{sizeof *message} || message->magic != kHoldMagic) return HoldReceived::kEnd;
  message->name[sizeof message->name - 1] = '\0';
  return HoldReceived::kMessage;
}

}  // namespace kvtier::daemon
