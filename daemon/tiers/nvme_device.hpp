// One device of the nvme tier: its queues (loads before stores before what is done in the
// background), its write budget, its health, its counters. Core thread; knows offsets and bytes,
// nothing of chunks.
//
// A transfer goes to the disk in pieces, so that a large one does not hold up the small ones behind
// it. Out of service, everything queued fails at once; what the disk still has is reported as given
// up, and once more when the disk lets go of its memory.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "daemon/io/disk.hpp"
#include "daemon/memory/clock.hpp"
#include "daemon/tiers/nvme_budget.hpp"
#include "daemon/tiers/nvme_format.hpp"
#include "daemon/tiers/tier.hpp"

namespace kvtier::daemon::nvme {

enum class IoKind : uint8_t {
  kLoad,
  kStore,
  kDescriptor,  // a store that those behind it wait for
  kBackground,  // when nothing else is queued
};

struct Io {
  uint64_t cookie = 0;  // the owner's, comes back with the result
  IoKind kind = IoKind::kLoad;
  DiskOperation operation = DiskOperation::kRead;
  bool durable = false;
  uint64_t offset = 0;
  std::byte* data = nullptr;
  uint64_t bytes = 0;
};

struct IoResult {
  uint64_t cookie = 0;
  int error = 0;               // errno; 0: all bytes were moved
  bool memory_in_use = false;  // given up: another result of this cookie follows
  bool is_late = false;        // that other result
  double seconds = 0;          // from begin() to end
};

struct DeviceOptions {
  size_t depth = 32;        // pieces at the disk
  size_t queue_max = 1024;  // transfers
  // A chunk of 2 MiB and its header in one; a full queue of them is 72 MiB, so a disk slower than
  // 50 MB/s needs a longer time-out or less depth.
  uint64_t piece_bytes = 2 * wire::MiB + 256 * wire::KiB;
  uint64_t io_timeout_ns = 1'500'000'000;  // a piece that takes longer: out of service
  uint64_t slow_bytes_per_s =
      16 * wire::MiB;  // busy and slower than this: out of service; 0: never
  uint64_t write_bytes_per_second = UINT64_MAX;
  uint64_t write_bytes_per_day = UINT64_MAX;
};

class Device {
 public:
  Device(std::string name, std::unique_ptr<Disk> disk, const Superblock& superblock,
         const DeviceOptions& options, const Clock& clock);
  // One that could not be opened: never in service.
  Device(std::string name, std::string failure, const Clock& clock);
  ~Device();

  bool in_service() const { return state_ == State::kOk; }
  bool is_failed() const { return disk_ == nullptr; }
  bool has_room() const { return ios_.size() - free_.size() < options_.queue_max; }
  uint64_t queued_store_bytes() const { return queued_store_bytes_; }
  uint64_t queued_bytes() const { return queued_load_bytes_ + queued_store_bytes_; }
  bool is_idle() const { return loads_.empty() && stores_.empty(); }
  size_t background_io() const { return background_count_; }
  // Whether the write budget has anything left besides what is queued already.
  bool may_store();

  // has_room() and in_service() hold.
  void begin(const Io& io);
  // Hands queued pieces to the disk.
  void pump();
  size_t poll(std::span<IoResult> out);
  // Time-outs, slowness, probes. Ten times a second or more often.
  void tick();
  // Ends its service as an error in a row would.
  void take_out(const std::string& reason) { go_out(reason); }
  WriteBudget& budget() { return budget_; }
  Disk* disk() { return disk_.get(); }

  TierDevice counters() const;
  void count_chunk_write(uint64_t bytes) { counters_.chunk_write_bytes += bytes; }
  const std::string& name() const { return counters_.name; }
  std::vector<TierNotice> take_notices() { return std::exchange(notices_, {}); }

 private:
  enum class State : uint8_t { kOk, kOut, kFailed };
  struct Running {
    Io io;
    uint64_t begun_ns = 0;
    uint64_t issued = 0;
    uint32_t pieces = 0;  // at the disk
    int error = 0;
    bool is_abandoned = false;
  };
  struct Piece {
    uint32_t running = 0;
    uint64_t begun_ns = 0;
    uint32_t bytes = 0;
    bool is_out = false;
  };
  using Queue = std::deque<uint32_t>;
  bool issue_from(Queue& queue);
  void finish(uint32_t number);
  void end_piece(const DiskCompletion& completion);
  void end_probe(const DiskCompletion& completion);
  void judge_error(const Running& running);
  void go_out(const std::string& reason);
  void come_back();
  void begin_probe();
  void check_pieces(uint64_t now);
  void check_speed(uint64_t now);
  uint64_t slow_limit() const;
  void count(const Running& running);

  std::unique_ptr<Disk> disk_;
  const Clock& clock_;
  DeviceOptions options_;
  Superblock superblock_;
  WriteBudget budget_;
  State state_ = State::kOk;
  std::vector<Running> ios_;
  std::vector<uint32_t> free_;
  std::vector<Piece> pieces_;
  std::vector<uint32_t> free_pieces_;
  Queue loads_, stores_, background_;
  std::deque<IoResult> results_;
  uint32_t barrier_ = UINT32_MAX;  // the descriptor that stores wait for
  uint32_t live_pieces_ = 0;       // at the disk, not given up
  uint32_t load_pieces_ = 0;
  uint32_t store_pieces_ = 0;
  uint64_t store_credit_ = 0;  // bytes that stores may take beside loads under way
  uint64_t load_ended_ns_ = 0;
  uint32_t background_pieces_ = 0;
  size_t background_count_ = 0;
  uint64_t queued_load_bytes_ = 0;
  uint64_t queued_store_bytes_ = 0;
  uint64_t unissued_store_bytes_ = 0;

  // Health.
  uint32_t errors_in_row_ = 0;
  bool by_write_error_ = false;
  uint64_t window_begin_ns_ = 0;  // since when the disk has been busy, at most a window ago
  uint64_t window_bytes_ = 0;
  uint64_t best_bytes_per_s_ = 0;
  uint64_t checked_ns_ = 0;
  uint64_t back_ns_ = 0;  // when it last came back
  uint64_t backoff_ns_ = 0;
  uint64_t probe_due_ns_ = 0;
  uint64_t probe_begun_ns_ = 0;
  uint32_t probes_ok_ = 0;
  uint32_t probes_out_ = 0;
  int probe_error_ = 0;
  std::byte* probe_memory_ = nullptr;

  TierDevice counters_;
  std::vector<TierNotice> notices_;
};

}  // namespace kvtier::daemon::nvme
