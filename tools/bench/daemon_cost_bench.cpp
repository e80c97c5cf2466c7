// `kvtier bench memory`: what the daemon's process has in memory besides the segments, at a million
// chunks. `kvtier bench idle`: its CPU time while clients are attached and do nothing.
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

#include "tools/bench/bench_daemon.hpp"
#include "tools/bench/own_folder.hpp"
#include "tools/bench/prompts.hpp"

namespace kvtier::tools {
namespace {

constexpr size_t kPrompt = 256;
constexpr uint64_t kChunkBytes = 1024;
constexpr size_t kIdleClients = 8;
constexpr double kBaseBytes = 32.0 * 1024 * 1024;  // the bar: 32 MiB and 192 bytes a chunk
constexpr double kBytesPerChunk = 192;
constexpr double kNvmeBaseBytes = 96.0 * 1024 * 1024;  // with NVMe below: 96 MiB and 256 bytes
constexpr double kNvmeBytesPerChunk = 256;
constexpr uint64_t kNvmeSlotBytes = 8192;  // of such chunks
constexpr double kIdlePercentMax = 0.5;

struct Resident {
  uint64_t pool = 0;
  uint64_t besides = 0;
};

// Resident bytes of a process, by what they hold. Errors: system, permission.
Result<Resident> resident_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps");
  if (!file) return Error(Code::kPermission, "the daemon's memory map cannot be read");
  Resident resident;
  bool pool = false;
  for (std::string line; std::getline(file, line);) {
    const size_t space = line.find(' ');
    if (line.find('-') < space) {
      pool = line.find("memfd:kvtier-segment") != std::string::npos;
      continue;
    }
    if (line.rfind("Rss:", 0) != 0) continue;
    std::istringstream rest(line.substr(4));
    uint64_t kib = 0;
    rest >> kib;
    (pool ? resident.pool : resident.besides) += kib * 1024;
  }
  return resident;
}

}  // namespace

Result<BenchResult> bench_memory(const BenchOptions& options) {
  BenchPool pool;
  pool.chunk_bytes = kChunkBytes;
  // With NVMe a quarter is in host memory too, and all of it below.
  const uint64_t resident = options.nvme ? options.entries / 4 : options.entries;
  pool.chunks = chunks_that_fit(resident, pool) / kPrompt * kPrompt;
  if (pool.chunks < resident / kPrompt * kPrompt) {
    options.note("memory is short: " + std::to_string(pool.chunks) + " chunks");
  }
  const uint64_t chunks_in_all = options.nvme ? pool.chunks * 4 : pool.chunks;
  std::optional<OwnFolder> folder;
  if (options.nvme) {
    folder.emplace(options.folder);
    if (Status made = folder->made(); !made) return made.error();
    pool.index_entries = chunks_in_all + chunks_in_all / 8;
    const uint64_t bytes = chunks_in_all / 8 * 10 * kNvmeSlotBytes + (1u << 30);
    pool.more_config = "\n[nvme]\nprepare = \"off\"\npaths = [\"" + folder->path() +
                       "\"]\ncapacity = \"" + std::to_string(bytes) + "B\"\n";
  }
  auto daemon = BenchDaemon::start(options, pool);
  if (!daemon) return daemon.error();
  auto session = (*daemon)->attach(Verify::kDefault);
  if (!session) return session.error();
  auto space = (*session)->open_space(bench_space(pool));
  if (!space) return space.error();
  const auto before = resident_of((*daemon)->pid());
  if (!before) return before.error();
  options.note("storing " + std::to_string(chunks_in_all) + " chunks");
  Prompts prompts(**space, kPrompt);
  const std::vector<std::byte> payload(kChunkBytes, std::byte{1});
  for (uint64_t i = 0; i < chunks_in_all / kPrompt; ++i) {
    const auto chain = prompts.store(i, payload);
    if (!chain) return chain.error();
  }
  const auto after = resident_of((*daemon)->pid());
  if (!after) return after.error();
  constexpr double kMiB = 1024.0 * 1024;
  const auto chunks = static_cast<double>(chunks_in_all);
  const auto besides = static_cast<double>(after->besides);
  BenchResult result;
  result.is_rate = false;
  result.unit = "MiB";
  result.ours = besides / kMiB;
  result.limit = options.nvme ? (kNvmeBaseBytes + kNvmeBytesPerChunk * chunks) / kMiB
                              : (kBaseBytes + kBytesPerChunk * chunks) / kMiB;
  result.limit_name = options.nvme ? "the bar: 96 MiB and 256 bytes a chunk"
                                   : "the bar: 32 MiB and 192 bytes a chunk";
  result.explanation = "resident memory of kvtierd besides the segments, published memory included";
  result.more["chunks"] = chunks_in_all;
  result.more["empty_mib"] = static_cast<double>(before->besides) / kMiB;
  result.more["bytes_per_chunk"] =
      chunks > 0 ? (besides - static_cast<double>(before->besides)) / chunks : 0;
  result.more["pool_mib"] = static_cast<double>(after->pool) / kMiB;
  return result;
}

Result<BenchResult> bench_idle(const BenchOptions& options) {
  BenchPool pool;
  pool.chunk_bytes = kChunkBytes;
  pool.chunks = kPrompt;
  auto daemon = BenchDaemon::start(options, pool);
  if (!daemon) return daemon.error();
  std::vector<std::unique_ptr<Session>> sessions;
  for (size_t i = 0; i < kIdleClients; ++i) {
    auto session = (*daemon)->attach(Verify::kDefault);
    if (!session) return session.error();
    sessions.push_back(*std::move(session));
  }
  auto space = sessions.front()->open_space(bench_space(pool));
  if (!space) return space.error();
  Prompts prompts(**space, kPrompt);
  const auto chain = prompts.store(0, std::vector<std::byte>(kChunkBytes, std::byte{1}));
  if (!chain) return chain.error();
  std::this_thread::sleep_for(std::chrono::seconds(1));  // what follows a store is over
  options.note("idle for " + std::to_string(options.seconds) + " s");
  const double daemon_before = (*daemon)->cpu_seconds();
  const double own_before = own_cpu_seconds();
  const auto began = Clock::now();
  std::this_thread::sleep_for(std::chrono::duration<double>(options.seconds));
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  BenchResult result;
  result.is_rate = false;
  result.unit = "% of a core";
  result.ours = 100 * ((*daemon)->cpu_seconds() - daemon_before) / seconds;
  result.limit = kIdlePercentMax;
  result.limit_name = "the bar";
  result.explanation = "CPU time of kvtierd with 8 clients attached that do nothing";
  result.more["clients"] = kIdleClients;
  result.more["clients_percent"] = 100 * (own_cpu_seconds() - own_before) / seconds;
  result.more["seconds"] = seconds;
  return result;
}

}  // namespace kvtier::tools
