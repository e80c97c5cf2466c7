// A whole daemon in one thread for the fuzz targets: core, server, inline workers, a clock that is
// told the time. What a target finds wrong ends the process.
#pragma once

#include <sys/socket.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "daemon/session/server.hpp"
#include "tests/daemon/session/raw_client.hpp"

namespace kvtier::fuzz {

using daemon::Fd;
using daemon::RawClient;

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::abort();
}

// Bytes of the input as numbers; zeros when there are no more.
class Input {
 public:
  Input(const uint8_t* data, size_t bytes) : data_(data), bytes_(bytes) {}
  bool empty() const { return at_ == bytes_; }
  template <typename T>
  T take() {
    T value = {};
    take_bytes(&value, sizeof value);
    return value;
  }
  size_t take_bytes(void* target, size_t count) {
    const size_t taken = std::min(count, bytes_ - at_);
    if (taken != 0) std::memcpy(target, data_ + at_, taken);
    at_ += taken;
    return taken;
  }

 private:
  const uint8_t* data_;
  size_t bytes_;
  size_t at_ = 0;
};

class FuzzDaemon {
 public:
  static constexpr uint64_t kEpoch = 42;

  FuzzDaemon() {
    daemon::Config config;
    config.host.capacity_bytes = 4 * wire::MiB;
    config.host.segment_bytes_min = wire::MiB;
    config.host.lock = daemon::Demand::kNever;
    config.host.huge_pages = daemon::Demand::kNever;
    config.index.huge_pages = daemon::Demand::kNever;
    config.session.submission_entries = 16;
    config.session.completion_entries = 16;
    config.session.lease_cells = 64;
    config.session.touch_entries = 64;
    config.session.argument_bytes = 64 * wire::KiB;
    config.tenant.emplace_back();
    config.tenant[0].name = "other";
    executor_ = daemon::make_inline_executor();
    daemon::CoreOptions options;
    options.config = config;
    options.epoch = kEpoch;
    core_ = std::move(daemon::Core::create(options, *executor_, clock_)).value();
    server_ = std::move(daemon::Server::create({}, *core_, *executor_, clock_)).value();
  }
  ~FuzzDaemon() {
    server_.reset();
    core_.reset();
  }

  daemon::Core& core() { return *core_; }
  void turn(uint64_t advance_ns = 0) {
    clock_.advance_ns(advance_ns);
    server_->turn(0);
  }
  RawClient connect(const std::string& tenant = "") {
    int ends[2];
    require(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    server_->adopt(Fd(ends[0]), tenant);
    RawClient client{Fd(ends[1])};
    client.set_pump([this] { server_->turn(0); });
    return client;
  }

 private:
  daemon::VirtualClock clock_;
  std::unique_ptr<daemon::Executor> executor_;
  std::unique_ptr<daemon::Core> core_;
  std::unique_ptr<daemon::Server> server_;
};

}  // namespace kvtier::fuzz
