// See environment.hpp.
#include "tests/simulation/environment.hpp"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "daemon/keep/ledger.hpp"
#include "daemon/memory/memfd.hpp"
#include "daemon/tiers/nvme_slab.hpp"
#include "daemon/tiers/nvme_tier.hpp"

namespace kvtier::simulation {

using namespace daemon;

namespace {

constexpr uint64_t kSegmentBytes = 128 * wire::KiB;

// Salts of the tenants, the same for all seeds of a run.
const std::string& state_directory() {
  struct Folder {
    Folder() {
      char name[] = "/tmp/kvtier-simulation-XXXXXX";
      path = ::mkdtemp(name);
    }
    ~Folder() { std::filesystem::remove_all(path); }
    std::string path;
  };
  static const Folder folder;
  return folder.path;
}

// A piece of shared memory, to be put back: what a killed process does not do any more.
struct Piece {
  std::string name;
  off_t offset;
  std::vector<std::byte> bytes;
};

// Only what was ever written: the tables are sparse.
void copy_pieces(const std::string& name, const Fd& fd, std::vector<Piece>* pieces) {
  struct stat facts = {};
  if (::fstat(fd.get(), &facts) != 0 || !S_ISREG(facts.st_mode)) return;
  for (off_t at = 0; at < facts.st_size;) {
    const off_t data = ::lseek(fd.get(), at, SEEK_DATA);
    if (data < 0) return;
    at = std::min<off_t>(::lseek(fd.get(), data, SEEK_HOLE), facts.st_size);
    Piece piece{name, data, std::vector<std::byte>(static_cast<size_t>(at - data))};
    if (::pread(fd.get(), piece.bytes.data(), piece.bytes.size(), data) < 0) std::abort();
    pieces->push_back(std::move(piece));
  }
}

nvme::Uuid uuid_of(size_t device) {
  nvme::Uuid uuid = {};
  uuid[0] = static_cast<nvme::Uuid::value_type>(device + 1);
  return uuid;
}

}  // namespace

const char* name_of(Ending ending) {
  constexpr const char* kNames[] = {"in order", "by kill -9", "by a power cut"};
  return kNames[static_cast<size_t>(ending)];
}

std::vector<KeptFd> SimulatedKeeper::take() {
  std::vector<KeptFd> taken;
  for (const auto& [name, fd] : fds_) taken.push_back({name, duplicate(fd).value()});
  return taken;
}

Status SimulatedKeeper::keep(const std::string& name, const Fd& fd) {
  Result<Fd> copy = duplicate(fd);
  if (!copy.ok()) return copy.error();
  fds_[name] = std::move(copy).value();
  return {};
}

Environment::Environment(Random& random, const VirtualClock& clock)
    : random_(random), clock_(clock), records_(std::make_shared<SimulatedRecords>()) {
  config_.host.capacity_bytes = random_.between(1, 6) * kSegmentBytes;
  config_.host.segment_bytes_min = kSegmentBytes;
  config_.host.lock = Demand::kNever;
  config_.host.huge_pages = Demand::kNever;
  config_.host.lease_max_ns = random_.percent(30) ? 500'000'000 : 60'000'000'000;
  config_.index.huge_pages = Demand::kNever;
  config_.index.chunks_max = 1024;
  config_.session.lease_cells = 64;
  config_.session.argument_bytes = 64 * wire::KiB;
  config_.nvme.when_behind = random_.percent(50) ? WhenBehind::kWait : WhenBehind::kDrop;
  config_.nvme.demote_idle_after_ns = random_.percent(30) ? 50'000'000 : 0;
  config_.nvme.scrub_rate = random_.percent(30) ? 8 * wire::MiB : 0;
  faulty_ = random_.percent(50);
  restarts_ = random_.percent(70);
  const uint32_t devices = random_.percent(10) ? 0 : random_.between(1, 2);
  for (uint32_t i = 0; i < devices; ++i) {
    const uint64_t bytes = random_.between(2, 12) * 256 * wire::KiB;
    devices_.push_back({std::make_shared<SimulatedMedium>(bytes), nullptr});
  }
}

std::unique_ptr<Tier> Environment::make_tier() {
  if (devices_.empty()) return nullptr;
  std::vector<nvme::Slab> slabs;
  for (size_t i = 0; i < devices_.size(); ++i) {
    SimulatedDiskOptions options;
    options.seed = random_.next();
    options.in_flight_max = 16;
    options.bandwidth_bytes_per_s = 50e6;
    auto disk = std::make_unique<SimulatedDisk>(devices_[i].medium, options, clock_);
    devices_[i].disk = disk.get();
    nvme::SlabOptions slab;
    slab.name = "disk" + std::to_string(i);
    slab.segment_bytes = kSegmentBytes;
    slab.uuid = uuid_of(i);
    auto opened = nvme::open_slab(std::move(disk), slab);
    if (!opened.ok()) {
      // Both superblocks were overwritten by misdirected writes, say: served without this device,
      // as the daemon does, until somebody puts in another.
      devices_[i].disk = nullptr;
      nvme::Slab failed;
      failed.name = slab.name;
      failed.failure = opened.error().message();
      slabs.push_back(std::move(failed));
      devices_[i].medium = std::make_shared<SimulatedMedium>(devices_[i].medium->size_bytes());
      continue;
    }
    slabs.push_back(std::move(opened).value());
  }
  auto metadata = std::make_unique<SimulatedMetadata>(records_, clock_);
  metadata_ = metadata.get();
  NvmeTierOptions options;
  options.device.depth = random_.between(1, 8);
  options.prepare = false;
  options.wall_seconds = [this] { return clock_.now_ns() / 1'000'000'000; };
  return std::make_unique<NvmeTier>(std::move(slabs), std::move(metadata), options, clock_);
}

std::unique_ptr<Core> Environment::start(Executor& executor) {
  std::unique_ptr<Tier> tier = make_tier();
  if (!devices_.empty() && tier == nullptr) return nullptr;
  tier_ = tier.get();
  CoreOptions options;
  options.config = config_;
  options.epoch = ++epochs_;
  options.state_directory = state_directory();
  options.keeper = &keeper_;
  options.kept = std::make_shared<KeptFds>(keeper_.take());
  auto core = Core::create(std::move(options), executor, clock_, std::move(tier));
  if (!core.ok()) {
    error_ = core.error().message();
    return nullptr;
  }
  if (faulty_) change_faults();
  return std::move(core).value();
}

Ending Environment::some_ending() {
  const uint32_t choice = random_.below(100);
  return choice < 25 ? Ending::kOrderly : choice < 85 ? Ending::kKill : Ending::kPowerCut;
}

void Environment::stop(Ending ending, std::unique_ptr<Core> core) {
  std::vector<Piece> before;
  if (ending == Ending::kOrderly) {
    core->close();
  } else {
    for (const auto& [name, fd] : keeper_.fds()) copy_pieces(name, fd, &before);
    const CrashKind kind = ending == Ending::kKill ? CrashKind::kKill : CrashKind::kPowerCut;
    for (Device& device : devices_) {
      if (device.disk != nullptr) device.disk->crash(kind);
    }
    if (metadata_ != nullptr) metadata_->crash(ending == Ending::kKill ? 0 : random_.below(20));
  }
  tier_ = nullptr;
  core.reset();
  for (Device& device : devices_) device.disk = nullptr;
  metadata_ = nullptr;
  if (ending == Ending::kPowerCut) return keeper_.clear();
  for (const Piece& piece : before) {
    const auto kept = keeper_.fds().find(piece.name);
    if (kept == keeper_.fds().end()) continue;
    if (::pwrite(kept->second.get(), piece.bytes.data(), piece.bytes.size(), piece.offset) < 0) {
      std::abort();
    }
  }
  if (random_.percent(10)) damage_host();
}

// A few bytes of kept segments change, as memory that nobody guarded might.
void Environment::damage_host() {
  for (const auto& [name, fd] : keeper_.fds()) {
    if (name.find("segment") == std::string::npos) continue;
    struct stat facts = {};
    if (::fstat(fd.get(), &facts) != 0 || facts.st_size < 4096) continue;
    const auto at = static_cast<off_t>(random_.next() % static_cast<uint64_t>(facts.st_size));
    std::byte value{};
    if (::pread(fd.get(), &value, 1, at) != 1) continue;
    value ^= std::byte{1};
    if (::pwrite(fd.get(), &value, 1, at) == 1) ++damaged_host_;
  }
}

std::set<std::pair<uint64_t, uint64_t>> Environment::recorded() const {
  std::set<std::pair<uint64_t, uint64_t>> all;
  for (const auto& [key, value] : records_->records) {
    for (size_t i = 0; i < devices_.size(); ++i) {
      nvme::ChunkRecord record;
      if (!nvme::decode(key, value, uuid_of(i), record)) continue;
      all.insert({record.chunk.key.lo, record.chunk.space.lo});
    }
  }
  return all;
}

void Environment::end_processes_unseen(Core& core, const std::function<bool(int)>& lives) {
  for (OrphanedSession& orphan : core.take_orphans()) {
    if (!lives(orphan.session->pid)) core.remove_session(*orphan.session);
  }
}

void Environment::change_faults() {
  if (!faulty_) return;
  for (Device& device : devices_) {
    if (device.disk == nullptr) continue;
    DiskFaultRates& rates = device.disk->faults();
    rates = DiskFaultRates{};
    device.disk->release();
    const auto some = [this](uint32_t percent_of_all) {
      return random_.percent(30) ? static_cast<double>(random_.below(percent_of_all)) / 100 : 0.0;
    };
    rates.read_error = some(30);
    rates.write_error = some(30);
    rates.short_read = some(20);
    rates.torn_write = some(30);
    rates.misdirected_write = some(20);
    rates.bit_flip = some(30);
    rates.delay = some(30);
    rates.reorder = some(50);
    if (random_.percent(5)) device.disk->hang();
  }
}

void Environment::heal() {
  faulty_ = false;
  for (Device& device : devices_) {
    if (device.disk == nullptr) continue;
    device.disk->faults() = DiskFaultRates{};
    device.disk->fail(0);
    device.disk->release();
  }
}

}  // namespace kvtier::simulation
