// What a client decided, with what it knew, for `kvtier explain` and the error of predictions: a
// lossy ring in session memory (docs/protocol.md, section 5). The client writes whole records, the
// oldest are overwritten; the daemon copies new ones at its own pace. No message. Everything in
// it is untrusted input.
#pragma once

#include <atomic>
#include <cstring>
#include <type_traits>

#include "kvtier/wire/plan.hpp"
#include "kvtier/wire/types.hpp"

namespace kvtier::wire {

enum class PlanRecordKind : uint32_t { kNone = 0, kPlan = 1, kEnd = 2 };

inline constexpr uint32_t kPlanRunsShown = 8;
struct PlanRunRecord {
  uint32_t chunks;
  uint8_t tier;
  uint8_t codec;
  uint16_t reserved;
  uint64_t stored_bytes;
};
struct PlanTierRecord {
  double bandwidth_bytes_per_s;
  double latency_s;
  uint64_t queued_bytes;
  uint64_t samples;
};

struct PlanRecord {
  uint32_t kind;       // PlanRecordKind
  uint32_t space;      // id
  uint64_t id;         // of the plan; its end names it
  uint64_t at_ns;      // CLOCK_MONOTONIC
  char request[48];    // the engine's name, zero-terminated
  ChunkKey first_key;  // of the first and the last resident chunk
  ChunkKey last_key;
  uint64_t first;  // chunk
  uint64_t tokens_behind;
  uint32_t tokens_per_chunk;
  uint32_t overlap;
  double lambda;
  double a, b, g;  // of computing
  uint64_t compute_samples;
  PlanTierRecord tiers[kTierCount];
  PlanRunRecord runs[kPlanRunsShown];
  uint32_t runs_count;  // of all; those behind the last shown are summed up in it
  uint32_t last_kept;   // 1: the latest choice was asked to be kept, if about as good
  uint64_t load_begin, load_end, resident;  // from `first`
  double load_seconds, recompute_seconds, ttft_seconds, load_all_seconds, compute_all_seconds,
      deadline_seconds;
  // Of kEnd.
  uint64_t loaded;
  double seconds;
  uint32_t ended;  // MissReason
  uint32_t reserved0;
};
static_assert(sizeof(PlanRecord) == 528);
static_assert(std::is_trivially_copyable_v<PlanRecord>);
static_assert(offsetof(PlanRecord, tiers) == 168 && offsetof(PlanRecord, load_begin) == 432);

// A record under a sequence: odd while it is written, then twice the number of the record plus 2.
struct alignas(64) PlanCell {
  std::atomic<uint64_t> sequence;
  std::atomic<uint64_t> words[sizeof(PlanRecord) / 8];
  uint64_t reserved[5];
};
static_assert(sizeof(PlanCell) == 576);

// Writes record number `number` into its cell; one writer.
inline void write_plan_cell(PlanCell& cell, uint32_t number, const PlanRecord& record) {
  uint64_t words[sizeof(PlanRecord) / 8];
  std::memcpy(words, &record, sizeof record);
  const uint64_t sequence = 2 * uint64_t{number} + 2;
  cell.sequence.store(sequence - 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  for (size_t i = 0; i < std::size(words); ++i) {
    cell.words[i].store(words[i], std::memory_order_relaxed);
  }
  cell.sequence.store(sequence, std::memory_order_release);
}

// False when the cell does not hold record `number`, or is being written.
inline bool read_plan_cell(const PlanCell& cell, uint32_t number, PlanRecord* record) {
  const uint64_t sequence = 2 * uint64_t{number} + 2;
  if (cell.sequence.load(std::memory_order_acquire) != sequence) return false;
  uint64_t words[sizeof(PlanRecord) / 8];
  for (size_t i = 0; i < std::size(words); ++i) {
    words[i] = cell.words[i].load(std::memory_order_relaxed);
  }
  std::atomic_thread_fence(std::memory_order_acquire);
  if (cell.sequence.load(std::memory_order_relaxed) != sequence) return false;
  std::memcpy(record, words, sizeof words);
  return true;
}

}  // namespace kvtier::wire
