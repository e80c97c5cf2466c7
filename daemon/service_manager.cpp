// See service_manager.hpp.
#include "daemon/service_manager.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace kvtier::daemon {
namespace {

constexpr int kFirstInherited = 3;
constexpr long kInheritedMax = kKeptFdsMax + 1024;

long number(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : std::strtol(text, nullptr, 10);
}

}  // namespace

void tell_service_manager(const std::string& text) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || (path[0] != '/' && path[0] != '@')) return;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const size_t bytes = std::strlen(path);
  if (bytes >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path, bytes);
  if (path[0] == '@') address.sun_path[0] = '\0';
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return;
  ::sendto(socket.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
           reinterpret_cast<const sockaddr*>(&address),
           static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + bytes));
}

void tell_reloading() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const auto microseconds =
      static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1'000;
  tell_service_manager("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(microseconds) +
                       "\nSTATUS=Reading the configuration again");
}

void tell_reloaded(const std::string& outcome) {
  // One line: what follows a newline would be read as another field.
  tell_service_manager("READY=1\nSTATUS=" + outcome.substr(0, outcome.find('\n')));
}

Watchdog Watchdog::from_environment() {
  const long pid = number("WATCHDOG_PID");
  const long microseconds = pid == 0 || pid == ::getpid() ? number("WATCHDOG_USEC") : 0;
  return Watchdog(microseconds > 0 ? static_cast<uint64_t>(microseconds) * 1'000 : 0);
}

bool Watchdog::feed(uint64_t now_ns) {
  if (timeout_ns_ == 0 || now_ns < next_ns_) return false;
  next_ns_ = now_ns + interval_ns();
  tell_service_manager("WATCHDOG=1");
  return true;
}

Inherited take_inherited() {
  Inherited inherited;
  const long count = number("LISTEN_PID") == ::getpid() ? number("LISTEN_FDS") : 0;
  const char* listed = std::getenv("LISTEN_FDNAMES");
  std::istringstream names(listed == nullptr ? "" : listed);
  for (long i = 0; i < count && i < kInheritedMax; ++i) {
    const int fd = kFirstInherited + static_cast<int>(i);
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    std::string name;
    std::getline(names, name, ':');
    if (name.starts_with(kKeptPrefix)) {
      inherited.kept.push_back({name, Fd(fd)});
    } else {
      inherited.sockets.emplace_back(fd);
    }
  }
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(name);
  return inherited;
}

}  // namespace kvtier::daemon
