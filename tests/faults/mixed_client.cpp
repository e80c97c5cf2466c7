#include "tests/faults/mixed_client.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "tests/faults/fault_client.hpp"
#include "tools/trace/block_content.hpp"

namespace kvtier::faults {
namespace {

constexpr uint32_t kTokensPerChunk = 64;
// Shorter than a test's patience: a call that hangs is a failed call, with its name.
constexpr auto kCallTime = std::chrono::seconds(10);
constexpr uint64_t kContentIds = 4096;  // a prompt

uint64_t thread_cpu_ns() {
  timespec used = {};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return static_cast<uint64_t>(used.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(used.tv_nsec);
}

void increase(std::atomic<uint64_t>& number, uint64_t by) {
  number.fetch_add(by, std::memory_order_relaxed);
}

}  // namespace

MixedClient::MixedClient(const MixedClientOptions& options, MixedRecord* record)
    : options_(options),
      all_(*record),
      record_(record->clients[options.number]),
      random_(options.seed) {}

void MixedClient::fail(const char* what, const char* why) {
  if (record_.failed_calls.fetch_add(1) == 0) {
    std::snprintf(record_.first_failure, sizeof record_.first_failure, "%s: %s", what, why);
  }
}

// Runs one call and notes its time by `divisor` and its CPU.
template <typename Call>
auto MixedClient::timed(Act act, uint64_t divisor, Call&& call) {
  const uint32_t interval = all_.interval.load(std::memory_order_relaxed);
  const uint64_t cpu = thread_cpu_ns();
  const auto began = Clock::now();
  auto result = call();
  const auto took =
      std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - began).count();
  increase(record_.cpu_ns[interval % kIntervalsMax], thread_cpu_ns() - cpu);
  if (divisor > 0) record_.add(interval, act, static_cast<uint64_t>(took) / divisor);
  return result;
}

void MixedClient::open_shape(uint64_t chunk_bytes, size_t chunks, Act match, Act load, Act store) {
  SpaceSpec spec;
  spec.model = "mixed-load";
  spec.layout = "mixed-1";
  spec.tokens_per_chunk = kTokensPerChunk;
  spec.chunk_bytes = chunk_bytes;
  auto space = session_->open_space(spec);
  if (!space.ok()) return fail("open_space", space.error().message());
  const double wanted = options_.working_set * static_cast<double>(options_.share_bytes) / 2;
  const auto prompts =
      static_cast<uint64_t>(wanted / static_cast<double>(chunk_bytes * chunks)) + 1;
  shapes_.push_back({std::move(*space), chunk_bytes, chunks, prompts, match, load, store});
}

int MixedClient::run() {
  SessionOptions options;
  options.socket = options_.socket;
  options.name = "mixed-" + std::to_string(options_.number);
  options.call_deadline = kCallTime;
  options.verify = Verify::kAlways;
  auto opened = Session::open(options);
  if (!opened.ok()) return 3;
  session_ = std::move(*opened);
  if (const Status attached = session_->wait_attached(in(kCallTime)); !attached.ok()) {
    fail("attach", attached.error().message());
    return 4;
  }
  open_shape(64 * wire::KiB, 16, Act::kMatchSmall, Act::kLoadSmall, Act::kStoreSmall);
  open_shape(2 * wire::MiB, 4, Act::kMatchLarge, Act::kLoadLarge, Act::kStoreLarge);
  if (shapes_.size() != 2) return 5;
  target_.resize(8 * wire::MiB);
  source_.resize(8 * wire::MiB);
  while (all_.stop.load(std::memory_order_relaxed) == 0) {
    // Equal bytes through both sizes: eight small prompts for each large one.
    request(shapes_[random_() % 9 < 8 ? 0 : 1]);
  }
  increase(record_.corrupt, session_->stats().corrupt);
  shapes_.clear();
  session_.reset();  // detaches
  return 0;
}

// The better of two: some prompts are asked for more often than others.
void MixedClient::request(const Shape& shape) {
  const uint64_t prompt = std::min(random_() % shape.prompts, random_() % shape.prompts);
  tokens_.resize(shape.chunks * kTokensPerChunk);
  for (size_t i = 0; i < shape.chunks; ++i) {
    tools::fill_tokens(prompt * kContentIds + i,
                       std::span(tokens_).subspan(i * kTokensPerChunk, kTokensPerChunk));
  }
  auto chain = shape.space->derive({.tokens = tokens_});
  if (!chain.ok()) return fail("derive", chain.error().message());
  increase(record_.requests, 1);
  increase(record_.chunks_asked, shape.chunks);
  const auto below = timed(Act::kLookup, 1, [&] {
    return shape.space->lookup(*chain).chunks_by_tier[static_cast<size_t>(wire::Tier::kNvme)];
  });
  if (options_.promotes && below > 0) bring(shape, *chain);
  const size_t hit = load(shape, *chain, prompt);
  if (hit < shape.chunks) store(shape, *chain, prompt, hit);
  rest(shape, *chain, hit);
}

// Host memory may be too full of what others had brought, and what was there may have gone.
void MixedClient::bring(const Shape& shape, const KeyChain& chain) {
  const auto brought = timed(Act::kPrefetch, 1, [&] {
    return shape.space->prefetch(chain, 0, shape.chunks, in(kCallTime));
  });
  if (brought.ok()) return;
  if (brought.code() == Code::kFull || brought.code() == Code::kNotFound) {
    increase(record_.refused, 1);
  } else {
    fail("prefetch", brought.error().message());
  }
}

// Chunks that were loaded and compared, from the first.
size_t MixedClient::load(const Shape& shape, const KeyChain& chain, uint64_t prompt) {
  auto match = timed(shape.match, 1, [&] { return shape.space->match(chain); });
  if (!match.ok()) return fail("match", match.error().message()), 0;
  if (match->ended() == MissReason::kUnavailable) fail("match", "no daemon");
  const size_t chunks = match->chunks();
  if (chunks == 0) return 0;
  std::vector<Fragment> fragments;
  std::vector<LoadTarget> targets;
  for (size_t i = 0; i < chunks; ++i) {
    fragments.push_back({target_.data() + i * shape.chunk_bytes, shape.chunk_bytes});
  }
  for (size_t i = 0; i < chunks; ++i) targets.push_back({i, std::span(fragments).subspan(i, 1)});
  const uint32_t interval = all_.interval.load(std::memory_order_relaxed);
  const auto loaded = timed(shape.load, chunks, [&] { return shape.space->load(*match, targets); });
  if (!loaded.ok()) return fail("load", loaded.error().message()), 0;
  if (loaded->chunks < chunks && match->check().ok()) fail("load", "shorter than its leases");
  increase(record_.bytes[interval % kIntervalsMax], loaded->bytes);
  increase(record_.chunks_hit, loaded->chunks);
  for (size_t i = 0; i < loaded->chunks; ++i) {
    increase(record_.wrong_bytes,
             tools::count_wrong_bytes(prompt * kContentIds + i, options_.number,
                                      {fragments[i].data, fragments[i].bytes}));
  }
  return loaded->chunks;
}

void MixedClient::store(const Shape& shape, const KeyChain& chain, uint64_t prompt, size_t first) {
  std::vector<ConstFragment> fragments;
  std::vector<StoreSource> sources;
  for (size_t i = first; i < shape.chunks; ++i) {
    const std::span<std::byte> bytes =
        std::span(source_).subspan(i * shape.chunk_bytes, shape.chunk_bytes);
    tools::fill_payload(prompt * kContentIds + i, options_.number, bytes);
    fragments.push_back({bytes.data(), bytes.size()});
  }
  for (size_t i = first; i < shape.chunks; ++i) {
    sources.push_back({i, std::span(fragments).subspan(i - first, 1)});
  }
  const uint32_t interval = all_.interval.load(std::memory_order_relaxed);
  const auto outcomes = timed(shape.store, sources.size(),
                              [&] { return shape.space->store(chain, sources, in(kCallTime)); });
  if (!outcomes.ok()) return fail("store", outcomes.error().message());
  for (const StoreOutcome outcome : *outcomes) {
    switch (outcome) {
      case StoreOutcome::kStored:
        increase(record_.chunks_stored, 1);
        increase(record_.bytes[interval % kIntervalsMax], shape.chunk_bytes);
        break;
      case StoreOutcome::kPresent:
      case StoreOutcome::kInProgress:
        break;
      case StoreOutcome::kBusy:
      case StoreOutcome::kFull:
      case StoreOutcome::kOverQuota:
        increase(record_.refused, 1);
        break;
      default:
        fail("store", store_outcome_name(outcome));
    }
  }
}

// What an engine says besides.
void MixedClient::rest(const Shape& shape, const KeyChain& chain, size_t hit) {
  timed(Act::kTouch, 1, [&] { return shape.space->touch(chain, shape.chunks), 0; });
  if (random_() % 4 == 0) {
    const auto brought = timed(Act::kPrefetch, 1, [&] {
      return shape.space->prefetch(chain, 0, shape.chunks, in(kCallTime));
    });
    if (!brought.ok()) fail("prefetch", brought.error().message());
  }
  if (random_() % 4 == 0) {
    const Status told = timed(Act::kHint, 1, [&] {
      return shape.space->hint(chain, 0, shape.chunks, Hint::kNextUseIn, 1.0);
    });
    // Never waits, so a full ring may refuse it: busy.
    if (!told.ok() && told.code() == Code::kFull) increase(record_.refused, 1);
    if (!told.ok() && told.code() != Code::kFull) fail("hint", told.error().message());
  }
  (void)shape.space->report_prefill((shape.chunks - hit) * kTokensPerChunk + 1, hit, 0.001);
}

}  // namespace kvtier::faults
