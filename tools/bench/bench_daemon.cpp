#include "tools/bench/bench_daemon.hpp"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "kvtier/wire/chunk_header.hpp"
#include "tools/replay/host_sizing.hpp"

namespace kvtier::tools {
namespace {

constexpr auto kAttachTime = std::chrono::seconds(10);
constexpr uint64_t kIndexEntriesMin = 1024;

std::string config_of(const BenchPool& pool, uint64_t capacity, const BenchOptions& options) {
  std::string text =
      "# Written by kvtier bench.\n[host]\ncapacity = \"" + std::to_string(capacity) + "B\"\n";
  if (pool.evicts) text += "capacity_chunks = " + std::to_string(pool.chunks) + "\n";
  text += "\n[index]\nhuge_pages = \"" + options.huge_pages + "\"\n";
  const uint64_t entries = pool.index_entries != 0 ? pool.index_entries : pool.chunks + 1024;
  text += "chunks_max = " + std::to_string(std::max(entries, kIndexEntriesMin)) + "\n";
  return text + pool.more_config;
}

double seconds_of(const timespec& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// The process that listens at the socket; 0 if it cannot be told.
pid_t peer_of(const std::string& socket) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (socket.size() >= sizeof address.sun_path) return 0;
  std::memcpy(address.sun_path, socket.c_str(), socket.size() + 1);
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  ucred peer = {};
  socklen_t bytes = sizeof peer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) {
    peer.pid = 0;
  }
  close(fd);
  return peer.pid;
}

}  // namespace

Result<std::unique_ptr<BenchDaemon>> BenchDaemon::start(const BenchOptions& options,
                                                        const BenchPool& pool) {
  std::unique_ptr<BenchDaemon> daemon(new BenchDaemon());
  if (!options.socket.empty()) {
    daemon->socket_ = options.socket;
    daemon->pid_ = peer_of(options.socket);
    if (daemon->pid_ == 0) {
      return Error::format(Code::kUnavailable, "no daemon answers at %.180s",
                           options.socket.c_str());
    }
    return daemon;
  }
  const uint64_t slot = slot_bytes_of(pool.tokens_per_chunk, pool.chunk_bytes);
  daemon->capacity_bytes_ = capacity_for_chunks(pool.chunks, slot, kSegmentBytesMin);
  const uint64_t available = memory_available_bytes();
  if (available != 0 && daemon->capacity_bytes_ > available) {
    return Error::format(Code::kOutOfMemory,
                         "the benchmark needs %llu MiB of memory, %llu MiB are available",
                         static_cast<unsigned long long>(daemon->capacity_bytes_ >> 20),
                         static_cast<unsigned long long>(available >> 20));
  }
  SpawnOptions spawn;
  spawn.config_text = config_of(pool, daemon->capacity_bytes_, options);
  auto started = SpawnedDaemon::start(spawn);
  if (!started) return started.error();
  daemon->spawned_ = *std::move(started);
  daemon->socket_ = daemon->spawned_->socket();
  daemon->pid_ = daemon->spawned_->pid();
  return daemon;
}

Result<std::unique_ptr<Session>> BenchDaemon::attach(Verify verify) const {
  SessionOptions options;
  options.socket = socket_;
  options.name = "bench";
  options.verify = verify;
  options.call_deadline = kAttachTime;
  auto session = Session::open(options);
  if (!session) return session.error();
  const Status attached = (*session)->wait_attached(Clock::now() + kAttachTime);
  if (!attached) return attached.error();
  return session;
}

double BenchDaemon::cpu_seconds() const {
  clockid_t clock = 0;
  timespec time = {};
  if (clock_getcpuclockid(pid_, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
  return seconds_of(time);
}

double own_cpu_seconds() {
  timespec time = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return seconds_of(time);
}

SpaceSpec bench_space(const BenchPool& pool) {
  SpaceSpec spec;
  spec.model = "bench " + std::to_string(getpid()) + " " +
               std::to_string(Clock::now().time_since_epoch().count());
  spec.dtype = "u8";
  spec.layout = "bench-1";
  spec.tokens_per_chunk = pool.tokens_per_chunk;
  spec.chunk_bytes = pool.chunk_bytes;
  return spec;
}

uint64_t chunks_that_fit(uint64_t wanted, const BenchPool& pool) {
  const uint64_t available = memory_available_bytes();
  if (available == 0) return wanted;
  const uint64_t slot = slot_bytes_of(pool.tokens_per_chunk, pool.chunk_bytes);
  return std::min(wanted, available / 4 * 3 / slot);
}

}  // namespace kvtier::tools
