// The tier on NVMe: chunks in the slots of slabs (docs/format.md), one slab a device, what is in
// them recorded in a metadata store. Core thread; never waits; never looks at a chunk's bytes. It
// knows no leases, policies or sessions.
//
// A chunk exists from the moment its data is written; its record follows. A slot is written again
// only when the removal of its old record is recorded. Nothing is ever flushed: whoever reads a
// chunk compares it with what it should be.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "daemon/io/disk.hpp"
#include "daemon/io/metadata.hpp"
#include "daemon/memory/clock.hpp"
#include "daemon/memory/fd.hpp"
#include "daemon/tiers/nvme_device.hpp"
#include "daemon/tiers/nvme_slab.hpp"
#include "daemon/tiers/nvme_slots.hpp"
#include "daemon/tiers/tier.hpp"

namespace kvtier::daemon {

struct NvmeTierOptions {
  nvme::DeviceOptions device;
  bool prepare = true;  // write every free segment once, in the background
  // Seconds since 1970, only to know how long ago another process wrote.
  std::function<uint64_t()> wall_seconds;
};

class NvmeTier final : public Tier {
 public:
  // `metadata` may be null: then nothing is recorded, and found again only from slot headers.
  // `wake`: the eventfd that disks and metadata write, if there is one.
  NvmeTier(std::vector<nvme::Slab> slabs, std::unique_ptr<Metadata> metadata,
           const NvmeTierOptions& options, const Clock& clock, Fd wake = Fd());
  ~NvmeTier() override;

  wire::Tier kind() const override { return wire::Tier::kNvme; }
  TierCapacity capacity() const override;
  uint32_t slots_max() const override;
  void know_tenant(uint32_t number, const std::string& name) override;
  Status begin_write(const TierWrite& write) override;
  Status begin_read(const TierRead& read) override;
  void forget(TierPlace place) override;
  uint64_t settle() override { return metadata_ == nullptr ? 0 : metadata_->sync(); }
  bool settled(uint64_t number) const override {
    if (metadata_ == nullptr) return true;
    // One that failed keeps the old records for the next process.
    return metadata_->state() == MetadataState::kReady && metadata_->recorded() >= number;
  }
  uint64_t room(uint32_t tenant, uint64_t chunk_bytes) const override;
  size_t make_room(uint32_t tenant, uint64_t chunk_bytes, std::span<TierPlace> out) override;
  uint64_t slot_bytes_max() const override;
  uint32_t device_of(TierPlace place) const override { return slots_.device_of(place); }
  bool serves(uint32_t device) const override { return devices_[device]->in_service(); }
  void submit() override;
  size_t poll(std::span<TierCompletion> out) override;
  int completion_fd() const override { return wake_.get(); }
  void tick() override;
  bool recovering() const override;
  std::vector<std::string> recovered_tenants() override;
  size_t recovered(std::span<TierRecord> out) override;
  Status register_memory(std::span<std::byte> memory) override;
  void unregister_memory(std::span<std::byte> memory) override;
  std::vector<TierDevice> devices() const override;
  std::vector<TierNotice> take_notices() override;

  Metadata* metadata() { return metadata_.get(); }

 private:
  struct Transfer {
    bool is_used = false;
    bool is_write = false;
    uint64_t ticket = 0;
    TierPlace place = 0;
    uint32_t device = 0;
    TierChunk chunk;  // of a write
    uint64_t bytes = 0;
  };
  struct Removal {
    uint64_t number;  // of the metadata operation
    TierPlace place;
  };
  enum class Recovery : uint8_t { kOpening, kDevices, kRecords, kHeaders, kGone, kDone };
  struct HeaderRead {
    bool is_out = false;
    bool is_lost = false;   // given up, and its memory not back yet
    bool is_whole = false;  // all of the header was asked for, not only its first page
    uint32_t segment = 0;   // of the device
    uint32_t slot = 0;
    std::byte* memory = nullptr;
  };
  struct FreeMemory {
    void operator()(std::byte* memory) const;
  };
  using Memory = std::unique_ptr<std::byte[], FreeMemory>;
  static Memory page_memory(uint64_t bytes);

  // Transfers (nvme_tier.cpp)
  uint32_t find_tenant(uint32_t number) const;
  TierPlace place_for(uint32_t tenant, uint64_t slot_bytes, uint32_t& device, Status& why);
  uint32_t new_transfer();
  void end_io(uint32_t device, const nvme::IoResult& result);
  void end_transfer(uint32_t number, const nvme::IoResult& result);
  void end_write(Transfer& transfer, const nvme::IoResult& result, TierCompletion& completion);
  void end_read(Transfer& transfer, const nvme::IoResult& result, TierCompletion& completion);
  void release_reader(TierPlace place);
  void free_removed();
  const nvme::Uuid& uuid(uint32_t device) const { return slabs_[device].superblock.uuid; }
  uint64_t put(std::string key, std::string value);
  uint64_t remove(std::string key);

  // Upkeep (nvme_upkeep.cpp)
  void write_descriptor(uint32_t segment);
  void end_descriptor(uint32_t segment, const nvme::IoResult& result);
  void prepare(uint32_t device);
  void end_prepare(uint32_t device, const nvme::IoResult& result);
  void save_budget(uint32_t device, bool is_first);
  void take_message();

  // Recovery (nvme_recovery.cpp)
  void recover();
  void start_device();
  void end_device(bool is_complete);
  void take_device_records();
  bool take_records();
  void read_headers();
  void next_header(HeaderRead& read);
  void end_header(size_t number, const nvme::IoResult& result);
  bool find(uint32_t device, const nvme::ChunkRecord& record);
  void note_gone(const std::string& key);
  void start_gone();
  void take_gone();
  void end_recovery();

  const NvmeTierOptions options_;
  const Clock& clock_;
  Fd wake_;
  nvme::Slots slots_;
  std::unique_ptr<Metadata> metadata_;
  std::vector<nvme::Slab> slabs_;
  std::vector<std::unique_ptr<nvme::Device>> devices_;
  std::vector<uint32_t> tenants_;  // by the caller's number: index in slots_.tenants()
  std::vector<Transfer> transfers_;
  std::vector<uint32_t> free_transfers_;
  std::deque<TierCompletion> done_;
  std::deque<Removal> removals_;
  std::vector<TierNotice> notices_;
  uint64_t queued_bytes_ = 0;
  uint32_t next_device_ = 0;

  struct Upkeep {
    std::vector<std::pair<uint32_t, Memory>> descriptors;  // being written
    uint32_t preparing = UINT32_MAX;                       // segment
    uint64_t prepared_to = 0;                              // offset in it, of what was begun
    uint32_t prepare_out = 0;                              // writes under way
    bool prepare_failed = false;
    uint64_t charged_at_save = 0;  // bytes written when the device record was last put
  };
  std::vector<Upkeep> upkeep_;
  Memory zeros_;

  Recovery recovery_ = Recovery::kOpening;
  uint32_t recovering_device_ = 0;
  uint32_t header_segment_ = 0;
  uint32_t header_slot_ = 0;
  uint64_t headers_found_ = 0;
  std::vector<nvme::Uuid> gone_;  // slabs that the metadata knows, and no path has
  uint64_t gone_chunks_ = 0;
  std::vector<bool> has_record_;  // of a device: its chunks are in the metadata
  std::vector<HeaderRead> header_reads_;
  Memory header_memory_;
  std::deque<TierRecord> found_;
};

}  // namespace kvtier::daemon
