#include "tests/daemon/tiers/nvme_fixture.hpp"

#include <sys/eventfd.h>

#include <filesystem>

#include "daemon/io/rocksdb_metadata.hpp"
#include "daemon/io/uring_disk.hpp"

namespace kvtier::daemon {
namespace {

// A tier whose folder goes with it.
class TierInFolder final : public Tier {
 public:
  TierInFolder(std::unique_ptr<TemporaryFolder> folder, std::unique_ptr<Tier> tier)
      : folder_(std::move(folder)), tier_(std::move(tier)) {}
  wire::Tier kind() const override { return tier_->kind(); }
  TierCapacity capacity() const override { return tier_->capacity(); }
  uint32_t slots_max() const override { return tier_->slots_max(); }
  void know_tenant(uint32_t number, const std::string& name) override {
    tier_->know_tenant(number, name);
  }
  void submit() override { tier_->submit(); }
  Status begin_write(const TierWrite& write) override { return tier_->begin_write(write); }
  Status begin_read(const TierRead& read) override { return tier_->begin_read(read); }
  void forget(TierPlace place) override { tier_->forget(place); }
  uint64_t room(uint32_t tenant, uint64_t bytes) const override {
    return tier_->room(tenant, bytes);
  }
  size_t make_room(uint32_t tenant, uint64_t bytes, std::span<TierPlace> out) override {
    return tier_->make_room(tenant, bytes, out);
  }
  size_t poll(std::span<TierCompletion> out) override { return tier_->poll(out); }
  int completion_fd() const override { return tier_->completion_fd(); }
  void tick() override { tier_->tick(); }
  bool recovering() const override { return tier_->recovering(); }
  std::vector<std::string> recovered_tenants() override { return tier_->recovered_tenants(); }
  size_t recovered(std::span<TierRecord> out) override { return tier_->recovered(out); }

 private:
  std::unique_ptr<TemporaryFolder> folder_;
  std::unique_ptr<Tier> tier_;
};

uint64_t slab_bytes(uint64_t segment_bytes) {
  return 3 * nvme::kPage + segment_bytes;
}

}  // namespace

nvme::Slab simulated_slab(const std::shared_ptr<SimulatedMedium>& medium, const Clock& clock,
                          const SimulatedDiskOptions& options, uint64_t segment_bytes,
                          SimulatedDisk** disk) {
  auto made = std::make_unique<SimulatedDisk>(medium, options, clock);
  if (disk != nullptr) *disk = made.get();
  nvme::SlabOptions slab_options;
  slab_options.name = "simulated";
  slab_options.segment_bytes = segment_bytes;
  slab_options.uuid = {1, 2, 3, static_cast<uint8_t>(options.seed)};
  Result<nvme::Slab> slab = nvme::open_slab(std::move(made), slab_options);
  if (slab.ok()) return std::move(slab.value());
  nvme::Slab failed;
  failed.name = slab_options.name;
  failed.failure = slab.error().message();
  if (disk != nullptr) *disk = nullptr;
  return failed;
}

std::unique_ptr<Tier> make_simulated_tier(uint64_t capacity_bytes, const Clock& clock) {
  const auto medium = std::make_shared<SimulatedMedium>(slab_bytes(capacity_bytes));
  std::vector<nvme::Slab> slabs;
  slabs.push_back(simulated_slab(medium, clock, {}, capacity_bytes));
  auto metadata = std::make_unique<SimulatedMetadata>(std::make_shared<SimulatedRecords>(), clock);
  return std::make_unique<NvmeTier>(std::move(slabs), std::move(metadata), NvmeTierOptions(),
                                    clock);
}

std::unique_ptr<Tier> make_uring_tier(uint64_t capacity_bytes, const Clock& clock) {
  auto folder = std::make_unique<TemporaryFolder>();
  Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  Result<nvme::SlabFile> file = nvme::open_slab_file({folder->path(), slab_bytes(capacity_bytes)});
  EXPECT_TRUE(file.ok()) << file.error().message();
  UringDiskOptions disk_options;
  disk_options.wake_fd = wake.get();
  Result<std::unique_ptr<Disk>> disk = make_uring_disk(std::move(file->file), disk_options, clock);
  EXPECT_TRUE(disk.ok()) << disk.error().message();
  nvme::SlabOptions slab_options;
  slab_options.name = file->path;
  slab_options.segment_bytes = capacity_bytes;
  Result<nvme::Slab> slab = nvme::open_slab(std::move(disk.value()), slab_options);
  EXPECT_TRUE(slab.ok()) << slab.error().message();
  slab->lock = std::move(file->lock);
  RocksdbOptions metadata_options;
  metadata_options.directory = folder->path() + "/metadata";
  metadata_options.wake_fd = wake.get();
  Result<std::unique_ptr<Metadata>> metadata = make_rocksdb_metadata(metadata_options);
  EXPECT_TRUE(metadata.ok()) << metadata.error().message();
  std::vector<nvme::Slab> slabs;
  slabs.push_back(std::move(slab.value()));
  NvmeTierOptions options;
  options.device.io_timeout_ns = UINT64_MAX;  // the test's clock is not the disk's
  options.device.slow_bytes_per_s = 0;
  auto tier = std::make_unique<NvmeTier>(std::move(slabs), std::move(metadata.value()), options,
                                         clock, std::move(wake));
  return std::make_unique<TierInFolder>(std::move(folder), std::move(tier));
}

}  // namespace kvtier::daemon
