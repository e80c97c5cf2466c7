// `kvtier bench nvme-read` and `nvme-write`: the nvme tier as the daemon has it, with its workers
// for checksums and its metadata, beside a bare io_uring loop on the same slab, in turns. The slab
// is made for this and removed. Waits; its thread stands for the daemon's core thread.
#include <fcntl.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <thread>

#include "daemon/config/config.hpp"
#include "daemon/io/raw_disk.hpp"
#include "daemon/memory/clock.hpp"
#include "daemon/memory/fd.hpp"
#include "daemon/tiers/make_nvme_tier.hpp"
#include "daemon/tiers/nvme_format.hpp"
#include "daemon/workers/executor.hpp"
#include "kernels/checksum.hpp"
#include "kvtier/wire/header_checksum.hpp"
#include "tools/bench/bench.hpp"
#include "tools/bench/bench_memory.hpp"
#include "tools/bench/own_folder.hpp"

namespace kvtier::tools {
namespace {

using daemon::DiskOperation;
using daemon::TierChunk;
using daemon::TierCompletion;
using daemon::TierPlace;

constexpr uint32_t kDepths[] = {1, 8, 32};
constexpr uint64_t kSmallBytes = 256 * wire::KiB;
constexpr uint64_t kTimedOfSmall = 8;
constexpr size_t kPairsMin = 3;
constexpr size_t kPairsBeside = 5;
constexpr double kStuckSeconds = 60;
constexpr uint64_t kBesideTicket = 1u << 20;
constexpr size_t kBesideDepth = 8;  // writes that always wait or are under way
constexpr double kGB = 1e9;

// Not getrusage(): for a thread that runs it lags behind by up to a tick.
double cpu_of(clockid_t clock) {
  timespec used = {};
  ::clock_gettime(clock, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

// What one depth showed: medians over pairs, CPU over all of them.
struct DepthResult {
  size_t pairs = 0;
  double ours = 0, raw = 0, ratio = 0, ratio_low = 0, ratio_high = 0;
  double cpu = 0, raw_cpu = 0, checksum_cpu = 0;  // s/GB
};

class NvmeBench {
 public:
  NvmeBench(const BenchOptions& options, DiskOperation operation)
      : options_(options), operation_(operation), folder_(options.folder) {}

  Result<BenchResult> run();

 private:
  struct Stored {
    TierChunk chunk;
    TierPlace place = 0;
  };
  struct Lane {
    size_t stored = 0;  // what is being read into it, or written from it
    uint64_t checksum = 0;
    std::atomic<bool> is_sound{true};
  };

  Status prepare();
  Status find_data();
  static size_t lanes_of(size_t depth) { return depth == 1 ? 1 : 2 * depth; }
  std::byte* lane_data(size_t lane) { return memory_->data() + lane * lane_bytes_; }
  void write_header(size_t lane, uint64_t number);
  bool is_sound(size_t lane);
  Status wait();
  template <typename Begin, typename End>
  Result<double> move(size_t depth, uint64_t count, const Begin& begin, const End& end);
  Result<double> write_all(size_t depth);
  Result<double> read_all(size_t depth);
  Result<double> read_beside_writes(size_t depth);
  Result<double> raw(size_t depth);
  Status forget_all();
  Result<DepthResult> measure(size_t depth);

  const BenchOptions& options_;
  const DiskOperation operation_;
  OwnFolder folder_;
  daemon::SystemClock clock_;
  daemon::Config config_;
  uint64_t chunks_ = 0;
  uint64_t lane_bytes_ = 0;  // a slot
  TierChunk form_;           // what all chunks have in common
  std::optional<BenchMemory> memory_;
  std::optional<BenchMemory> raw_memory_;  // that of the lanes holds what their checksums are of
  std::vector<Lane> lanes_;
  std::unique_ptr<daemon::Tier> tier_;
  std::unique_ptr<daemon::Executor> executor_;
  // What goes on beside a move(): called with each completion of a ticket from kBesideTicket on.
  std::function<void(const TierCompletion&)> beside_;
  std::vector<TierCompletion> done_{64};
  size_t done_count_ = 0;
  std::vector<Stored> stored_;
  std::mt19937_64 random_{1};
  std::atomic<uint64_t> checksum_ns_{0};
  bool registered_ = false;
  uint64_t beside_writes_ = 0;
  uint64_t data_offset_ = 0;  // of the first segment in the slab
};

Status NvmeBench::prepare() {
  if (Status made = folder_.made(); !made) return made;
  form_.payload_bytes = options_.chunk_bytes;
  form_.header_bytes = wire::kPageBytes;
  form_.tokens = 16;
  lane_bytes_ = wire::slot_bytes_for(form_.header_bytes + form_.payload_bytes);
  const size_t depth_max = std::max(options_.depth, kDepths[2]);
  chunks_ = std::max<uint64_t>(options_.slab_bytes / lane_bytes_, 2 * depth_max);
  // A third is the tier's, and what lies behind the middle the bare loop's. Slots do not fill a
  // segment to its end.
  config_.nvme.segment_bytes = wire::round_up(std::max(64 * wire::MiB, 4 * lane_bytes_), wire::MiB);
  const uint64_t segments = 2 + chunks_ / (config_.nvme.segment_bytes / lane_bytes_);
  config_.nvme.capacity_bytes = 2 * (segments + 1) * config_.nvme.segment_bytes;
  config_.nvme.paths = {folder_.path()};
  config_.nvme.required = daemon::Switch::kOn;
  config_.nvme.queue_depth = depth_max;
  if (options_.unregistered_buffers) {
    config_.nvme.registered_buffers = daemon::Demand::kNever;
  }
  config_.nvme.io_timeout_ns = 60'000'000'000;  // a slow disk is measured, not left
  config_.nvme.slow_below = 0;

  auto memory = BenchMemory::create(lanes_of(depth_max) * lane_bytes_, BenchMemory::Kind::kShared);
  if (!memory) return memory.error();
  memory_.emplace(*std::move(memory));
  auto raw_memory =
      BenchMemory::create(lanes_of(depth_max) * lane_bytes_, BenchMemory::Kind::kShared);
  if (!raw_memory) return raw_memory.error();
  raw_memory_.emplace(*std::move(raw_memory));
  lanes_ = std::vector<Lane>(lanes_of(depth_max));
  for (size_t lane = 0; lane < lanes_.size(); ++lane) {
    auto* words = reinterpret_cast<uint64_t*>(lane_data(lane));
    for (uint64_t i = 0; i < lane_bytes_ / sizeof(uint64_t); ++i) words[i] = random_();
    lanes_[lane].checksum =
        kernels::hash_only(lane_data(lane) + form_.header_bytes, form_.payload_bytes);
  }
  std::memcpy(raw_memory_->data(), memory_->data(), memory_->bytes());
  // As many workers as the daemon takes by itself.
  auto executor =
      daemon::make_thread_executor(std::clamp(std::thread::hardware_concurrency() / 2, 1u, 8u));
  if (!executor) return executor.error();
  executor_ = *std::move(executor);
  auto tier = daemon::make_nvme_tier(config_, folder_.path(), clock_);
  if (!tier) return tier.error();
  tier_ = *std::move(tier);
  if (!options_.unregistered_buffers) {
    const Status registered = tier_->register_memory(memory_->span());
    if (!registered) options_.note(registered.error().message());
    registered_ = registered.ok();
  }
  tier_->know_tenant(0, "bench");
  if (Status status = find_data(); !status) return status;
  options_.note("writing a slab of " + std::to_string(config_.nvme.capacity_bytes >> 20) +
                " MiB once, as one in service has been");
  for (;;) {
    const daemon::TierDevice device = tier_->devices().front();
    if (device.state == "failed" || device.state == "out_of_service") {
      return Error::format(Code::kSystem, "the slab is %s: %.300s", device.state.c_str(),
                           device.reason.c_str());
    }
    if (!tier_->recovering() && device.prepared_bytes >= device.prepare_bytes) return {};
    if (Status status = wait(); !status) return status;
  }
}

Status NvmeBench::find_data() {
  const daemon::Fd file(::open((folder_.path() + "/slab").c_str(), O_RDONLY | O_CLOEXEC));
  daemon::nvme::Page page = {};
  daemon::nvme::Superblock superblock;
  if (!file || ::pread(file.get(), page.data(), page.size(), 0) != ssize_t{wire::kPageBytes} ||
      daemon::nvme::decode(page, superblock) != daemon::nvme::PageState::kValid) {
    return Error(Code::kSystem, "the slab just made cannot be read");
  }
  data_offset_ = superblock.segment_offset(0);
  return {};
}

// A turn: what has ended lies in done_ afterwards, and finished checks have run their ends.
Status NvmeBench::wait() {
  done_count_ = tier_->poll(done_);
  if (executor_->complete() > 0 || done_count_ > 0) return {};
  pollfd ready[] = {{tier_->completion_fd(), POLLIN, 0}, {executor_->completion_fd(), POLLIN, 0}};
  ::poll(ready, std::size(ready), 100);
  tier_->tick();
  executor_->complete();
  done_count_ = tier_->poll(done_);
  return {};
}

void NvmeBench::write_header(size_t lane, uint64_t number) {
  wire::ChunkHeader header = {};
  header.magic = wire::kChunkMagic;
  header.version = 1;
  header.header_bytes = form_.header_bytes;
  header.key = {number + 1, ~number};
  header.payload_bytes = form_.payload_bytes;
  header.tokens = form_.tokens;
  header.generation = 1;
  std::byte* data = lane_data(lane);
  std::memcpy(data, &header, sizeof header);
  header.header_checksum = wire::header_checksum_of(data, form_.header_bytes);
  header.checksum = lanes_[lane].checksum;
  header.flags = wire::kHeaderHasChecksum;
  std::memcpy(data, &header, sizeof header);
}

// As the daemon checks what it has promoted. On a worker.
bool NvmeBench::is_sound(size_t lane) {
  const TierChunk& due = stored_[lanes_[lane].stored].chunk;
  const std::byte* data = lane_data(lane);
  TierChunk found;
  return daemon::nvme::decode_header({data, due.header_bytes}, found) && found == due &&
         kernels::hash_only(data + due.header_bytes, due.payload_bytes) == due.checksum;
}

// Bytes a second over `count` transfers, at most `depth` of them at the disk. begin(lane) is false
// when the tier takes no more for now; end(lane, completion, idle) calls idle() when the lane is
// free again. As in the daemon the disk gets its next transfers before those that ended are looked
// at; with a depth of one nothing overlaps, so that it shows the time of a single chunk.
template <typename Begin, typename End>
Result<double> NvmeBench::move(size_t depth, uint64_t count, const Begin& begin, const End& end) {
  std::vector<size_t> idle;
  // The first ones first, as the bare loop: pages that lie side by side in memory are faster.
  for (size_t lane = lanes_of(depth); lane > 0; --lane) idle.push_back(lane - 1);
  uint64_t begun = 0, ended = 0, at_disk = 0;
  const auto begin_some = [&] {
    while (begun < count && at_disk < depth && !idle.empty() && begin(idle.back())) {
      idle.pop_back();
      ++begun;
      ++at_disk;
    }
    tier_->submit();
  };
  const uint64_t start = clock_.now_ns();
  uint64_t progress = start;
  while (ended < count) {
    begin_some();
    const uint64_t before = ended;
    if (Status status = wait(); !status) return status.error();
    for (size_t i = 0; i < done_count_; ++i) {
      if (done_[i].code != Code::kOk) {
        return Error::format(Code::kSystem, "a transfer failed: %s", code_name(done_[i].code));
      }
      if (done_[i].ticket < kBesideTicket) --at_disk;
    }
    begin_some();
    for (size_t i = 0; i < done_count_; ++i) {
      const TierCompletion& completion = done_[i];
      if (completion.ticket >= kBesideTicket) {
        beside_(completion);
        continue;
      }
      const size_t lane = completion.ticket;
      end(lane, completion, [&ended, &idle, lane] {
        idle.push_back(lane);
        ++ended;
      });
    }
    const uint64_t now = clock_.now_ns();
    if (ended != before || done_count_ > 0) progress = now;
    if (static_cast<double>(now - progress) > kStuckSeconds * 1e9) {
      return Error(Code::kDeadline, "the disk does not go on");
    }
  }
  const double seconds = static_cast<double>(clock_.now_ns() - start) * 1e-9;
  return static_cast<double>(count * form_.bytes()) / seconds;
}

Result<double> NvmeBench::write_all(size_t depth) {
  uint64_t next = 0;
  stored_.resize(chunks_);
  return move(
      depth, chunks_,
      [&](size_t lane) {
        TierChunk chunk = form_;
        chunk.key = {next + 1, ~next};
        chunk.checksum = lanes_[lane].checksum;
        write_header(lane, next);
        const Status begun = tier_->begin_write({lane, 0, chunk, {lane_data(lane), form_.bytes()}});
        if (!begun.ok()) return false;
        lanes_[lane].stored = next;
        stored_[next++].chunk = chunk;
        return true;
      },
      [&](size_t lane, const TierCompletion& completion, const auto& idle) {
        stored_[lanes_[lane].stored].place = completion.place;
        idle();
      });
}

// Every chunk once, in another order each time, its header and checksum compared by a worker.
Result<double> NvmeBench::read_all(size_t depth) {
  std::vector<size_t> order(chunks_);
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), random_);
  size_t next = 0;
  bool all_sound = true;
  uint64_t checked = 0;
  auto speed = move(
      depth, chunks_,
      [&](size_t lane) {
        const size_t number = order[next];
        const Status begun =
            tier_->begin_read({lane, stored_[number].place, {lane_data(lane), form_.bytes()}});
        if (!begun.ok()) return false;
        lanes_[lane].stored = number;
        ++next;
        return true;
      },
      [&](size_t lane, const TierCompletion&, const auto& idle) {
        daemon::Job job;
        // The clock takes as long as a quarter of the check of a small chunk: one in eight is
        // timed.
        const uint64_t timed = form_.bytes() <= kSmallBytes ? kTimedOfSmall : 1;
        job.work = [this, lane, timed, is_timed = checked++ % timed == 0] {
          const double before = is_timed ? cpu_of(CLOCK_THREAD_CPUTIME_ID) : 0;
          lanes_[lane].is_sound = is_sound(lane);
          if (!is_timed) return;
          const double took = cpu_of(CLOCK_THREAD_CPUTIME_ID) - before;
          checksum_ns_ += static_cast<uint64_t>(took * 1e9) * timed;
        };
        job.done = [this, lane, idle, &all_sound] {
          all_sound = all_sound && lanes_[lane].is_sound;
          idle();
        };
        // The depth is below its queue.
        if (!daemon::run_or_submit(*executor_, form_.bytes(), std::move(job))) std::abort();
      });
  if (speed.ok() && !all_sound) return Error(Code::kCorrupt, "a chunk came back with wrong bytes");
  return speed;
}

// The same while the tier never runs out of chunks to write: demotion at full speed. What was
// written is forgotten, and its places are written again.
Result<double> NvmeBench::read_beside_writes(size_t depth) {
  uint64_t next = kBesideTicket;
  beside_writes_ = 0;
  const auto begin = [&](size_t lane) {
    TierChunk chunk = form_;
    chunk.key = {++next, ~next};
    std::byte* data = raw_memory_->data() + lane * lane_bytes_;
    return tier_->begin_write({kBesideTicket + lane, 0, chunk, {data, form_.bytes()}}).ok();
  };
  std::vector<size_t> waiting;
  beside_ = [&](const TierCompletion& completion) {
    ++beside_writes_;
    if (completion.place != 0) tier_->forget(completion.place);
    waiting.push_back(completion.ticket - kBesideTicket);
    std::erase_if(waiting, begin);
  };
  for (size_t lane = 0; lane < kBesideDepth; ++lane) {
    if (!begin(lane)) return Error(Code::kFull, "the tier takes no writes");
  }
  auto speed = read_all(depth);
  uint64_t under_way = kBesideDepth - waiting.size();
  beside_ = [&](const TierCompletion& completion) {
    if (completion.place != 0) tier_->forget(completion.place);
    --under_way;
  };
  while (under_way > 0) {
    if (Status status = wait(); !status) return status.error();
    for (size_t i = 0; i < done_count_; ++i) beside_(done_[i]);
  }
  return speed;
}

// Reads the very segments that hold the tier's chunks, and writes behind what the tier uses.
Result<double> NvmeBench::raw(size_t depth) {
  const daemon::Fd file(::open((folder_.path() + "/slab").c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
  if (!file) return Error::system(errno, "opening the slab for the bare loop");
  daemon::RawDiskOptions options;
  options.file = file.get();
  options.operation = operation_;
  options.offset = operation_ == DiskOperation::kRead
                       ? data_offset_
                       : wire::round_up(config_.nvme.capacity_bytes / 2, wire::kPageBytes);
  options.stride_bytes = lane_bytes_;
  options.places = std::min(
      chunks_, (config_.nvme.capacity_bytes / 2 - config_.nvme.segment_bytes) / lane_bytes_);
  options.transfer_bytes = form_.bytes();
  options.depth = depth;
  options.transfers = chunks_;
  options.lane_bytes = lane_bytes_;
  options.memory = memory_->data();  // pages that lie elsewhere would be another limit
  options.seed = random_();
  const auto result = daemon::run_raw_disk(options);
  if (!result) return result.error();
  return static_cast<double>(result->bytes) / result->seconds;
}

Status NvmeBench::forget_all() {
  for (const Stored& stored : stored_) tier_->forget(stored.place);
  stored_.clear();
  while (tier_->capacity().used_bytes > 0) {
    if (Status status = wait(); !status) return status;
  }
  return {};
}

Result<DepthResult> NvmeBench::measure(size_t depth) {
  std::vector<double> ours, raws, ratios;
  double cpu = 0, raw_cpu = 0;
  const uint64_t checksums_before = checksum_ns_;
  const uint64_t start = clock_.now_ns();
  const bool is_read = operation_ == DiskOperation::kRead;
  for (size_t pair = 0; pair < options_.repeats; ++pair) {
    if (pair >= kPairsMin &&
        static_cast<double>(clock_.now_ns() - start) * 1e-9 > options_.seconds) {
      break;
    }
    if (!is_read) {
      if (Status status = forget_all(); !status) return status.error();
    }
    for (const bool is_ours : {pair % 2 == 0, pair % 2 != 0}) {
      const double before = cpu_of(CLOCK_PROCESS_CPUTIME_ID);
      const auto speed = !is_ours ? raw(depth) : is_read ? read_all(depth) : write_all(depth);
      if (!speed) return speed.error();
      (is_ours ? cpu : raw_cpu) += cpu_of(CLOCK_PROCESS_CPUTIME_ID) - before;
      (is_ours ? ours : raws).push_back(*speed / kGB);
    }
    ratios.push_back(ours.back() / raws.back());
  }
  const double gb =
      static_cast<double>(ratios.size()) * static_cast<double>(chunks_ * form_.bytes()) / kGB;
  DepthResult result;
  result.pairs = ratios.size();
  result.ours = median(ours);
  result.raw = median(raws);
  result.ratio = median(ratios);
  result.ratio_low = quantile(ratios, 0);
  result.ratio_high = quantile(ratios, 1);
  result.checksum_cpu = static_cast<double>(checksum_ns_ - checksums_before) * 1e-9 / gb;
  result.cpu = cpu / gb - result.checksum_cpu;
  result.raw_cpu = raw_cpu / gb;
  return result;
}

nlohmann::ordered_json json_of(const DepthResult& depth) {
  return {{"ours", depth.ours},
          {"raw", depth.raw},
          {"ratio", depth.ratio},
          {"ratio_low", depth.ratio_low},
          {"ratio_high", depth.ratio_high},
          {"pairs", depth.pairs},
          {"cpu_s_per_gb", depth.cpu},
          {"raw_cpu_s_per_gb", depth.raw_cpu},
          {"checksum_cpu_s_per_gb", depth.checksum_cpu}};
}

Result<BenchResult> NvmeBench::run() {
  if (Status status = prepare(); !status) return status.error();
  const bool is_read = operation_ == DiskOperation::kRead;
  if (is_read) {
    const auto written = write_all(std::min<size_t>(8, lanes_.size()));
    if (!written) return written.error();
  }
  const daemon::TierDevice before = tier_->devices().front();
  DepthResult chosen;
  nlohmann::ordered_json by_depth = nlohmann::ordered_json::object();
  std::set<uint32_t> depths(std::begin(kDepths), std::end(kDepths));
  depths.insert(options_.depth);
  for (const uint32_t depth : depths) {
    options_.note("measuring at depth " + std::to_string(depth));
    const auto measured = measure(depth);
    if (!measured) return measured.error();
    if (depth == options_.depth) chosen = *measured;
    by_depth[std::to_string(depth)] = json_of(*measured);
  }
  const daemon::TierDevice after = tier_->devices().front();
  std::vector<double> kept, written;
  if (is_read) {
    options_.note("measuring beside writes");
    for (size_t pair = 0; pair < std::min<size_t>(options_.repeats, kPairsBeside); ++pair) {
      double speeds[2] = {};
      for (const bool is_beside : {pair % 2 == 0, pair % 2 != 0}) {
        const uint64_t start = clock_.now_ns();
        const auto speed =
            is_beside ? read_beside_writes(options_.depth) : read_all(options_.depth);
        if (!speed) return speed.error();
        speeds[is_beside] = *speed;
        if (!is_beside) continue;
        written.push_back(static_cast<double>(beside_writes_ * form_.bytes()) /
                          static_cast<double>(clock_.now_ns() - start));
      }
      kept.push_back(speeds[1] / speeds[0]);
    }
  }
  BenchResult result;
  result.unit = "GB/s";
  result.ours = chosen.ours;
  result.limit = chosen.raw;
  result.limit_name = "bare io_uring loop";
  result.cpu_s_per_gb = chosen.cpu;
  result.explanation =
      is_read ? "chunks read into host memory and compared with their checksums, by the nvme tier"
              : "chunks written and recorded by the nvme tier, as on demotion";
  result.more["ratio"] = chosen.ratio;  // median over pairs
  result.more["depth"] = options_.depth;
  result.more["chunk_bytes"] = options_.chunk_bytes;
  result.more["chunks"] = chunks_;
  result.more["registered_buffers"] = registered_;
  result.more["raw_cpu_s_per_gb"] = chosen.raw_cpu;
  if (is_read) {
    result.more["checksum_cpu_s_per_gb"] = chosen.checksum_cpu;
    result.more["beside_writes_ratio"] = median(kept);  // of the speed without
    result.more["beside_writes_gbps"] = median(written);
  } else {
    result.more["write_amplification"] =
        static_cast<double>(after.write_bytes - before.write_bytes) /
        static_cast<double>((after.writes - before.writes) * options_.chunk_bytes);
  }
  result.more["by_depth"] = std::move(by_depth);
  tier_->unregister_memory(memory_->span());
  return result;
}

}  // namespace

Result<BenchResult> bench_nvme_read(const BenchOptions& options) {
  return NvmeBench(options, DiskOperation::kRead).run();
}

Result<BenchResult> bench_nvme_write(const BenchOptions& options) {
  return NvmeBench(options, DiskOperation::kWrite).run();
}

}  // namespace kvtier::tools
