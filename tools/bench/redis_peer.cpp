#include "tools/bench/redis_peer.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <thread>

namespace kvtier::tools {
namespace {

constexpr auto kStartTime = std::chrono::seconds(10);
constexpr size_t kLoadBatch = 4096;

std::string find_on_path(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = folder + "/" + name;
    if (!folder.empty() && folder.front() == '/' && access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
  }
  return "";
}

void append_key(std::string& text, const ChunkKey& key) {
  text += "$16\r\n";
  text.append(reinterpret_cast<const char*>(&key), sizeof key);
  text += "\r\n";
}

}  // namespace

Result<std::unique_ptr<RedisPeer>> RedisPeer::start() {
  if (find_on_path("redis-server").empty()) return std::unique_ptr<RedisPeer>();
  std::unique_ptr<RedisPeer> peer(new RedisPeer());
  if (Status status = peer->launch(); !status) return status.error();
  if (Status status = peer->connect(); !status) return status.error();
  return peer;
}

RedisPeer::~RedisPeer() {
  if (fd_ >= 0) close(fd_);
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

Status RedisPeer::launch() {
  std::error_code error;
  std::string folder = (std::filesystem::temp_directory_path(error) / "kvtier-redis-XXXXXX");
  if (mkdtemp(folder.data()) == nullptr) {
    return Error::system(errno, "cannot make a temporary folder");
  }
  folder_ = folder;
  socket_ = folder_ + "/redis.sock";
  const std::string program = find_on_path("redis-server");
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) return Error::system(errno, "fork");
  if (pid_ > 0) return {};
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  setpgid(0, 0);
  const int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null_fd, fd);
  execl(program.c_str(), program.c_str(), "--port", "0", "--unixsocket", socket_.c_str(), "--save",
        "", "--appendonly", "no", "--daemonize", "no", "--dir", folder_.c_str(),
        static_cast<char*>(nullptr));
  _exit(127);
}

Status RedisPeer::connect() {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (socket_.size() >= sizeof address.sun_path) {
    return Error(Code::kInvalidArgument, "the temporary folder's path is too long for a socket");
  }
  std::memcpy(address.sun_path, socket_.c_str(), socket_.size() + 1);
  const auto give_up = std::chrono::steady_clock::now() + kStartTime;
  while (std::chrono::steady_clock::now() < give_up) {
    fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd_ < 0) return Error::system(errno, "socket");
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return {};
    close(fd_);
    fd_ = -1;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return Error(Code::kUnavailable, "redis-server did not start");
}

Status RedisPeer::write_all(const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t written = write(fd_, text.data() + at, text.size() - at);
    if (written <= 0) return Error::system(errno, "writing to redis-server");
    at += static_cast<size_t>(written);
  }
  return {};
}

Result<uint64_t> RedisPeer::read_replies(size_t count) {
  std::array<char, 65536> buffer;
  uint64_t good = 0;
  size_t lines = 0;
  char first = 0, second = 0;
  while (lines < count) {
    const ssize_t read_bytes = read(fd_, buffer.data(), buffer.size());
    if (read_bytes <= 0) return Error(Code::kUnavailable, "redis-server closed the connection");
    for (ssize_t i = 0; i < read_bytes; ++i) {
      const char c = buffer[static_cast<size_t>(i)];
      if (c == '\n') {
        ++lines;
        if ((first == ':' && second == '1') || first == '+') ++good;
        first = second = 0;
      } else if (first == 0) {
        first = c;
      } else if (second == 0) {
        second = c;
      }
    }
  }
  return good;
}

Status RedisPeer::load(std::span<const ChunkKey> keys) {
  for (size_t begin = 0; begin < keys.size(); begin += kLoadBatch) {
    const auto batch = keys.subspan(begin, std::min(kLoadBatch, keys.size() - begin));
    std::string text;
    for (const ChunkKey& key : batch) {
      text += "*3\r\n$3\r\nSET\r\n";
      append_key(text, key);
      text += "$0\r\n\r\n";
    }
    if (Status status = write_all(text); !status) return status;
    const auto good = read_replies(batch.size());
    if (!good) return good.error();
    if (*good != batch.size()) return Error(Code::kUnavailable, "redis-server refused a SET");
  }
  return {};
}

void RedisPeer::prepare(std::span<const ChunkKey> keys) {
  request_.clear();
  for (const ChunkKey& key : keys) {
    request_ += "*2\r\n$6\r\nEXISTS\r\n";
    append_key(request_, key);
  }
  asked_ = keys.size();
}

Result<uint64_t> RedisPeer::ask() {
  if (Status status = write_all(request_); !status) return status.error();
  return read_replies(asked_);
}

}  // namespace kvtier::tools
