// Session memory, one per attached client: written by the client and by the daemon's core thread.
// Rings, lease cells, touch log, argument area. Everything a client writes is untrusted input.
// Offsets, memory orders and why they suffice: docs/protocol.md, sections 4 and 5.
#pragma once

#include <atomic>

#include "kvtier/wire/types.hpp"

namespace kvtier::wire {

inline constexpr uint64_t kSessionMagic = 0x3130'5345'5356'4bULL;  // "KVSES01"

enum class Op : uint16_t {
  kNop = 0,
  kReserve =
      1,  // arguments: ReserveArg[count] (+ ids); answers: ReserveAnswer[count] in their place
  kCommit = 2,         // arguments: CommitArg[count]; answers: CommitAnswer[count]
  kAbort = 3,          // arguments: CommitArg[count], only places are read
  kPrefetch = 4,       // arguments: KeyArg[count]; a: deadline, ns; completes when all are in host
                       // memory, or refused
  kCancel = 5,         // a: user_data of the prefetch
  kHint = 6,           // arguments: KeyArg[count]; a: HintKind, b: its value, a double
  kReportPrefill = 7,  // a: new tokens, b: context tokens, c: double seconds; space
  kReportLoad = 8,     // a: tier, b: bytes, c: double seconds
  kBadChunk = 9,       // a: place, b: BadKind. The daemon unpublishes and quarantines the slot
  kTouchFlush = 10,    // completes when every touch logged before it has been applied
  kReportModel = 11,   // a, b, c: doubles, FLOPs a token, a token and position, FLOP/s; space
};

enum class HintKind : uint64_t { kSessionEnd = 1, kNextUseIn = 2, kPin = 3, kClass = 4 };
enum class BadKind : uint64_t { kChecksum = 1, kHeader = 2 };

// One request, one line. Offsets are into the argument area.
struct Submission {
  uint64_t user_data;
  uint16_t op;
  uint16_t flags;
  uint32_t space;
  uint32_t count;
  uint32_t args_offset;
  uint32_t args_bytes;  // arguments and everything they point to lie within
  uint32_t reserved0;
  uint64_t a;
  uint64_t b;
  uint64_t c;
  uint64_t reserved1;
};
static_assert(sizeof(Submission) == 64);

// One answer, half a line. `status` is a kvtier::Code.
struct Completion {
  uint64_t user_data;
  int32_t status;
  uint32_t count;
  uint64_t a;
  uint64_t b;
};
static_assert(sizeof(Completion) == 32);

struct ReserveArg {
  ChunkKey key;
  ChunkKey parent;
  uint64_t payload_bytes;
  uint32_t position;    // number of the chunk in its chain, from 0
  uint32_t tokens;      // token ids at ids_offset, uint32 each
  uint32_t extra_ids;   // then extra ids, uint64 each, 8-byte aligned
  uint32_t ids_offset;  // from the start of the argument area, multiple of 8
  uint32_t codec;
  uint32_t flags;           // kReserve*
  uint8_t engine_hash[32];  // zero unless the key was folded from it
  uint64_t reserved;
};
static_assert(sizeof(ReserveArg) == 104);

enum class ReserveOutcome : uint32_t {
  kGranted = 0,
  kPresent = 1,
  kInProgress = 2,
  kFull = 3,
  kOverQuota = 4,
  kDeclined = 5,
  kBusy = 6,
};
struct ReserveAnswer {
  uint64_t place;
  uint32_t outcome;
  uint32_t retry_after_us;  // for kBusy
};
static_assert(sizeof(ReserveAnswer) == 16);

inline constexpr uint32_t kCommitHasChecksum = 1u << 0;
struct CommitArg {
  uint64_t place;
  uint64_t checksum;
  uint32_t flags;
  uint32_t reserved;
};
static_assert(sizeof(CommitArg) == 24);
enum class CommitOutcome : uint32_t { kStored = 0, kPresent = 1, kUnknownGrant = 2, kFailed = 3 };
struct CommitAnswer {
  uint32_t outcome;
  uint32_t reserved;
};
static_assert(sizeof(CommitAnswer) == 8);

struct KeyArg {
  ChunkKey key;
};

// What a client counts for itself; the daemon adds it to its metrics. Order is part of the format.
enum class Counter : uint32_t {
  kLookups,
  kChunksAsked,
  kTokensAsked,
  kChunksHost,
  kChunksDevice,
  kChunksNvme,
  kChunksRemote,
  kTokensHost,
  kTokensDevice,
  kTokensNvme,
  kTokensRemote,
  kMissAbsent,
  kMissLeased,
  kMissUnverified,
  kMissCodec,
  kMissShard,
  kMissDeadline,
  kMissMismatch,
  kMissUnavailable,
  kMissUnstable,
  kLoads,
  kLoadBytes,
  kLoadFailedRevoked,
  kLoadFailedCorrupt,
  kLoadNanoseconds,
  kStores,
  kStoreBytes,
  kStoresPresent,
  kStoresRefused,
  kStoreNanoseconds,
  kVerifiedBytes,
  kPlansLoad,
  kPlansRecompute,
  kTouchesDropped,
  kMissLower,
  kMissTooManyLeases,
  kLoadFailedDeadline,
  kStoresFailed,
  kCount,
};
inline constexpr uint32_t kCountersMax = 64;
static_assert(static_cast<uint32_t>(Counter::kCount) <= kCountersMax);

struct alignas(64) SessionHeader {
  // Written once by the daemon, before the client sees it.
  uint64_t magic;
  uint32_t version;
  uint32_t session;
  uint64_t bytes;
  uint64_t epoch;
  uint64_t submissions_offset;  // Submission[submission_entries]
  uint64_t completions_offset;  // Completion[completion_entries]
  uint64_t cells_offset;        // std::atomic<uint64_t>[cells_max], Place::word() or 0
  uint64_t touches_offset;      // std::atomic<uint64_t>[touch_entries], Place::word()
  uint64_t args_offset;
  uint64_t args_bytes;
  uint32_t submission_entries;  // powers of two
  uint32_t completion_entries;
  uint32_t touch_entries;
  uint32_t cells_max;
  uint64_t plans_offset;  // PlanCell[plan_entries] (plan_record.hpp); 0: a daemon without them
  uint32_t plan_entries;  // power of two
  uint32_t reserved0;
  // Written by the client.
  alignas(64) std::atomic<uint32_t> submission_tail;
  alignas(64) std::atomic<uint32_t> completion_head;
  std::atomic<uint32_t> client_need_wake;
  alignas(64) std::atomic<uint32_t> cells_high_water;  // cells at and above it were never used
  alignas(64) std::atomic<uint32_t> touch_tail;
  std::atomic<uint32_t> plan_tail;  // records written
  alignas(64) std::atomic<uint64_t> counters[kCountersMax];
  // Written by the daemon.
  alignas(64) std::atomic<uint32_t> submission_head;
  std::atomic<uint32_t> daemon_need_wake;
  alignas(64) std::atomic<uint32_t> completion_tail;
  alignas(64) std::atomic<uint32_t> touch_head;
  alignas(64) std::atomic<uint64_t> revocations;  // bumped before a leased slot is taken
  std::atomic<uint64_t> ended;                    // not 0: the daemon serves this session no more
};
static_assert(sizeof(SessionHeader) == 128 + 64 * 4 + 512 + 64 * 4);
inline constexpr uint32_t kSessionHeaderBytes = 4096;
static_assert(sizeof(SessionHeader) <= kSessionHeaderBytes);

}  // namespace kvtier::wire
