// `kvtier bench lease`: what leasing and letting go of looked-up chunks costs, 256 at a time:
// match() and release() of a prompt whose lines are in the caches and whose headers this session
// has compared before, less the time of lookup() of the same prompt at the same place.
#include <array>

#include "tools/bench/bench_daemon.hpp"
#include "tools/bench/prompts.hpp"

namespace kvtier::tools {
namespace {

constexpr size_t kPrompt = 256;
constexpr uint64_t kPrompts = 64;
constexpr uint64_t kChunkBytes = 1024;
constexpr size_t kSamplesPerRepeat = 400;

double ns_since(Clock::time_point began) {
  return std::chrono::duration<double, std::nano>(Clock::now() - began).count();
}

// The least that a lease protocol of this kind does: a word stored a chunk, a fence for all, a word
// read again a chunk, a word cleared a chunk.
double bare_protocol_ns() {
  static std::array<std::atomic<uint64_t>, kPrompt> cells, places;
  uint64_t same = 0;
  const auto began = Clock::now();
  for (auto& cell : cells) cell.store(1, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (const auto& place : places) same += place.load(std::memory_order_acquire) == 0 ? 1u : 0u;
  for (auto& cell : cells) cell.store(0, std::memory_order_release);
  const double ns = ns_since(began);
  return same == kPrompt ? ns : 0;
}

struct Samples {
  std::vector<double> lookup, match, limit;
};

class LeaseBench {
 public:
  explicit LeaseBench(const BenchOptions& options) : options_(options) {}
  Result<BenchResult> run();

 private:
  Status prepare();
  Status measure(Samples& samples, const KeyChain& chain) const;

  const BenchOptions& options_;
  std::unique_ptr<BenchDaemon> daemon_;
  std::unique_ptr<Session> session_;
  std::shared_ptr<Space> space_;
  std::vector<KeyChain> chains_;
};

Status LeaseBench::prepare() {
  BenchPool pool;
  pool.chunk_bytes = kChunkBytes;
  pool.chunks = kPrompts * kPrompt;
  auto daemon = BenchDaemon::start(options_, pool);
  if (!daemon) return daemon.error();
  daemon_ = *std::move(daemon);
  auto session = daemon_->attach(Verify::kDefault);
  if (!session) return session.error();
  session_ = *std::move(session);
  auto space = session_->open_space(bench_space(pool));
  if (!space) return space.error();
  space_ = *std::move(space);
  Prompts prompts(*space_, kPrompt);
  const std::vector<std::byte> payload(kChunkBytes, std::byte{1});
  for (uint64_t i = 0; i < kPrompts; ++i) {
    auto chain = prompts.store(i, payload);
    if (!chain) return chain.error();
    const auto match = space_->match(*chain);  // compares the headers
    if (!match) return match.error();
    if (match->chunks() != kPrompt) return Error(Code::kFull, "the pool is too small");
    chains_.push_back(*std::move(chain));
  }
  return {};
}

Status LeaseBench::measure(Samples& samples, const KeyChain& chain) const {
  MatchOptions wanted;
  wanted.touch = false;
  (void)space_->lookup(chain);
  auto began = Clock::now();
  const Lookup found = space_->lookup(chain);
  samples.lookup.push_back(ns_since(began));
  began = Clock::now();
  auto match = space_->match(chain, wanted);
  if (match) match->release();
  samples.match.push_back(ns_since(began));
  if (!match) return match.error();
  samples.limit.push_back(bare_protocol_ns());
  if (found.chunks != kPrompt) return Error(Code::kFull, "chunks were evicted meanwhile");
  return {};
}

Result<BenchResult> LeaseBench::run() {
  if (Status status = prepare(); !status) return status.error();
  Random random(1);
  std::vector<double> ours, limit, lookup;
  for (uint32_t repeat = 0; repeat < options_.repeats; ++repeat) {
    Samples samples;
    for (size_t i = 0; i < kSamplesPerRepeat; ++i) {
      const Status status = measure(samples, chains_[random.below(kPrompts)]);
      if (!status) return status.error();
    }
    const double looked = median(samples.lookup);
    ours.push_back((median(samples.match) - looked) / kPrompt);
    lookup.push_back(looked / kPrompt);
    limit.push_back(median(samples.limit) / kPrompt);
  }
  BenchResult result;
  result.is_rate = false;
  result.unit = "ns";
  result.ours = median(ours);
  result.limit = median(limit);
  result.limit_name = "stores, one fence, loads and stores of 256 words of own memory";
  result.explanation =
      "a chunk's share of match() and release() of 256 warm chunks, less lookup() of the same";
  result.more["ns_per_chunk"] = result.ours;
  result.more["ns_per_chunk_lookup_warm"] = median(lookup);
  return result;
}

}  // namespace

Result<BenchResult> bench_lease(const BenchOptions& options) {
  return LeaseBench(options).run();
}

}  // namespace kvtier::tools
