// A Disk that exists only in memory, on a clock that tests move, with every fault a drive can have:
// each by chance from a seed, and each by hand. For tests and simulation, one thread.
//
// The medium outlives the disk, as a drive outlives a daemon. A write changes the medium when it
// completes, from the memory as it is then; a read writes its target when it completes.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "daemon/io/disk.hpp"
#include "daemon/memory/clock.hpp"

namespace kvtier::daemon {

inline constexpr uint64_t kDiskSectorBytes = 512;  // what a drive writes whole or not at all

// Bytes by sector; what was never written reads as zeros.
class SimulatedMedium {
 public:
  explicit SimulatedMedium(uint64_t size_bytes) : size_(size_bytes) {}
  uint64_t size_bytes() const { return size_; }
  void read(uint64_t offset, std::span<std::byte> target) const;
  void write(uint64_t offset, std::span<const std::byte> data);
  void flip_bit(uint64_t offset, unsigned bit);

 private:
  static constexpr uint64_t kBlockBytes = 4096;
  using Block = std::array<std::byte, kBlockBytes>;
  uint64_t size_;
  std::map<uint64_t, std::unique_ptr<Block>> blocks_;
};

// Chances of each fault, from 0 to 1, per request that it can happen to.
struct DiskFaultRates {
  double read_error = 0;         // EIO
  double write_error = 0;        // EIO, after a part was written
  double short_read = 0;         // fewer bytes, reported as the drive does: EIO with bytes
  double torn_write = 0;         // only a head or a tail in whole sectors is written; says success
  double misdirected_write = 0;  // whole, but elsewhere; says success
  double bit_flip = 0;           // one bit of what was written; says success
  double delay = 0;              // takes delay_ns longer
  double hang = 0;               // never ends until release()
  double reorder = 0;            // ends up to reorder_ns later than in turn
  uint64_t delay_ns = 50'000'000;
  uint64_t reorder_ns = 1'000'000;
  double lost_at_power_cut = 0.5;  // of unflushed writes, each; as many more are torn
};

struct SimulatedDiskOptions {
  uint64_t seed = 1;
  size_t in_flight_max = 64;
  double bandwidth_bytes_per_s = 1e9;
  uint64_t latency_ns = 50'000;
  uint64_t cache_writes_max = 256;  // writes that a power cut may still take back
  DiskFaultRates faults;
};

enum class DiskFault : uint8_t {
  kNone,
  kError,
  kShortRead,
  kTornWrite,
  kMisdirectedWrite,
  kBitFlip,
  kDelay,
  kHang,
};

enum class CrashKind : uint8_t {
  kKill,      // the process ended: what completed is there, what was under way may be in part
  kPowerCut,  // besides, unflushed writes may be lost or torn, in any order
};

class SimulatedDisk final : public Disk {
 public:
  SimulatedDisk(std::shared_ptr<SimulatedMedium> medium, const SimulatedDiskOptions& options,
                const Clock& clock);

  uint64_t size_bytes() const override { return medium_->size_bytes(); }
  size_t in_flight() const override { return pending_.size(); }
  size_t in_flight_max() const override { return options_.in_flight_max; }
  Status begin(const DiskRequest& request) override;
  void submit() override {}
  size_t poll(std::span<DiskCompletion> out) override;
  int completion_fd() const override { return -1; }
  int read_now(uint64_t offset, std::span<std::byte> target) override;
  int write_now(uint64_t offset, std::span<const std::byte> data) override;
  Status register_memory(std::span<std::byte>) override {
    return Error(Code::kUnsupported, "a simulated disk registers nothing");
  }
  void unregister_memory(std::span<std::byte>) override {}

  // By hand. inject(): what the next request of that kind gets, in turn. fail(): every request ends
  // with this errno from now on, 0: no more. hang(): none ends until release().
  void inject(DiskOperation operation, DiskFault fault);
  void fail(int error) { error_ = error; }
  void hang() { hanging_ = true; }
  void release();
  void set_bandwidth(double bytes_per_s) { options_.bandwidth_bytes_per_s = bytes_per_s; }
  DiskFaultRates& faults() { return options_.faults; }
  // When the earliest request ends; UINT64_MAX: none does by itself.
  uint64_t next_end_ns() const;

  // Ends everything under way as the crash would; the disk is not used afterwards, the medium is.
  void crash(CrashKind kind);

 private:
  struct Pending {
    DiskRequest request;
    DiskFault fault = DiskFault::kNone;
    uint64_t begun_ns = 0;
    uint64_t due_ns = 0;  // UINT64_MAX: hangs
  };
  // What a power cut can take back: old and new bytes of a completed, unflushed write.
  struct Undo {
    uint64_t offset;
    std::vector<std::byte> before;
    std::vector<std::byte> after;
  };
  bool chance(double probability);
  DiskFault choose_fault(DiskOperation operation);
  DiskCompletion complete(const Pending& pending);
  int apply_write(const Pending& pending);
  void store(uint64_t offset, std::span<const std::byte> data, bool durable);
  std::span<const std::byte> torn(std::span<const std::byte> data, uint64_t& offset);

  std::shared_ptr<SimulatedMedium> medium_;
  SimulatedDiskOptions options_;
  const Clock& clock_;
  std::mt19937_64 random_;
  std::deque<Pending> pending_;
  std::deque<Undo> unflushed_;
  std::map<DiskOperation, std::deque<DiskFault>> injected_;
  uint64_t link_free_ns_ = 0;
  int error_ = 0;
  bool hanging_ = false;
};

}  // namespace kvtier::daemon
