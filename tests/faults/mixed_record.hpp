// What the clients of the mixed load measure, in memory that outlives them: a killed client's
// samples stay. Each client writes its own record; the parent reads them when the clients have
// ended. Time is cut into intervals that the parent numbers.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

namespace kvtier::faults {

enum class Act : uint32_t {
  kLookup,
  kMatchSmall,
  kMatchLarge,
  kLoadSmall,
  kLoadLarge,
  kStoreSmall,
  kStoreLarge,
  kTouch,
  kPrefetch,
  kHint,
  kCount,
};
inline constexpr size_t kActs = static_cast<size_t>(Act::kCount);
inline constexpr std::array<const char*, kActs> kActNames = {
    "look-up, call",        "match 16 x 64 KiB",
    "match 4 x 2 MiB",      "load, a 64 KiB chunk",
    "load, a 2 MiB chunk",  "store, a 64 KiB chunk",
    "store, a 2 MiB chunk", "touch, call",
    "prefetch, call",       "hint, call"};

inline constexpr size_t kClients = 4;
inline constexpr size_t kSamplesMax = 2'000'000;
inline constexpr size_t kIntervalsMax = 4096;

struct Sample {
  uint32_t interval;
  Act act;
  uint32_t nanoseconds;  // a chunk, or a call
};

struct ClientRecord {
  std::atomic<uint64_t> samples_count;
  // CPU of the calls and payload bytes that they moved, by interval.
  std::array<std::atomic<uint64_t>, kIntervalsMax> cpu_ns;
  std::array<std::atomic<uint64_t>, kIntervalsMax> bytes;
  std::atomic<uint64_t> requests, chunks_asked, chunks_hit, chunks_stored;
  std::atomic<uint64_t> refused;  // busy, full, over quota
  std::atomic<uint64_t> wrong_bytes, failed_calls, corrupt;
  char first_failure[320];
  std::array<Sample, kSamplesMax> samples;

  void add(uint32_t interval, Act act, uint64_t nanoseconds) {
    const uint64_t at = samples_count.load(std::memory_order_relaxed);
    if (at >= kSamplesMax) return;
    samples[at] = {interval, act,
                   static_cast<uint32_t>(std::min<uint64_t>(nanoseconds, UINT32_MAX))};
    samples_count.store(at + 1, std::memory_order_release);
  }
};

struct MixedRecord {
  std::atomic<uint32_t> interval;
  std::atomic<uint32_t> stop;
  std::array<ClientRecord, kClients> clients;
};

}  // namespace kvtier::faults
