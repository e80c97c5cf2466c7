// `kvtier bench load`: prompts of large chunks copied out of the pool by one client, far more of
// them than caches hold: match, load, release. Beside it, in turns, plain copies out of the very
// same slots into the very same target.
#include <algorithm>
#include <array>

#include "kernels/limits.hpp"
#include "tools/bench/bench_daemon.hpp"
#include "tools/bench/bench_memory.hpp"
#include "tools/bench/prompts.hpp"

namespace kvtier::tools {
namespace {

constexpr size_t kPromptBytes = 8u << 20;
constexpr uint64_t kTargetBytes = 512u << 20;
constexpr size_t kPromptsPerRepeat = 32;  // of each way, in turns
constexpr uint32_t kTokens = 256;

enum Way : size_t { kNever, kAlways, kMemcpy, kNonTemporal, kWays };

class LoadBench {
 public:
  explicit LoadBench(const BenchOptions& options) : options_(options) {}
  Result<BenchResult> run();

 private:
  struct Client {
    std::unique_ptr<Session> session;
    std::shared_ptr<Space> space;
  };
  Status prepare();
  Result<Client> client(Verify verify, const SpaceSpec& spec);
  Status repeat(std::array<std::vector<double>, kWays>* seconds);
  Status copy_prompt(Way way, const KeyChain& chain, double* seconds);
  double prompt_gb() const { return static_cast<double>(chunks_ * options_.chunk_bytes) / 1e9; }
  std::byte* next_target();

  const BenchOptions& options_;
  size_t chunks_ = 0;  // of a prompt
  std::unique_ptr<BenchDaemon> daemon_;
  std::array<Client, 2> clients_;  // kNever, kAlways
  std::vector<KeyChain> chains_;
  std::optional<BenchMemory> target_;
  uint64_t target_at_ = 0;
  Random random_{1};
  std::array<std::vector<double>, kWays> rates_;
  std::vector<double> cpu_;
};

Result<LoadBench::Client> LoadBench::client(Verify verify, const SpaceSpec& spec) {
  Client made;
  auto session = daemon_->attach(verify);
  if (!session) return session.error();
  made.session = *std::move(session);
  auto space = made.session->open_space(spec);
  if (!space) return space.error();
  made.space = *std::move(space);
  return made;
}

Status LoadBench::prepare() {
  BenchPool pool;
  pool.tokens_per_chunk = kTokens;
  pool.chunk_bytes = options_.chunk_bytes;
  chunks_ = std::max<size_t>(kPromptBytes / options_.chunk_bytes, 1);
  const uint64_t wanted = std::max<uint64_t>(options_.pool_bytes / options_.chunk_bytes, chunks_);
  pool.chunks = chunks_that_fit(wanted, pool) / chunks_ * chunks_;
  if (pool.chunks < wanted) options_.note("memory is short: a smaller pool than asked for");
  if (pool.chunks == 0) return Error(Code::kOutOfMemory, "not even one prompt fits the memory");
  auto daemon = BenchDaemon::start(options_, pool);
  if (!daemon) return daemon.error();
  daemon_ = *std::move(daemon);
  const SpaceSpec spec = bench_space(pool);
  constexpr std::array kVerify = {Verify::kNever, Verify::kAlways};
  for (size_t i = 0; i < clients_.size(); ++i) {
    auto made = client(kVerify[i], spec);
    if (!made) return made.error();
    clients_[i] = *std::move(made);
  }
  auto target = BenchMemory::create(
      std::max(std::min(kTargetBytes, options_.pool_bytes), options_.chunk_bytes),
      BenchMemory::Kind::kPrivate);
  if (!target) return target.error();
  target_.emplace(*std::move(target));
  options_.note("storing " + std::to_string(pool.chunks) + " chunks");
  Prompts prompts(*clients_[0].space, chunks_);
  std::vector<std::byte> payload(options_.chunk_bytes, std::byte{7});
  for (uint64_t i = 0; i < pool.chunks / chunks_; ++i) {
    auto chain = prompts.store(i, payload);
    if (!chain) return chain.error();
    chains_.push_back(*std::move(chain));
  }
  return {};
}

std::byte* LoadBench::next_target() {
  if (target_at_ + options_.chunk_bytes > target_->bytes()) target_at_ = 0;
  std::byte* at = target_->data() + target_at_;
  target_at_ += options_.chunk_bytes;
  return at;
}

Status LoadBench::copy_prompt(Way way, const KeyChain& chain, double* seconds) {
  std::vector<Fragment> fragments(chunks_);
  std::vector<LoadTarget> targets(chunks_);
  for (size_t i = 0; i < chunks_; ++i) {
    fragments[i] = {next_target(), options_.chunk_bytes};
    targets[i] = {i, {&fragments[i], 1}};
  }
  const bool plain = way == kMemcpy || way == kNonTemporal;
  const Space& space = *clients_[way == kAlways ? 1 : 0].space;
  const auto before = Clock::now();
  const auto match = space.match(chain);
  if (!match) return match.error();
  if (match->chunks() != chunks_) return Error(Code::kFull, "chunks were evicted meanwhile");
  auto began = before;
  if (plain) {
    const auto kind =
        way == kMemcpy ? kernels::CopyLimit::kMemcpy : kernels::CopyLimit::kNonTemporal;
    began = Clock::now();
    for (size_t i = 0; i < chunks_; ++i) {
      kernels::copy_block_limit(kind, fragments[i].data, match->payload(i).data(),
                                options_.chunk_bytes);
    }
  } else {
    const auto loaded = space.load(*match, targets);
    if (!loaded) return loaded.error();
    if (loaded->chunks != chunks_) return Error(Code::kCorrupt, "a load ended early");
  }
  *seconds += std::chrono::duration<double>(Clock::now() - began).count();
  return {};
}

// Prompts one after the other, each copied in one way, then the next prompt in the next way: what
// else the machine does meanwhile meets all ways alike, and the medians leave out who was hit.
Status LoadBench::repeat(std::array<std::vector<double>, kWays>* seconds) {
  double cpu_seconds = 0;
  for (size_t i = 0; i < kPromptsPerRepeat * kWays; ++i) {
    const auto way = static_cast<Way>((i + i / kWays) % kWays);  // no way always behind another
    const KeyChain& chain = chains_[random_.below(chains_.size())];
    const CpuMeter cpu(*daemon_);
    double took = 0;
    if (Status status = copy_prompt(way, chain, &took); !status) return status;
    (*seconds)[way].push_back(took);
    if (way == kNever) cpu_seconds += cpu.seconds();
  }
  cpu_.push_back(cpu_seconds / (prompt_gb() * kPromptsPerRepeat));
  return {};
}

Result<BenchResult> LoadBench::run() {
  if (Status status = prepare(); !status) return status.error();
  options_.note("measuring");
  for (uint32_t number = 0; number <= options_.repeats; ++number) {
    std::array<std::vector<double>, kWays> seconds;
    if (Status status = repeat(&seconds); !status) return status.error();
    if (number == 0) cpu_.clear();  // the first round maps and warms up
    for (size_t way = 0; way < kWays && number > 0; ++way) {
      rates_[way].push_back(prompt_gb() / median(seconds[way]));
    }
  }
  const double plain = median(rates_[kMemcpy]);
  const double streamed = median(rates_[kNonTemporal]);
  BenchResult result;
  result.unit = "GB/s";
  result.ours = median(rates_[kNever]);
  result.limit = std::max(plain, streamed);
  result.limit_name = plain > streamed ? "memcpy" : "non_temporal";
  result.cpu_s_per_gb = median(cpu_);
  result.explanation = "match, load and release of prompts, copied out by one client";
  auto& more = result.more;
  more["chunk_bytes"] = options_.chunk_bytes;
  more["verify"] = "never";
  more["ours_verify"] = median(rates_[kAlways]);
  more["ratio_verify"] = result.limit > 0 ? median(rates_[kAlways]) / result.limit : 0;
  more["memcpy_gbps"] = plain;
  more["non_temporal_gbps"] = streamed;
  more["pool_bytes"] = chains_.size() * chunks_ * options_.chunk_bytes;
  return result;
}

}  // namespace

Result<BenchResult> bench_load(const BenchOptions& options) {
  return LoadBench(options).run();
}

}  // namespace kvtier::tools
