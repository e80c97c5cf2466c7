// Cores that follow each other over the same memory: each is started on a copy of what the one
// before had handed to its keeper at some moment, as if it had been killed there. One thread.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "tests/daemon/core/core_fixture.hpp"
#include "tests/daemon/keep/memory_keeper.hpp"

namespace kvtier::daemon {

class RestartTest : public CoreTest {
 protected:
  RestartTest() {
    state_ = testing::TempDir() + "kvtier-restart-XXXXXX";
    if (::mkdtemp(state_.data()) == nullptr) std::abort();
    clock_.advance_ns(1'000'000'000);
  }
  ~RestartTest() override {
    core_.reset();
    std::filesystem::remove_all(state_);
  }

  static Config config_of(uint64_t slots) {
    Config config;
    config.host.capacity_bytes = slots * 64 * wire::KiB;
    config.host.segment_bytes_min = 16 * 64 * wire::KiB;
    config.host.lock = Demand::kNever;
    config.host.huge_pages = Demand::kNever;
    config.index.huge_pages = Demand::kNever;
    return config;
  }

  void boot(const Config& config, bool cold = false) {
    if (keeper_ == nullptr) keeper_ = std::make_unique<MemoryKeeper>();
    executor_ = make_inline_executor();
    CoreOptions options;
    options.config = config;
    options.epoch = ++epoch_;
    options.state_directory = state_;
    options.keeper = keeper_.get();
    options.kept = std::make_shared<KeptFds>(keeper_->take());
    options.cold = cold;
    auto core = Core::create(options, *executor_, clock_);
    ASSERT_TRUE(core.ok()) << core.error().message();
    core_ = std::move(core).value();
    settle();
  }

  // The running core is killed here; the next one starts on what it left.
  void kill_and_boot(const Config& config) {
    std::unique_ptr<MemoryKeeper> left = keeper_->copy();
    core_.reset();  // what it does at its end is not in the copy
    executor_.reset();
    keeper_ = std::move(left);
    boot(config);
  }
  void stop_and_boot(const Config& config) {
    core_->close();
    kill_and_boot(config);
  }

  void settle() {
    for (int i = 0; i < 200 && executor_->pending() > 0; ++i) executor_->complete();
  }

  Session& attach_kept(uint32_t uid = 1000, int pid = 100) {
    const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
    auto tenant = core_->tenant_by_uid(uid);
    EXPECT_TRUE(tenant.ok()) << tenant.error().message();
    auto session = core_->admit({*tenant, pid, uid, "test", false, &process});
    EXPECT_TRUE(session.ok()) << session.error().message();
    return **session;
  }

  enum class Loaded : uint8_t { kMiss, kGood, kCorrupt, kWrongBytes };
  // As a client loads a chunk that is to be checked. store() fills payloads with one byte.
  Loaded load(Session& session, uint32_t space, ChunkKey key) {
    const wire::FoundChunk found = find(session, space, key);
    if (found.found != wire::Found::kHost) return Loaded::kMiss;
    const SlotId slot = core_->host().slot_at(session.tenant, found.place);
    if (slot == kNoSlot) return Loaded::kMiss;
    const std::byte* data = core_->host().data(slot);
    wire::ChunkHeader header;
    std::memcpy(&header, data, sizeof header);
    const std::byte* bytes = data + 4096;
    if (kernels::hash_only(bytes, kPayload) != header.checksum || header.key != key ||
        header.generation != found.place.generation()) {
      return Loaded::kCorrupt;
    }
    const auto due = static_cast<std::byte>(key.lo & 0xff);
    const bool right =
        std::all_of(bytes, bytes + kPayload, [due](std::byte b) { return b == due; });
    return right ? Loaded::kGood : Loaded::kWrongBytes;
  }

  // Every slot is exactly one thing, and what the tier says of itself adds up.
  void expect_slots_add_up() {
    uint64_t slots = 0, used = 0, free = 0, unused = 0, valid = 0;
    core_->host().each_segment([&](const Segment& segment) {
      slots += segment.slots;
      used += segment.used;
      for (SlotId slot = segment.first; slot < segment.first + segment.slots; ++slot) {
        const SlotState state = core_->host().slots()[slot].state.load();
        free += state == SlotState::kFree ? 1u : 0u;
        unused += state == SlotState::kUnused ? 1u : 0u;
        valid += state == SlotState::kValid ? 1u : 0u;
      }
    });
    EXPECT_EQ(slots, used + free + unused);
    EXPECT_EQ(valid, tier().chunks);
  }

  std::string state_;
  std::unique_ptr<MemoryKeeper> keeper_;
  uint64_t epoch_ = 100;
};

}  // namespace kvtier::daemon
