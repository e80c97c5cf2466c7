#include "daemon/tiers/make_nvme_tier.hpp"

#include <sys/eventfd.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "daemon/io/rocksdb_metadata.hpp"
#include "daemon/io/uring_disk.hpp"
#include "daemon/tiers/nvme_tier.hpp"

namespace kvtier::daemon {
namespace {

constexpr size_t kProbePieces = 2;  // of the device's own, beside the depth

Status make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return {};
  return Error::system(errno, path.c_str());
}

Result<nvme::Slab> open_path(const std::string& path, const Config::Nvme& options,
                             const Clock& clock, int wake) {
  Result<nvme::SlabFile> file = nvme::open_slab_file({path, options.capacity_bytes});
  if (!file.ok()) return file.error();
  UringDiskOptions disk_options;
  disk_options.in_flight_max = options.queue_depth + kProbePieces;
  disk_options.wake_fd = wake;
  disk_options.iopoll = options.iopoll == Switch::kOn;
  disk_options.sqpoll = options.sqpoll == Switch::kOn;
  disk_options.registered_buffers = options.registered_buffers != Demand::kNever;
  Result<std::unique_ptr<Disk>> disk = make_uring_disk(std::move(file->file), disk_options, clock);
  if (!disk.ok()) return disk.error();
  nvme::SlabOptions slab_options;
  slab_options.name = file->path;
  slab_options.capacity_bytes = options.capacity_bytes;
  slab_options.segment_bytes = options.segment_bytes;
  Result<nvme::Slab> slab = nvme::open_slab(std::move(disk.value()), slab_options);
  if (!slab.ok()) return slab.error();
  slab->lock = std::move(file->lock);
  slab->needs_preparing = !file->is_block_device;
  for (std::string& warning : file->warnings) slab->warnings.push_back(std::move(warning));
  return slab;
}

}  // namespace

Result<std::unique_ptr<Tier>> make_nvme_tier(const Config& config,
                                             const std::string& state_directory,
                                             const Clock& clock) {
  const Config::Nvme& options = config.nvme;
  if (options.capacity_bytes == 0) return std::unique_ptr<Tier>();
  const std::string own = state_directory + "/nvme";
  const Status made = make_directory(own);
  if (!made.ok()) return made.error();
  Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return Error::system(errno, "eventfd for the nvme tier");

  std::vector<std::string> paths = options.paths;
  if (paths.empty()) paths.push_back(own);
  std::vector<nvme::Slab> slabs;
  for (const std::string& path : paths) {
    Result<nvme::Slab> slab = open_path(path, options, clock, wake.get());
    if (!slab.ok()) {
      if (options.required == Switch::kOn) {
        return Error::format(
            slab.error().code(),
            "nvme.required is \"on\" and %s of nvme.paths cannot be used: %s; make "
            "the folder or mount its file system, or set nvme.required to \"off\"",
            path.c_str(), slab.error().message());
      }
      nvme::Slab failed;
      failed.name = path;
      failed.failure = slab.error().message();
      slabs.push_back(std::move(failed));
      continue;
    }
    slabs.push_back(std::move(slab.value()));
  }

  RocksdbOptions metadata_options;
  metadata_options.directory = own + "/metadata";
  metadata_options.wake_fd = wake.get();
  Result<std::unique_ptr<Metadata>> metadata = make_rocksdb_metadata(metadata_options);
  if (!metadata.ok()) return metadata.error();

  NvmeTierOptions tier_options;
  tier_options.device.depth = options.queue_depth;
  tier_options.device.io_timeout_ns = options.io_timeout_ns;
  tier_options.device.slow_bytes_per_s = options.slow_below;
  tier_options.device.write_bytes_per_second = options.write_budget;
  tier_options.device.write_bytes_per_day = options.write_budget_day;
  tier_options.prepare = options.prepare == Switch::kOn;
  return std::unique_ptr<Tier>(std::make_unique<NvmeTier>(
      std::move(slabs), std::move(metadata.value()), tier_options, clock, std::move(wake)));
}

}  // namespace kvtier::daemon
