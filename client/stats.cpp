// SessionStats from the counters of session memory. Pure.
#include "client/session_core.hpp"

namespace kvtier::client {

wire::Counter miss_counter(MissReason reason) {
  using wire::Counter;
  switch (reason) {
    case MissReason::kNone:
    case MissReason::kAbsent:
      return Counter::kMissAbsent;
    case MissReason::kLower:
      return Counter::kMissLower;
    case MissReason::kLeasedOut:
      return Counter::kMissLeased;
    case MissReason::kUnverified:
      return Counter::kMissUnverified;
    case MissReason::kCodec:
      return Counter::kMissCodec;
    case MissReason::kShard:
      return Counter::kMissShard;
    case MissReason::kMismatch:
      return Counter::kMissMismatch;
    case MissReason::kUnavailable:
      return Counter::kMissUnavailable;
    case MissReason::kTooManyLeases:
      return Counter::kMissTooManyLeases;
    case MissReason::kDeadline:
      return Counter::kMissDeadline;
  }
  return Counter::kMissAbsent;
}

void fill_stats(const std::array<uint64_t, wire::kCountersMax>& sums, SessionStats* stats) {
  using wire::Counter;
  const auto sum = [&](Counter counter) { return sums[static_cast<size_t>(counter)]; };
  const auto miss = [&](MissReason reason, Counter counter) {
    stats->misses[static_cast<size_t>(reason)] += sum(counter);
  };
  stats->lookups = sum(Counter::kLookups);
  stats->chunks_asked = sum(Counter::kChunksAsked);
  stats->tokens_asked = sum(Counter::kTokensAsked);
  stats->chunks_hit =
      sum(Counter::kChunksHost) + sum(Counter::kChunksDevice) + sum(Counter::kChunksNvme);
  stats->tokens_hit =
      sum(Counter::kTokensHost) + sum(Counter::kTokensDevice) + sum(Counter::kTokensNvme);
  miss(MissReason::kAbsent, Counter::kMissAbsent);
  miss(MissReason::kLower, Counter::kMissLower);
  miss(MissReason::kLeasedOut, Counter::kMissLeased);
  miss(MissReason::kLeasedOut, Counter::kMissUnstable);
  miss(MissReason::kUnverified, Counter::kMissUnverified);
  miss(MissReason::kCodec, Counter::kMissCodec);
  miss(MissReason::kShard, Counter::kMissShard);
  miss(MissReason::kMismatch, Counter::kMissMismatch);
  miss(MissReason::kUnavailable, Counter::kMissUnavailable);
  miss(MissReason::kTooManyLeases, Counter::kMissTooManyLeases);
  miss(MissReason::kDeadline, Counter::kMissDeadline);
  stats->loads = sum(Counter::kLoads);
  stats->load_bytes = sum(Counter::kLoadBytes);
  stats->corrupt = sum(Counter::kLoadFailedCorrupt);
  stats->loads_failed = sum(Counter::kLoadFailedRevoked) + sum(Counter::kLoadFailedCorrupt) +
                        sum(Counter::kLoadFailedDeadline);
  stats->stores = sum(Counter::kStores);
  stats->store_bytes = sum(Counter::kStoreBytes);
  stats->stores_failed = sum(Counter::kStoresFailed);
  stats->touches_dropped = sum(Counter::kTouchesDropped);
}

}  // namespace kvtier::client
