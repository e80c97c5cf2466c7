// The whole core in one thread: inline workers, a virtual clock, and readers that follow the
// protocol over the real published and session memory. No daemon process, no socket.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "daemon/core/core.hpp"
#include "kernels/checksum.hpp"
#include "kvtier/wire/chunk_header.hpp"
#include "kvtier/wire/lookup.hpp"

namespace kvtier::daemon {

inline ChunkKey key_of(uint64_t number) {
  const XXH128_hash_t hash = XXH3_128bits(&number, sizeof number);
  return {hash.low64, hash.high64};
}

class CoreTest : public testing::Test {
 protected:
  static constexpr uint64_t kPayload = 60 * wire::KiB;  // 64 KiB slots with the header

  // A tier of `slots` slots of 64 KiB in one segment.
  void start(uint64_t slots = 64, uint64_t chunks_max = kUnlimited) {
    Config config;
    config.host.capacity_bytes = std::bit_ceil(slots) * 64 * wire::KiB;
    config.host.segment_bytes_min = std::min<uint64_t>(config.host.capacity_bytes, 32 * wire::MiB);
    config.host.capacity_chunks = chunks_max;
    config.host.lock = Demand::kNever;
    config.host.huge_pages = Demand::kNever;
    config.index.huge_pages = Demand::kNever;
    start(config);
  }

  void start(const Config& config, std::unique_ptr<Tier> below = nullptr) {
    core_.reset();
    executor_ = make_inline_executor();
    CoreOptions options;
    options.config = config;
    options.epoch = 42;
    auto core = Core::create(options, *executor_, clock_, std::move(below));
    ASSERT_TRUE(core.ok()) << core.error().message();
    core_ = std::move(core).value();
  }

  Session& attach(uint32_t uid = 1000, int pid = 100) {
    auto tenant = core_->tenant_by_uid(uid);
    EXPECT_TRUE(tenant.ok()) << tenant.error().message();
    auto session = core_->admit({*tenant, pid, uid, "test", false});
    EXPECT_TRUE(session.ok()) << session.error().message();
    return **session;
  }

  uint32_t open_space(Session& session, const char* model = "m", uint32_t shard = 0,
                      uint32_t shards = 1, uint64_t chunk_bytes = kPayload) {
    wire::SpaceSpecWire spec = {};
    std::snprintf(spec.model, sizeof spec.model, "%s", model);
    spec.tokens_per_chunk = 16;
    spec.shard = shard;
    spec.shards = shards;
    spec.chunk_bytes_max = chunk_bytes;
    auto space = core_->open_space(session, spec);
    EXPECT_TRUE(space.ok()) << space.error().message();
    return space->id;
  }

  struct Reserved {
    wire::ReserveOutcome outcome;
    uint64_t place = 0;
  };
  Reserved reserve(Session& session, uint32_t space, ChunkKey key, uint64_t bytes = kPayload) {
    const uint32_t tokens[16] = {1, 2, 3};
    ReserveRequest request = {};
    request.arg.key = key;
    request.arg.payload_bytes = bytes;
    request.tokens = tokens;
    wire::ReserveAnswer answer = {};
    core_->reserve(session, space, {&request, 1}, {&answer, 1});
    return {static_cast<wire::ReserveOutcome>(answer.outcome), answer.place};
  }
  // As a client would: waits (by completing jobs) while the tier grows.
  Reserved reserve_patiently(Session& session, uint32_t space, ChunkKey key,
                             uint64_t bytes = kPayload) {
    Reserved reserved = reserve(session, space, key, bytes);
    for (int i = 0; i < 64 && reserved.outcome == wire::ReserveOutcome::kBusy; ++i) {
      executor_->complete();
      clock_.advance_ns(1'000'000);
      reserved = reserve(session, space, key, bytes);
    }
    return reserved;
  }
  wire::CommitOutcome commit(Session& session, uint64_t place, bool checksum = true) {
    wire::CommitArg argument = {place, 0, checksum ? wire::kCommitHasChecksum : 0u, 0};
    if (checksum) argument.checksum = root_at(session, place);
    wire::CommitAnswer answer = {};
    core_->commit(session, {&argument, 1}, {&answer, 1});
    return static_cast<wire::CommitOutcome>(answer.outcome);
  }
  bool store(Session& session, uint32_t space, ChunkKey key, uint64_t bytes = kPayload) {
    clock_.advance_ns(1'000'000);
    const Reserved reserved = reserve_patiently(session, space, key, bytes);
    if (reserved.outcome != wire::ReserveOutcome::kGranted) return false;
    std::memset(payload(session, reserved.place), static_cast<int>(key.lo & 0xff), bytes);
    return commit(session, reserved.place) == wire::CommitOutcome::kStored;
  }

  std::byte* payload(Session& session, uint64_t place) {
    return core_->host().data(core_->host().slot_at(session.tenant, wire::Place(place))) + 4096;
  }
  uint64_t root_at(Session& session, uint64_t place) {
    const SlotId slot = core_->host().slot_at(session.tenant, wire::Place(place));
    return kernels::hash_only(payload(session, place), core_->host().slots()[slot].payload_bytes);
  }

  const wire::PublishedView& view(const Session& session) {
    return core_->tenant(session.tenant).index->view();
  }
  wire::FoundChunk find(const Session& session, uint32_t space, ChunkKey key) {
    return wire::find_chunk(view(session), key, space);
  }
  bool resident(const Session& session, uint32_t space, ChunkKey key) {
    return find(session, space, key).found == wire::Found::kHost;
  }

  // The client's half of a lease, as docs/protocol.md section 4 says.
  bool lease(Session& session, uint32_t space, ChunkKey key, uint32_t cell) {
    const wire::FoundChunk found = find(session, space, key);
    if (found.found != wire::Found::kHost) return false;
    wire::SessionHeader& header = session.memory.header();
    if (header.cells_high_water.load() <= cell) header.cells_high_water.store(cell + 1);
    cells(session)[cell].store(found.place.word(), std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return view(session).entries[found.entry].host_place.load() == found.place.word();
  }
  void release(Session& session, uint32_t cell) {
    cells(session)[cell].store(0, std::memory_order_release);
  }
  void touch(Session& session, uint64_t place) {
    wire::SessionHeader& header = session.memory.header();
    const uint32_t tail = header.touch_tail.load();
    auto* touches = reinterpret_cast<std::atomic<uint64_t>*>(base(session) + header.touches_offset);
    touches[tail % header.touch_entries].store(place);
    header.touch_tail.store(tail + 1, std::memory_order_release);
  }
  std::atomic<uint64_t>* cells(Session& session) {
    return reinterpret_cast<std::atomic<uint64_t>*>(base(session) +
                                                    session.memory.header().cells_offset);
  }
  std::byte* base(Session& session) {
    return reinterpret_cast<std::byte*>(&session.memory.header());
  }

  TierSnapshot tier() { return core_->snapshot().tiers.front(); }

  VirtualClock clock_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Core> core_;
};

}  // namespace kvtier::daemon
