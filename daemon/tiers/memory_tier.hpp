// A tier in this process's memory with a settable speed, on the core's clock: what a device arena
// or a drive looks like to the core, without one. For tests and simulation; not a tier for users.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "daemon/memory/clock.hpp"
#include "daemon/tiers/tier.hpp"

namespace kvtier::daemon {

struct MemoryTierOptions {
  wire::Tier kind = wire::Tier::kNvme;
  uint64_t capacity_bytes = 0;
  double bandwidth_bytes_per_s = 1e9;  // one transfer after the other, in order
  double latency_s = 0;                // on top, overlapping
  size_t queue_max = 64;
  uint32_t slots_max = 1u << 20;
};

class MemoryTier final : public Tier {
 public:
  MemoryTier(const MemoryTierOptions& options, const Clock& clock);

  wire::Tier kind() const override { return options_.kind; }
  TierCapacity capacity() const override;
  Status begin_write(const TierWrite& write) override;
  Status begin_read(const TierRead& read) override;
  void forget(TierPlace place) override;
  size_t poll(std::span<TierCompletion> out) override;
  int completion_fd() const override { return -1; }
  uint32_t slots_max() const override;
  void know_tenant(uint32_t number, const std::string& name) override;
  uint64_t room(uint32_t tenant, uint64_t chunk_bytes) const override;
  size_t make_room(uint32_t tenant, uint64_t chunk_bytes, std::span<TierPlace> out) override;
  void tick() override {}
  Status register_memory(std::span<std::byte> memory) override;
  void unregister_memory(std::span<std::byte> memory) override;
  // What another incarnation left: hands the places over again, as after a restart.
  void restart();
  bool recovering() const override { return !unrecovered_.empty(); }
  std::vector<std::string> recovered_tenants() override;
  size_t recovered(std::span<TierRecord> out) override;

  // Faults, for tests: the bytes of a place, and whether the tier serves at all.
  std::vector<std::byte>& bytes_at(TierPlace place) { return places_.at(place).bytes; }
  bool holds(TierPlace place) const { return places_.contains(place); }
  uint64_t registered_bytes() const;
  // From now on it refuses.
  void set_registered_max(uint64_t bytes) { registered_max_ = bytes; }
  void set_latency(double seconds) { options_.latency_s = seconds; }
  void set_in_service(bool in_service) { in_service_ = in_service; }
  void set_bandwidth(double bytes_per_s) { options_.bandwidth_bytes_per_s = bytes_per_s; }

 private:
  struct Transfer {
    uint64_t due_ns;
    uint64_t begun_ns;
    TierCompletion completion;
    std::string tenant;                 // of a write
    TierChunk chunk;                    // of a write
    std::span<const std::byte> source;  // of a write
    std::span<std::byte> target;        // of a read
  };
  struct Stored {
    std::string tenant;
    TierChunk chunk;
    std::vector<std::byte> bytes;
  };
  Status admit() const;
  TierPlace take_place();
  void queue(Transfer transfer);

  MemoryTierOptions options_;
  const Clock& clock_;
  std::map<TierPlace, Stored> places_;
  std::vector<TierPlace> free_;
  std::deque<Transfer> transfers_;
  std::map<uint32_t, std::string> tenants_;
  std::vector<TierPlace> unrecovered_;
  std::map<std::byte*, uint64_t> registered_;
  uint64_t registered_max_ = UINT64_MAX;
  TierPlace next_place_ = 1;
  uint64_t used_bytes_ = 0;
  uint64_t queued_bytes_ = 0;
  uint64_t link_free_ns_ = 0;  // when the last queued transfer leaves the link
  bool in_service_ = true;
};

}  // namespace kvtier::daemon
