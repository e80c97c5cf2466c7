// `kvtier bench prefix`: Space::load_prefix() of prompts half in host memory and half on NVMe,
// beside the same call for each half alone, in turns. What it is judged by is the slower half: the
// two go side by side. The slab is made in --dir and removed. One thread.
#include <algorithm>

#include "tools/bench/bench_daemon.hpp"
#include "tools/bench/bench_memory.hpp"
#include "tools/bench/own_folder.hpp"
#include "tools/bench/prompts.hpp"
#include "tools/replay/host_sizing.hpp"

namespace kvtier::tools {
namespace {

constexpr size_t kPromptBytes = 64u << 20;
constexpr uint64_t kHostPrompts = 2;  // that host memory holds at least
constexpr uint64_t kTimesHost = 3;  // what is stored; asked for in turn, so it has left host memory
constexpr auto kPatience = std::chrono::seconds(60);
constexpr int kWarmUps = 3;

enum class Part { kHost, kNvme, kBoth };

class PrefixBench {
 public:
  explicit PrefixBench(const BenchOptions& options) : options_(options), folder_(options.folder) {}
  Result<BenchResult> run();

 private:
  Status prepare();
  // Seconds of one load_prefix() of a prompt that lay below only until now.
  Result<double> measure(Part part);

  const BenchOptions& options_;
  size_t chunks_ = 0;  // of a prompt
  OwnFolder folder_;   // outlives the daemon
  std::unique_ptr<BenchDaemon> daemon_;
  std::unique_ptr<Session> session_;
  std::shared_ptr<Space> space_;
  std::optional<BenchMemory> memory_;
  uint64_t prompts_ = 0;
  uint64_t next_ = 0;
};

Status PrefixBench::prepare() {
  if (Status made = folder_.made(); !made) return made;
  chunks_ = std::max<size_t>(kPromptBytes / options_.chunk_bytes, 2) / 2 * 2;
  BenchPool pool;
  pool.chunk_bytes = options_.chunk_bytes;
  pool.chunks = kHostPrompts * chunks_;
  const uint64_t host = capacity_for_chunks(
      pool.chunks, slot_bytes_of(pool.tokens_per_chunk, pool.chunk_bytes), 32u << 20);
  prompts_ = kTimesHost * host / (chunks_ * options_.chunk_bytes);
  pool.index_entries = prompts_ * chunks_ * 2;
  const uint64_t below = prompts_ * chunks_ * options_.chunk_bytes / 4 * 5;
  pool.more_config = "\n[nvme]\nprepare = \"off\"\npaths = [\"" + folder_.path() +
                     "\"]\ncapacity = \"" + std::to_string(std::max<uint64_t>(below, 1u << 30)) +
                     "B\"\n";
  auto daemon = BenchDaemon::start(options_, pool);
  if (!daemon) return daemon.error();
  daemon_ = *std::move(daemon);
  auto session = daemon_->attach(Verify::kAlways);
  if (!session) return session.error();
  session_ = *std::move(session);
  auto space = session_->open_space(bench_space(pool));
  if (!space) return space.error();
  space_ = *std::move(space);
  auto memory = BenchMemory::create(chunks_ * options_.chunk_bytes, BenchMemory::Kind::kPrivate);
  if (!memory) return memory.error();
  memory_.emplace(*std::move(memory));
  std::fill(memory_->span().begin(), memory_->span().end(), std::byte{3});
  options_.note("storing " + std::to_string((prompts_ * chunks_ * options_.chunk_bytes) >> 20) +
                " MiB, which host memory does not hold");
  Prompts prompts(*space_, chunks_);
  std::vector<ConstFragment> fragments(chunks_);
  std::vector<StoreSource> sources(chunks_);
  for (uint64_t prompt = 0; prompt < prompts_; ++prompt) {
    const auto chain = prompts.chain(prompt);
    if (!chain) return chain.error();
    for (size_t i = 0; i < chunks_; ++i) {
      fragments[i] = {memory_->data() + i * options_.chunk_bytes, options_.chunk_bytes};
      sources[i] = {i, {&fragments[i], 1}};
    }
    const auto stored = space_->store(*chain, sources, Clock::now() + kPatience);
    if (!stored) return stored.error();
    for (const StoreOutcome outcome : *stored) {
      if (outcome != StoreOutcome::kStored) {
        return Error::format(Code::kFull, "a chunk could not be stored: %s",
                             store_outcome_name(outcome));
      }
    }
  }
  return {};
}

Result<double> PrefixBench::measure(Part part) {
  Prompts prompts(*space_, chunks_);
  const auto chain = prompts.chain(next_++ % prompts_);
  if (!chain) return chain.error();
  const size_t half = chunks_ / 2;
  const size_t wanted = part == Part::kBoth ? chunks_ : half;
  if (part != Part::kNvme) {
    const auto brought = space_->prefetch(*chain, 0, half, Clock::now() + kPatience);
    if (!brought) return brought.error();
    if (*brought != half) return Error(Code::kNotFound, "a prompt is no longer on NVMe");
  }
  std::vector<Fragment> fragments(wanted);
  std::vector<LoadTarget> targets(wanted);
  for (size_t i = 0; i < wanted; ++i) {
    fragments[i] = {memory_->data() + i * options_.chunk_bytes, options_.chunk_bytes};
    targets[i] = {i, {&fragments[i], 1}};
  }
  const auto began = Clock::now();
  const auto loaded = space_->load_prefix(*chain, targets, began + kPatience);
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  if (!loaded) return loaded.error();
  const size_t below = part == Part::kHost ? 0 : half;
  if (loaded->chunks != wanted || loaded->chunks_lower != below) {
    return Error::format(Code::kNotFound, "%zu of %zu chunks came, %zu of them from NVMe, not %zu",
                         loaded->chunks, wanted, loaded->chunks_lower, below);
  }
  return seconds;
}

Result<BenchResult> PrefixBench::run() {
  if (Status status = prepare(); !status) return status.error();
  options_.note("measuring");
  std::vector<double> host, nvme, both, ratios;
  for (int i = 0; i < kWarmUps; ++i) {
    for (const Part part : {Part::kHost, Part::kNvme, Part::kBoth}) {
      if (const auto took = measure(part); !took) return took.error();
    }
  }
  for (uint32_t repeat = 0; repeat < options_.repeats; ++repeat) {
    double took[3] = {};
    for (uint32_t turn = 0; turn < 3; ++turn) {
      const uint32_t part = (turn + repeat) % 3;
      const auto seconds = measure(static_cast<Part>(part));
      if (!seconds) return seconds.error();
      took[part] = *seconds;
    }
    host.push_back(took[0] * 1e3);
    nvme.push_back(took[1] * 1e3);
    both.push_back(took[2] * 1e3);
    ratios.push_back(took[2] / std::max(took[0], took[1]));
  }
  BenchResult result;
  result.is_rate = false;
  result.unit = "ms";
  result.ours = median(both);
  result.limit = std::max(median(host), median(nvme));
  result.limit_name = "the slower half alone";
  result.explanation = "load_prefix() of a prompt half in host memory, half on NVMe, with checks";
  result.more["ratio_time"] = median(ratios);  // median over rounds; at most 1.1
  result.more["host_half_ms"] = median(host);
  result.more["nvme_half_ms"] = median(nvme);
  result.more["prompt_bytes"] = chunks_ * options_.chunk_bytes;
  result.more["chunk_bytes"] = options_.chunk_bytes;
  return result;
}

}  // namespace

Result<BenchResult> bench_prefix(const BenchOptions& options) {
  return PrefixBench(options).run();
}

}  // namespace kvtier::tools
