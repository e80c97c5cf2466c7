// `kvtier bench lookup`: random prompts of 256 resident chunks among a million, with other work
// between two look-ups, so that neither caches nor TLBs hold what is asked for. Beside it, in
// turns: as many independent random reads of lines as a look-up cannot do without, and Redis.
#include <fstream>
#include <sstream>

#include "tools/bench/bench_daemon.hpp"
#include "tools/bench/bench_memory.hpp"
#include "tools/bench/prompts.hpp"
#include "tools/bench/redis_peer.hpp"

namespace kvtier::tools {
namespace {

constexpr size_t kPrompt = 256;
constexpr uint32_t kTokens = 256;
constexpr uint64_t kChunkBytes = 1024;          // slots of 8 KiB: a header's page and a payload's
constexpr uint64_t kOtherWorkBytes = 8u << 20;  // several times the second-level cache
constexpr size_t kSamplesPerRepeat = 100;
constexpr size_t kHotCalls = 20'000;
constexpr size_t kSinglesPerSample = 8;
// A look-up of one key reads a bucket and an entry, a line each.
constexpr size_t kLinesPerPrompt = 2 * kPrompt;

double us_since(Clock::time_point began) {
  return std::chrono::duration<double, std::micro>(Clock::now() - began).count();
}

// Whether this process sees the index on huge pages.
bool index_on_huge_pages() {
  std::ifstream file("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.find("memfd:") != std::string::npos || line.find("-") < line.find(" ")) {
      inside = line.find("memfd:kvtier-index") != std::string::npos;
    }
    if (inside && line.rfind("KernelPageSize:", 0) == 0) {
      std::istringstream rest(line.substr(15));
      uint64_t kib = 0;
      rest >> kib;
      return kib > 4;
    }
  }
  return false;
}

struct Samples {
  std::vector<double> us_256, hashed, us_1, us_1_after_work, limit, redis;
};

class LookupBench {
 public:
  explicit LookupBench(const BenchOptions& options) : options_(options) {}
  Result<BenchResult> run();

 private:
  Status fill();
  Status measure_one(Samples& samples);
  Status measure_singles(Samples& samples);
  Status measure_redis(Samples& samples);
  Result<double> measure_hot();
  double read_lines();
  uint64_t any_prompt() { return random_.below(prompts_stored_); }
  BenchResult result(const std::vector<Samples>& repeats, double us_hot) const;
  static double over(const std::vector<Samples>& repeats, std::vector<double> Samples::*kind,
                     double share);

  const BenchOptions& options_;
  BenchPool pool_;
  Random random_{1};
  std::unique_ptr<BenchDaemon> daemon_;
  std::unique_ptr<Session> session_;
  std::shared_ptr<Space> space_;
  std::optional<Prompts> prompts_;
  uint64_t prompts_stored_ = 0;
  std::unique_ptr<RedisPeer> redis_;
  std::vector<ChunkKey> keys_;
  std::optional<BenchMemory> other_, lines_;
  uint64_t sink_ = 0;
};

// Stores the entries, and gives Redis the same keys.
Status LookupBench::fill() {
  const std::vector<std::byte> payload(kChunkBytes, std::byte{1});
  const uint64_t wanted = pool_.chunks / kPrompt;
  for (; prompts_stored_ < wanted; ++prompts_stored_) {
    const auto chain = prompts_->store(prompts_stored_, payload);
    if (!chain) return chain.error();
    if (redis_ == nullptr) continue;
    keys_.insert(keys_.end(), chain->keys().begin(), chain->keys().end());
  }
  if (redis_ != nullptr) return redis_->load(keys_);
  return {};
}

double LookupBench::read_lines() {
  const auto* lines = reinterpret_cast<const volatile uint64_t*>(lines_->data());
  const uint64_t count = lines_->bytes() / 64;
  std::array<uint64_t, kLinesPerPrompt> at;
  for (uint64_t& one : at) one = random_.below(count) * 8;
  uint64_t sum = 0;
  const auto began = Clock::now();
  for (const uint64_t one : at) sum += lines[one];
  const double us = us_since(began);
  sink_ += sum;
  return us;
}

Error missing(size_t found, size_t asked) {
  return Error::format(Code::kFull, "only %zu of %zu chunks are resident: the pool is too small",
                       found, asked);
}

Status LookupBench::measure_one(Samples& samples) {
  {
    do_other_work(*other_);
    const auto chain = prompts_->chain(any_prompt());
    if (!chain) return chain.error();
    const auto began = Clock::now();
    const Lookup found = space_->lookup(*chain);
    samples.us_256.push_back(us_since(began));
    if (found.chunks != kPrompt) return missing(found.chunks, kPrompt);
  }
  {
    do_other_work(*other_);
    const auto tokens = prompts_->tokens(any_prompt());
    const auto began = Clock::now();
    const auto chain = space_->derive({.tokens = tokens});
    if (!chain) return chain.error();
    const Lookup found = space_->lookup(*chain);
    samples.hashed.push_back(us_since(began));
    if (found.chunks != kPrompt) return missing(found.chunks, kPrompt);
  }
  if (Status status = measure_singles(samples); !status) return status;
  do_other_work(*other_);
  samples.limit.push_back(read_lines());
  return redis_ == nullptr ? Status() : measure_redis(samples);
}

// Random keys one after the other, as between requests of a busy scheduler.
Status LookupBench::measure_singles(Samples& samples) {
  Prompts singles(*space_, 1);
  do_other_work(*other_);
  for (size_t i = 0; i <= kSinglesPerSample; ++i) {
    const auto chain = singles.chain(any_prompt() * kPrompt);  // a prompt's first chunk
    if (!chain) return chain.error();
    const auto began = Clock::now();
    const Lookup found = space_->lookup(*chain);
    const double us = us_since(began);
    (i == 0 ? samples.us_1_after_work : samples.us_1).push_back(us);
    if (found.chunks != 1) return missing(found.chunks, 1);
  }
  return {};
}

Status LookupBench::measure_redis(Samples& samples) {
  do_other_work(*other_);
  redis_->prepare(std::span(keys_).subspan(any_prompt() * kPrompt, kPrompt));
  const auto began = Clock::now();
  const auto found = redis_->ask();
  samples.redis.push_back(us_since(began));
  if (!found) return found.error();
  if (*found != kPrompt) return Error(Code::kUnavailable, "redis-server lost keys");
  return {};
}

// One key again and again.
Result<double> LookupBench::measure_hot() {
  const auto chain = space_->derive({.tokens = prompts_->tokens(any_prompt()).first(kTokens)});
  if (!chain) return chain.error();
  uint64_t found = 0;
  const auto began = Clock::now();
  for (size_t i = 0; i < kHotCalls; ++i) found += space_->lookup(*chain).chunks;
  const double us = us_since(began);
  if (found != kHotCalls) return Error(Code::kFull, "the chunk is not resident any more");
  return us / kHotCalls;
}

double LookupBench::over(const std::vector<Samples>& repeats, std::vector<double> Samples::*kind,
                         double share) {
  std::vector<double> each;
  for (const Samples& repeat : repeats) each.push_back(quantile(repeat.*kind, share));
  return median(each);
}

BenchResult LookupBench::result(const std::vector<Samples>& repeats, double us_hot) const {
  BenchResult result;
  result.is_rate = false;
  result.unit = "us";
  result.ours = over(repeats, &Samples::us_256, 0.5);
  result.limit = over(repeats, &Samples::limit, 0.5);
  result.limit_name = "512 independent random reads of a line, in as much memory";
  result.explanation = "look-up of a random prompt of 256 resident chunks, other work in between";
  auto& more = result.more;
  more["entries"] = prompts_stored_ * kPrompt;
  more["huge_pages"] = index_on_huge_pages();
  more["us_256"] = result.ours;
  more["us_256_p99"] = over(repeats, &Samples::us_256, 0.99);
  more["us_256_hashed"] = over(repeats, &Samples::hashed, 0.5);
  more["us_1"] = over(repeats, &Samples::us_1, 0.5);
  more["us_1_after_work"] = over(repeats, &Samples::us_1_after_work, 0.5);
  more["us_1_hot"] = us_hot;
  if (redis_ == nullptr) {
    more["redis_us_256"] = nullptr;
    more["redis_ratio"] = nullptr;
  } else {
    const double redis = over(repeats, &Samples::redis, 0.5);
    more["redis_us_256"] = redis;
    more["redis_ratio"] = result.ours > 0 ? redis / result.ours : 0;
  }
  more["other_work_bytes"] = kOtherWorkBytes;
  return result;
}

Result<BenchResult> LookupBench::run() {
  pool_.tokens_per_chunk = kTokens;
  pool_.chunk_bytes = kChunkBytes;
  pool_.chunks = options_.entries / kPrompt * kPrompt;
  if (pool_.chunks != options_.entries && pool_.chunks != 0) {
    options_.note("whole prompts of " + std::to_string(kPrompt) +
                  " chunks: " + std::to_string(pool_.chunks) + " entries instead of " +
                  std::to_string(options_.entries));
  }
  if (options_.socket.empty()) {
    const uint64_t fit = chunks_that_fit(pool_.chunks, pool_) / kPrompt * kPrompt;
    if (fit < pool_.chunks) {
      options_.note("memory is short: " + std::to_string(fit) + " entries instead of " +
                    std::to_string(pool_.chunks));
      pool_.chunks = fit;
    }
  }
  if (pool_.chunks == 0) return Error(Code::kInvalidArgument, "--entries takes 256 and more");
  auto daemon = BenchDaemon::start(options_, pool_);
  if (!daemon) return daemon.error();
  daemon_ = *std::move(daemon);
  auto session = daemon_->attach(Verify::kDefault);
  if (!session) return session.error();
  session_ = *std::move(session);
  auto space = session_->open_space(bench_space(pool_));
  if (!space) return space.error();
  space_ = *std::move(space);
  prompts_.emplace(*space_, kPrompt);
  if (options_.redis) {
    auto redis = RedisPeer::start();
    if (!redis) return redis.error();
    redis_ = *std::move(redis);
    if (redis_ == nullptr) options_.note("no redis-server on PATH: not measured beside");
  }
  options_.note("storing " + std::to_string(pool_.chunks) + " chunks");
  if (Status status = fill(); !status) return status.error();
  auto other = BenchMemory::create(kOtherWorkBytes, BenchMemory::Kind::kPrivate);
  if (!other) return other.error();
  other_.emplace(*std::move(other));
  // An entry of 64 bytes and, at half load, a bucket's share of 16: as much as the index has.
  auto lines = BenchMemory::create(pool_.chunks * 80, BenchMemory::Kind::kShared);
  if (!lines) return lines.error();
  lines_.emplace(*std::move(lines));

  options_.note("measuring");
  std::vector<Samples> repeats(options_.repeats);
  std::vector<double> hot;
  for (Samples& samples : repeats) {
    for (size_t i = 0; i < kSamplesPerRepeat; ++i) {
      if (Status status = measure_one(samples); !status) return status.error();
    }
    const auto us = measure_hot();
    if (!us) return us.error();
    hot.push_back(*us);
  }
  return result(repeats, median(hot));
}

}  // namespace

Result<BenchResult> bench_lookup(const BenchOptions& options) {
  return LookupBench(options).run();
}

}  // namespace kvtier::tools
