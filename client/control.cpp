#include "client/control.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>

#include "kvtier/wire/socket_trust.hpp"

namespace kvtier::client {
namespace {

Error connect_error(int number, const std::string& path) {
  switch (number) {
    case ENOENT:
    case ECONNREFUSED:
      return Error::format(Code::kUnavailable, "no daemon at %s (%s); start kvtierd", path.c_str(),
                           number == ENOENT ? "no such socket" : "connection refused");
    case EAGAIN:
      return Error::format(Code::kUnavailable, "the daemon at %s takes no connections now",
                           path.c_str());
    case EACCES:
    case EPERM:
      return Error::format(Code::kPermission,
                           "socket %s may not be used by uid %u; check its mode and folders",
                           path.c_str(), static_cast<unsigned>(::getuid()));
    case EPROTOTYPE:
      return Error::format(Code::kUnavailable, "the socket at %s is not kvtierd's", path.c_str());
    default:
      return Error::system(number, "connecting to the daemon");
  }
}

// The fds of a received message, at most kMessageFdsMax; the rest is closed.
void take_fds(msghdr& message, Packet* packet) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(part) + i * sizeof(int), sizeof number);
      Fd fd(number);
      if (packet->fd_count < packet->fds.size()) packet->fds[packet->fd_count++] = std::move(fd);
    }
  }
}

// The daemon's words, cut and made printable.
Error refusal(const Packet& packet) {
  wire::Refused refused;
  std::memcpy(&refused, packet.bytes.data(), sizeof refused);
  refused.message[sizeof refused.message - 1] = '\0';
  for (char& c : refused.message) {
    if (c != '\0' && (c < 0x20 || c > 0x7e)) c = '?';
  }
  const bool known = refused.header.status > 0 &&
                     refused.header.status <= static_cast<int32_t>(Code::kUnsupported);
  const Code code = known ? static_cast<Code>(refused.header.status) : Code::kUnavailable;
  if (code == Code::kIncompatible) {
    return Error::format(code, "the daemon serves protocol %u to %u: %s", refused.version_min,
                         refused.version_max, refused.message);
  }
  return Error::format(code, "%.240s",
                       refused.message[0] != '\0' ? refused.message : "the daemon refused");
}

}  // namespace

Result<Fd> ControlChannel::connect(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Error::format(Code::kInvalidArgument,
                         "socket path of %zu bytes; a unix socket takes 1 to %zu", path.size(),
                         sizeof address.sun_path - 1);
  }
  if (Status trusted = wire::check_socket_trust(path); !trusted) return trusted.error();
  std::memcpy(address.sun_path, path.c_str(), path.size());
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.open()) return Error::system(errno, "making a socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return connect_error(errno, path);
  }
  return socket;
}

Status ControlChannel::call(wire::MessageHeader* request, const Expected& expected, Packet* reply,
                            Clock::time_point deadline, int stop_fd) {
  {
    std::unique_lock lock(mutex_);
    while (busy_) {
      const auto slice = std::min(deadline, after(std::chrono::seconds(1)));
      turn_.wait_until(lock, slice);
      if (busy_ && passed(deadline)) {
        return Error(Code::kDeadline, "the deadline passed behind another message to the daemon");
      }
    }
    busy_ = true;
    request->request = next_request_++;
  }
  request->magic = wire::kMessageMagic;
  if (version_ != 0) request->version = version_;
  request->status = 0;
  request->reserved = 0;
  const Status status = exchange(request, expected, reply, deadline, stop_fd);
  {
    const std::lock_guard lock(mutex_);
    busy_ = false;
  }
  turn_.notify_one();
  return status;
}

Status ControlChannel::exchange(wire::MessageHeader* request, const Expected& expected,
                                Packet* reply, Clock::time_point deadline, int stop_fd) {
  if (Status status = send_request(*request, deadline, stop_fd); !status) return status;
  for (;;) {
    *reply = Packet();
    if (Status status = receive(reply, deadline, stop_fd); !status) return status;
    if (reply->size < sizeof(wire::MessageHeader)) {
      return Error::format(Code::kIncompatible, "the daemon sent %zu bytes; a header has %zu",
                           reply->size, sizeof(wire::MessageHeader));
    }
    const wire::MessageHeader header = reply->header();
    if (header.magic != wire::kMessageMagic || header.bytes != reply->size) {
      return Error::format(Code::kIncompatible,
                           "not a kvtier message: magic %08x, %u bytes said, %zu received",
                           header.magic, header.bytes, reply->size);
    }
    const auto type = static_cast<wire::MessageType>(header.type);
    if (type == wire::MessageType::kRefused && reply->size == sizeof(wire::Refused) &&
        (header.request == request->request || header.request == 0)) {
      return refusal(*reply);
    }
    if (header.request != request->request) continue;  // late: nobody waits for it any more
    if (type != expected.type || reply->size != expected.bytes || reply->fd_count != expected.fds) {
      return Error::format(Code::kIncompatible,
                           "reply of type %u, %zu bytes and %zu fds; type %u, %zu and %zu are due",
                           header.type, reply->size, reply->fd_count,
                           static_cast<unsigned>(expected.type), expected.bytes, expected.fds);
    }
    if (header.status != 0) {
      return Error::format(Code::kUnavailable, "the daemon answered with status %d", header.status);
    }
    return {};
  }
}

Status ControlChannel::send_request(const wire::MessageHeader& request, Clock::time_point deadline,
                                    int stop_fd) {
  for (;;) {
    if (::send(socket_.get(), &request, request.bytes, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return {};
    if (errno == EINTR) continue;
    if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) {
      return Error(Code::kUnavailable, "the daemon closed the connection");
    }
    if (errno != EAGAIN) return Error::system(errno, "sending to the daemon");
    if (Status status = wait_for(POLLOUT, deadline, stop_fd); !status) return status;
  }
}

Status ControlChannel::receive(Packet* packet, Clock::time_point deadline, int stop_fd) {
  for (;;) {
    iovec part = {packet->bytes.data(), packet->bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 2 * wire::kMessageFdsMax)];
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t size = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size > 0) {
      take_fds(message, packet);
      packet->size = static_cast<size_t>(size);
      if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        return Error(Code::kIncompatible,
                     "the daemon's message was longer, or had more fds, than the protocol allows "
                     "(or this process has no free file descriptors)");
      }
      return {};
    }
    if (size == 0) return Error(Code::kUnavailable, "the daemon closed the connection");
    if (errno == EINTR) continue;
    if (errno == ECONNRESET) return Error(Code::kUnavailable, "the daemon reset the connection");
    if (errno != EAGAIN) return Error::system(errno, "receiving from the daemon");
    if (Status status = wait_for(POLLIN, deadline, stop_fd); !status) return status;
  }
}

Status ControlChannel::wait_for(short events, Clock::time_point deadline, int stop_fd) {
  pollfd fds[2] = {{socket_.get(), events, 0}, {stop_fd, POLLIN, 0}};
  if (poll_until(fds, 2, deadline) > 0 && fds[1].revents != 0) {
    return Error(Code::kUnavailable, "the session is being closed");
  }
  if (fds[0].revents == 0 && passed(deadline)) {
    return Error(Code::kDeadline, "the daemon did not answer in time");
  }
  return {};
}

}  // namespace kvtier::client
