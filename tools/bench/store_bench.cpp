// `kvtier bench store`: prompts of large chunks stored into a full pool by one client, so that each
// store evicts: eight grants in flight, with checksum, as Space::store does it. Beside it, in
// turns, plain cold memcpy from the same source into shared memory of the same size.
#include <algorithm>

#include "kernels/limits.hpp"
#include "tools/bench/bench_daemon.hpp"
#include "tools/bench/bench_memory.hpp"
#include "tools/bench/prompts.hpp"

namespace kvtier::tools {
namespace {

constexpr size_t kPromptBytes = 16u << 20;
constexpr uint64_t kSourceBytes = 512u << 20;
constexpr size_t kPromptsPerRepeat = 24;  // of each way, in turns
constexpr uint32_t kTokens = 256;
constexpr auto kStoreTime = std::chrono::seconds(60);

class StoreBench {
 public:
  explicit StoreBench(const BenchOptions& options) : options_(options) {}
  Result<BenchResult> run();

 private:
  Status prepare();
  Status store_prompt(double* seconds);
  double copy_prompt(kernels::CopyLimit kind);  // seconds
  const std::byte* next_source();
  std::byte* next_target();
  double prompt_gb() const { return static_cast<double>(chunks_ * options_.chunk_bytes) / 1e9; }

  const BenchOptions& options_;
  size_t chunks_ = 0;  // of a prompt
  uint64_t pool_chunks_ = 0;
  std::unique_ptr<BenchDaemon> daemon_;
  std::unique_ptr<Session> session_;
  std::shared_ptr<Space> space_;
  std::optional<BenchMemory> source_, target_;
  uint64_t source_at_ = 0, target_at_ = 0;
  uint64_t next_prompt_ = 0;
};

Status StoreBench::prepare() {
  BenchPool pool;
  pool.tokens_per_chunk = kTokens;
  pool.chunk_bytes = options_.chunk_bytes;
  pool.evicts = true;
  chunks_ = std::max<size_t>(kPromptBytes / options_.chunk_bytes, 1);
  // The pool, the memory that plain copies go to and the spare slots share what there is.
  const uint64_t wanted = std::max<uint64_t>(options_.pool_bytes / options_.chunk_bytes, chunks_);
  pool.chunks = std::min(wanted, chunks_that_fit(wanted * 3, pool) / 3);
  if (pool.chunks < wanted) options_.note("memory is short: a smaller pool than asked for");
  if (pool.chunks < chunks_)
    return Error(Code::kOutOfMemory, "not even one prompt fits the memory");
  pool_chunks_ = pool.chunks;
  auto daemon = BenchDaemon::start(options_, pool);
  if (!daemon) return daemon.error();
  daemon_ = *std::move(daemon);
  auto session = daemon_->attach(Verify::kDefault);
  if (!session) return session.error();
  session_ = *std::move(session);
  auto space = session_->open_space(bench_space(pool));
  if (!space) return space.error();
  space_ = *std::move(space);
  auto source = BenchMemory::create(
      std::max(std::min(kSourceBytes, options_.pool_bytes), options_.chunk_bytes),
      BenchMemory::Kind::kPrivate);
  if (!source) return source.error();
  source_.emplace(*std::move(source));
  std::fill(source_->span().begin(), source_->span().end(), std::byte{3});
  auto target = BenchMemory::create(pool.chunks * options_.chunk_bytes, BenchMemory::Kind::kShared);
  if (!target) return target.error();
  target_.emplace(*std::move(target));
  // Every slot is written once before anything counts: mapped here, and the pool is full.
  options_.note("filling a pool of " + std::to_string(pool.chunks) + " chunks");
  const uint64_t slots = daemon_->capacity_bytes() == 0
                             ? pool.chunks
                             : daemon_->capacity_bytes() / options_.chunk_bytes;
  for (uint64_t stored = 0; stored < slots + pool.chunks; stored += chunks_) {
    double seconds = 0;
    if (Status status = store_prompt(&seconds); !status) return status;
  }
  return {};
}

const std::byte* StoreBench::next_source() {
  if (source_at_ + options_.chunk_bytes > source_->bytes()) source_at_ = 0;
  const std::byte* at = source_->data() + source_at_;
  source_at_ += options_.chunk_bytes;
  return at;
}

std::byte* StoreBench::next_target() {
  if (target_at_ + options_.chunk_bytes > target_->bytes()) target_at_ = 0;
  std::byte* at = target_->data() + target_at_;
  target_at_ += options_.chunk_bytes;
  return at;
}

Status StoreBench::store_prompt(double* seconds) {
  Prompts prompts(*space_, chunks_);
  const auto chain = prompts.chain(next_prompt_++);
  if (!chain) return chain.error();
  std::vector<ConstFragment> fragments(chunks_);
  std::vector<StoreSource> sources(chunks_);
  for (size_t i = 0; i < chunks_; ++i) {
    fragments[i] = {next_source(), options_.chunk_bytes};
    sources[i] = {i, {&fragments[i], 1}};
  }
  const auto began = Clock::now();
  const auto outcomes = space_->store(*chain, sources, began + kStoreTime);
  *seconds += std::chrono::duration<double>(Clock::now() - began).count();
  if (!outcomes) return outcomes.error();
  for (const StoreOutcome outcome : *outcomes) {
    if (outcome == StoreOutcome::kStored) continue;
    return Error::format(Code::kFull, "a chunk could not be stored: %s",
                         store_outcome_name(outcome));
  }
  return {};
}

double StoreBench::copy_prompt(kernels::CopyLimit kind) {
  const auto began = Clock::now();
  for (size_t i = 0; i < chunks_; ++i) {
    kernels::copy_block_limit(kind, next_target(), next_source(), options_.chunk_bytes);
  }
  return std::chrono::duration<double>(Clock::now() - began).count();
}

Result<BenchResult> StoreBench::run() {
  if (Status status = prepare(); !status) return status.error();
  options_.note("measuring");
  std::vector<double> ours, plain, streamed, cpu;
  for (uint32_t repeat = 0; repeat < options_.repeats; ++repeat) {
    std::vector<double> stored, copied, copied_streaming;
    double cpu_seconds = 0;
    for (size_t i = 0; i < kPromptsPerRepeat; ++i) {
      const CpuMeter meter(*daemon_);
      double took = 0;
      if (Status status = store_prompt(&took); !status) return status.error();
      cpu_seconds += meter.seconds();
      stored.push_back(took);
      copied.push_back(copy_prompt(kernels::CopyLimit::kMemcpy));
      copied_streaming.push_back(copy_prompt(kernels::CopyLimit::kNonTemporal));
    }
    cpu.push_back(cpu_seconds / (prompt_gb() * kPromptsPerRepeat));
    ours.push_back(prompt_gb() / median(stored));
    plain.push_back(prompt_gb() / median(copied));
    streamed.push_back(prompt_gb() / median(copied_streaming));
  }
  BenchResult result;
  result.unit = "GB/s";
  result.ours = median(ours);
  result.limit = median(plain);
  result.limit_name = "memcpy";
  result.cpu_s_per_gb = median(cpu);
  result.explanation = "reserve, gather with checksum and commit into a full pool, by one client";
  result.more["chunk_bytes"] = options_.chunk_bytes;
  result.more["grants_in_flight"] = 8;
  result.more["checksum"] = true;
  result.more["non_temporal_gbps"] = median(streamed);
  result.more["pool_bytes"] = pool_chunks_ * options_.chunk_bytes;
  return result;
}

}  // namespace

Result<BenchResult> bench_store(const BenchOptions& options) {
  return StoreBench(options).run();
}

}  // namespace kvtier::tools
