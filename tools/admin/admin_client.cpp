// See admin_client.hpp. The request says Connection: close, so the answer ends with the stream.
#include "tools/admin/admin_client.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "kvtier/wire/socket_trust.hpp"

namespace kvtier::tools {
namespace {

using Clock = std::chrono::steady_clock;

class Stream {
 public:
  explicit Stream(Clock::time_point deadline) : deadline_(deadline) {}
  ~Stream() {
    if (fd_ >= 0) close(fd_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Status open(const std::string& path) {
    if (Status trusted = wire::check_socket_trust(path); !trusted) return trusted;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
      return Error::format(Code::kInvalidArgument, "the socket path has %zu bytes, at most %zu fit",
                           path.size(), sizeof address.sun_path - 1);
    }
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd_ < 0) return Error::system(errno, "cannot make a socket");
    while (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return refused(errno, path);
      // The backlog is full: the daemon is there but does not accept.
      if (Clock::now() >= deadline_) return late("did not accept the connection");
      poll(nullptr, 0, 5);
    }
    return {};
  }

  Status send_all(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent > 0) {
        text.remove_prefix(static_cast<size_t>(sent));
      } else if (errno == EAGAIN) {
        if (Status ready = wait(POLLOUT); !ready) return ready;
      } else if (errno == EPIPE || errno == ECONNRESET) {
        return {};  // it answered already, or is gone: reading tells
      } else if (errno != EINTR) {
        return Error::system(errno, "cannot send to the admin socket");
      }
    }
    return {};
  }

  Status receive_all(std::string& text) {
    char block[64 * 1024];
    for (;;) {
      const ssize_t got = recv(fd_, block, sizeof block, 0);
      if (got == 0) return {};
      if (got > 0) {
        if (text.size() + static_cast<size_t>(got) > kAdminReplyBytesMax) {
          return Error(Code::kCorrupt, "the daemon's answer is too large");
        }
        text.append(block, static_cast<size_t>(got));
      } else if (errno == EAGAIN) {
        if (Status ready = wait(POLLIN); !ready) return ready;
      } else if (errno == ECONNRESET) {
        return {};
      } else if (errno != EINTR) {
        return Error::system(errno, "cannot read from the admin socket");
      }
    }
  }

 private:
  static Error refused(int reason, const std::string& path) {
    if (reason == ENOENT) {
      return Error::format(Code::kUnavailable, "there is no socket %.150s", path.c_str());
    }
    if (reason == ECONNREFUSED) {
      return Error::format(Code::kUnavailable, "nobody answers at %.150s", path.c_str());
    }
    if (reason == EACCES || reason == EPERM) {
      return Error::format(Code::kPermission, "you may not open %.150s", path.c_str());
    }
    return Error::system(reason, ("cannot connect to " + path).c_str());
  }
  static Error late(const char* what) {
    return Error::format(Code::kDeadline, "the daemon %s in time: it is stopped or stuck", what);
  }

  Status wait(short events) {
    for (;;) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline_ - Clock::now()).count();
      if (left <= 0) return late("did not answer");
      pollfd wanted{fd_, events, 0};
      if (poll(&wanted, 1, static_cast<int>(left)) > 0) return {};
    }
  }

  Clock::time_point deadline_;
  int fd_ = -1;
};

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

Result<AdminReply> parse(const std::string& text) {
  const auto refused = [](const char* why) {
    return Error::format(Code::kCorrupt, "the answer from the admin socket is no HTTP: %s", why);
  };
  if (text.empty()) return Error(Code::kUnavailable, "the daemon closed the connection");
  const size_t head_end = text.find("\r\n\r\n");
  if (head_end == std::string::npos || text.compare(0, 7, "HTTP/1.") != 0 || head_end < 12) {
    return refused("it has no head");
  }
  AdminReply reply;
  const auto parsed = std::from_chars(text.data() + 9, text.data() + 12, reply.status);
  if (parsed.ec != std::errc()) return refused("it has no status");
  reply.body = text.substr(head_end + 4);
  const std::string head = lower(std::string_view(text).substr(0, head_end + 2));
  const std::string_view name = "\r\ncontent-length:";
  const size_t at = head.find(name);
  if (at == std::string::npos) return refused("it does not say how long it is");
  size_t begin = at + name.size();
  while (begin < head.size() && head[begin] == ' ') ++begin;
  size_t length = 0;
  std::from_chars(head.data() + begin, head.data() + head.size(), length);
  if (length != reply.body.size()) {
    return Error(Code::kUnavailable, "the daemon went away in the middle of its answer");
  }
  return reply;
}

}  // namespace

Result<AdminReply> ask_admin(const AdminQuestion& question) {
  Stream stream(Clock::now() + question.timeout);
  if (Status opened = stream.open(question.socket); !opened) return opened.error();
  const std::string request = std::string(question.method) + " " + question.target +
                              " HTTP/1.1\r\nHost: kvtier\r\nConnection: close\r\n"
                              "Content-Length: 0\r\n\r\n";
  if (Status sent = stream.send_all(request); !sent) return sent.error();
  std::string text;
  if (Status received = stream.receive_all(text); !received) return received.error();
  return parse(text);
}

std::string escape_target(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || c == '-' || c == '_' || c == '.') {
      out += c;
    } else {
      char escaped[4];
      std::snprintf(escaped, sizeof escaped, "%%%02X", byte);
      out += escaped;
    }
  }
  return out;
}

}  // namespace kvtier::tools
