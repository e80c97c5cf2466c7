// The nvme tier against a raw io_uring loop on the same file, interleaved: prints bandwidths and
// the medians of their ratios. Not a test: what is fast enough depends on the machine. Usage:
// nvme_speed FOLDER CHUNK_KIB DEPTH [ROUNDS]
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "daemon/io/raw_disk.hpp"
#include "daemon/tiers/make_nvme_tier.hpp"
#include "tests/daemon/tiers/nvme_fixture.hpp"

namespace kvtier::daemon {
namespace {

double seconds_now() {
  return static_cast<double>(SystemClock().now_ns()) * 1e-9;
}

double cpu_seconds() {
  rusage used = {};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Bench {
  std::unique_ptr<Tier> tier;
  std::string folder;
  uint64_t chunk_bytes;
  size_t depth;
  PageBytes memory;
  TierChunk chunk;
  std::vector<TierPlace> places;
  uint64_t ticket = 0;

  std::span<std::byte> lane(uint64_t number) {
    return std::span(memory).subspan(number % depth * chunk_bytes, chunk_bytes);
  }
  size_t wait(std::vector<TierCompletion>& done) {
    const size_t count = tier->poll(done);
    if (count > 0) return count;
    pollfd ready = {tier->completion_fd(), POLLIN, 0};
    ::poll(&ready, 1, 100);
    tier->tick();
    return tier->poll(done);
  }
  // `begin(lane)` until so many transfers have ended.
  template <typename Begin>
  double run(uint64_t transfers, const Begin& begin) {
    std::vector<TierCompletion> done(64);
    const double start = seconds_now();
    uint64_t begun = 0, ended = 0;
    std::vector<uint64_t> idle(depth);
    for (uint64_t i = 0; i < depth; ++i) idle[i] = i;
    while (ended < transfers) {
      while (begun < transfers && !idle.empty() && begin(idle.back())) {
        idle.pop_back();
        ++begun;
      }
      const size_t count = wait(done);
      for (size_t i = 0; i < count; ++i) {
        if (done[i].code != Code::kOk) std::exit((std::puts("a transfer failed"), 1));
        idle.push_back(done[i].ticket);
        if (done[i].place != 0) last_place(done[i]);
        ++ended;
      }
    }
    return static_cast<double>(transfers * chunk_bytes) / (seconds_now() - start);
  }
  bool is_writing = false;
  void last_place(const TierCompletion& done) {
    if (is_writing) places.push_back(done.place);
  }
  double write(uint64_t transfers) {
    is_writing = true;
    const double speed = run(transfers, [&](uint64_t lane_number) {
      return tier->begin_write({lane_number, 0, chunk, lane(lane_number)}).ok();
    });
    is_writing = false;
    return speed;
  }
  double read(uint64_t transfers) {
    std::shuffle(places.begin(), places.end(), std::mt19937_64(++ticket));
    uint64_t next = 0;
    return run(transfers, [&](uint64_t lane_number) {
      return tier->begin_read({lane_number, places[next++ % places.size()], lane(lane_number)})
          .ok();
    });
  }
  void forget_all() {
    for (const TierPlace place : places) tier->forget(place);
    places.clear();
    std::vector<TierCompletion> done(64);
    while (tier->capacity().used_bytes > 0) wait(done);
  }
};

double raw(Bench& bench, DiskOperation operation, uint64_t transfers, uint64_t capacity) {
  RawDiskOptions options;
  const Fd file(::open((bench.folder + "/nvme/slab").c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
  options.file = file.get();
  options.operation = operation;
  options.offset = capacity / 2 / 4096 * 4096;  // behind what the tier uses
  options.stride_bytes = wire::slot_bytes_for(bench.chunk_bytes);
  options.places = std::min(transfers, (capacity / 2 - wire::MiB) / options.stride_bytes);
  options.transfer_bytes = bench.chunk_bytes;
  options.lane_bytes = options.transfer_bytes;
  options.depth = bench.depth;
  options.transfers = transfers;
  options.memory = bench.memory.data();
  options.seed = ++bench.ticket;
  const Result<RawDiskResult> result = run_raw_disk(options);
  if (!result.ok()) std::exit((std::puts(result.error().message()), 1));
  return static_cast<double>(result->bytes) / result->seconds;
}

int main_of(const std::string& folder, uint64_t kib, size_t depth, size_t rounds) {
  const SystemClock clock;
  Config config;
  const uint64_t total = 512 * wire::MiB;
  config.nvme.capacity_bytes = 3 * total;
  config.nvme.segment_bytes = 64 * wire::MiB;
  config.nvme.io_timeout_ns = 60'000'000'000;
  config.nvme.slow_below = 0;
  Result<std::unique_ptr<Tier>> tier = make_nvme_tier(config, folder, clock);
  if (!tier.ok()) return std::puts(tier.error().message()), 1;
  Bench bench{
      std::move(tier.value()), folder, kib * wire::KiB + wire::kPageBytes, depth, {}, {}, {}};
  bench.memory.resize(depth * bench.chunk_bytes, std::byte{1});
  bench.chunk.payload_bytes = kib * wire::KiB;
  bench.chunk.header_bytes = wire::kPageBytes;
  bench.tier->know_tenant(0, "bench");
  std::vector<TierCompletion> done(64);
  // Written once, as a slab in service is.
  for (;;) {
    bench.wait(done);
    const TierDevice device = bench.tier->devices()[0];
    if (!bench.tier->recovering() && device.prepared_bytes == device.prepare_bytes) break;
  }
  const uint64_t transfers = total / bench.chunk_bytes;
  std::vector<double> reads, writes, raw_reads, raw_writes, read_ratio, write_ratio;
  double cpu = 0, bytes = 0;
  for (size_t round = 0; round < rounds; ++round) {
    bench.forget_all();
    const bool tier_first = round % 2 == 0;
    const auto both = [&](const auto& mine, DiskOperation operation, auto& speeds, auto& raws,
                          auto& ratios) {
      double other = tier_first ? 0 : raw(bench, operation, transfers, config.nvme.capacity_bytes);
      const double own = mine();
      if (tier_first) other = raw(bench, operation, transfers, config.nvme.capacity_bytes);
      speeds.push_back(own);
      raws.push_back(other);
      ratios.push_back(own / other);
    };
    both([&] { return bench.write(transfers); }, DiskOperation::kWrite, writes, raw_writes,
         write_ratio);
    both(
        [&] {
          const double before = cpu_seconds();
          const double speed = bench.read(transfers);
          cpu += cpu_seconds() - before;
          bytes += static_cast<double>(transfers * bench.chunk_bytes);
          return speed;
        },
        DiskOperation::kRead, reads, raw_reads, read_ratio);
  }
  const TierDevice device = bench.tier->devices()[0];
  std::printf(
      "%6llu KiB depth %2zu  read %.2f GB/s raw %.2f ratio %.3f  write %.2f raw %.2f ratio %.3f  "
      "cpu %.3f s/GB  amplification %.4f\n",
      static_cast<unsigned long long>(kib), depth, median(reads) * 1e-9, median(raw_reads) * 1e-9,
      median(read_ratio), median(writes) * 1e-9, median(raw_writes) * 1e-9, median(write_ratio),
      cpu / bytes * 1e9,
      static_cast<double>(device.write_bytes - device.prepare_bytes) /
          static_cast<double>(device.chunk_write_bytes));
  return 0;
}

}  // namespace
}  // namespace kvtier::daemon

int main(int count, char** arguments) {
  if (count < 4) return std::puts("usage: nvme_speed FOLDER CHUNK_KIB DEPTH [ROUNDS]"), 2;
  return kvtier::daemon::main_of(arguments[1], std::strtoull(arguments[2], nullptr, 10),
                                 std::strtoull(arguments[3], nullptr, 10),
                                 count > 4 ? std::strtoull(arguments[4], nullptr, 10) : 5);
}
