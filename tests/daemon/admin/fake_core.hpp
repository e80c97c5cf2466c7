// A core for tests of what asks it: a mailbox that runs each call at once, under a lock, or never.
// Safe for several threads.
#pragma once

#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "daemon/core/control.hpp"

namespace kvtier::daemon {

class FakeControl : public Control {
 public:
  CoreSnapshot snapshot() override {
    if (on_snapshot) on_snapshot(shown);
    return shown;
  }
  std::vector<ChunkSnapshot> show_chunk(const std::string& key) override {
    std::vector<ChunkSnapshot> found;
    for (const ChunkSnapshot& chunk : chunks) {
      if (chunk.key.compare(0, key.size(), key) == 0) found.push_back(chunk);
    }
    return found;
  }
  std::vector<ChunkSnapshot> list_chunks(size_t count) override {
    return {chunks.begin(),
            chunks.begin() + static_cast<ptrdiff_t>(std::min(count, chunks.size()))};
  }
  Result<uint64_t> act_on_chunk(const std::string& key, ChunkAction action,
                                double pin_seconds) override {
    if (show_chunk(key).empty()) return Error(Code::kNotFound, "no tier holds this chunk");
    acted.push_back({key, action, pin_seconds});
    return uint64_t{1};
  }
  std::vector<CurveSnapshot> curves() override { return curve_rows; }
  std::vector<LoggedPlan> explain(const std::string& select, size_t count) override {
    return plans.find(select, count);
  }
  Status kill_session(uint32_t session) override {
    if (session != 7) return Error(Code::kNotFound, "there is no session of this number");
    ++killed;
    return {};
  }
  Result<uint64_t> flush(const std::string& tenant) override {
    flushed.push_back(tenant);
    return uint64_t{3};
  }
  bool flush_settled() override { return --unsettled <= 0; }
  Status scrub(uint64_t bytes_per_second) override {
    scrubbed.push_back(bytes_per_second);
    return {};
  }
  std::string config_text() override { return "[host]\ncapacity = \"2GiB\"\n"; }
  Result<std::vector<std::string>> reload_config() override {
    if (!reload_error.empty()) return Error(Code::kInvalidArgument, reload_error.c_str());
    return std::vector<std::string>{"host.lease_max"};
  }

  struct Act {
    std::string key;
    ChunkAction action;
    double pin_seconds;
  };
  CoreSnapshot shown;
  PlanLog plans;
  std::vector<CurveSnapshot> curve_rows;
  std::function<void(CoreSnapshot&)> on_snapshot;  // what happened before each look
  std::vector<ChunkSnapshot> chunks;
  std::vector<Act> acted;
  std::vector<std::string> flushed;
  int unsettled = 0;  // questions until what was flushed is gone for good
  std::vector<uint64_t> scrubbed;
  std::string reload_error;
  int killed = 0;
};

class FakeMailbox : public Mailbox {
 public:
  enum class Mode { kAnswer, kStuck, kDropped };
  Status post_wait(std::function<void(Control&)> call, uint64_t timeout_ns) override {
    const std::lock_guard lock(mutex_);
    timeouts_ns.push_back(timeout_ns);
    if (mode == Mode::kStuck) return Error(Code::kDeadline, "the core did not answer");
    if (mode == Mode::kAnswer) call(control);
    return {};
  }
  template <typename Change>
  void change(Change change) {
    const std::lock_guard lock(mutex_);
    change(*this);
  }

  Mode mode = Mode::kAnswer;
  FakeControl control;
  std::vector<uint64_t> timeouts_ns;

 private:
  std::mutex mutex_;
};

// Every counter differs from every other.
inline CoreSnapshot sample_snapshot() {
  CoreSnapshot core;
  core.version = "0.1.0";
  core.protocol_min = core.protocol_max = 1;
  core.epoch = 0xfeed'beef'0123'4567;
  core.uptime_seconds = 12.5;
  core.health = "good";
  core.start_mode = "cold";
  TierSnapshot host;
  host.name = "host";
  host.state = "on";
  host.policy = "lru";
  host.capacity_bytes = 1ull << 30;
  host.capacity_chunks = UINT64_MAX;
  core.tiers.push_back(host);
  TierSnapshot nvme;
  nvme.name = "nvme";
  nvme.state = "on";
  nvme.capacity_chunks = UINT64_MAX;
  TierDevice device;
  device.name = "/mnt/nvme0";
  device.state = "ok";
  device.reads = 10;
  device.read_bytes = 20'000'000;
  device.read_seconds = 0.05;
  device.writes = 5;
  device.write_bytes = 41'000'000;
  device.prepare_write_bytes = 20'000'000;
  device.chunk_write_bytes = 20'000'000;
  device.budget_day_bytes_left = 1'000'000;
  nvme.devices.push_back(device);
  core.tiers.push_back(nvme);
  for (const char* name : {"default", "uid-1000"}) {
    TenantSnapshot tenant;
    tenant.name = name;
    tenant.host_bytes_max = UINT64_MAX;
    for (size_t i = 0; i < tenant.counters.size(); ++i) tenant.counters[i] = 5000 + i;
    core.tenants.push_back(tenant);
  }
  SpaceSnapshot space;
  space.id = 1;
  space.model = "model";
  core.spaces.push_back(space);
  SessionSnapshot session;
  session.id = 7;
  session.name = "engine";
  session.state = "attached";
  core.sessions.push_back(session);
  uint64_t values[sizeof(CoreCounters) / sizeof(uint64_t)];
  for (size_t i = 0; i < std::size(values); ++i) values[i] = 70'001 + i;
  std::memcpy(&core.counters, values, sizeof values);
  return core;
}

inline ChunkSnapshot sample_chunk() {
  ChunkSnapshot chunk;
  chunk.found = true;
  chunk.key = "00112233445566778899aabbccddeeff";
  chunk.tier = "host";
  chunk.state = "valid";
  chunk.has_checksum = true;
  chunk.checksum = 0xabc;
  return chunk;
}

}  // namespace kvtier::daemon
