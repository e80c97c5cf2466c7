// What a trace asks for, counted while it streams by: the denominators of every result of a replay.
// Owned by one thread. Memory grows with the distinct blocks only, up to a limit.
#pragma once

#include <cstdint>
#include <unordered_set>

#include "kvtier/result.hpp"
#include "tools/trace/trace_source.hpp"

namespace kvtier::tools {

struct TraceSummary {
  uint64_t requests = 0;
  uint64_t blocks_asked = 0;
  uint64_t blocks_unique = 0;
  uint64_t blocks_hit_infinite = 0;  // longest prefix ever seen before: no cache can hit more
  uint64_t tokens_input = 0;
  uint64_t tokens_output = 0;
  uint64_t tokens_hit_infinite = 0;  // of tokens_input
  uint64_t request_blocks_max = 0;
  uint32_t block_tokens_min = 0;
  uint32_t block_tokens_max = 0;
  uint64_t timestamp_first_ms = 0;
  uint64_t timestamp_last_ms = 0;     // the greatest, wherever it stands
  uint64_t timestamps_backwards = 0;  // requests earlier than the one before them
  uint64_t ids_beyond_input = 0;      // requests with more ids than input_length has blocks: the
                                      // block_tokens in use are not those of the trace

  // blocks_hit_infinite / blocks_asked, 0 for an empty trace.
  double hit_rate_infinite() const;
};

class TraceStatistics {
 public:
  static constexpr uint64_t kUniqueBlocksMax = 1u << 26;  // about 2.5 GiB of set

  explicit TraceStatistics(uint64_t unique_blocks_max = kUniqueBlocksMax)
      : unique_blocks_max_(unique_blocks_max) {}

  // Counts one more request. Errors: full (more distinct blocks than the limit).
  Status add(const TraceRequest& request);
  TraceSummary summary() const { return summary_; }

 private:
  uint64_t unique_blocks_max_;
  TraceSummary summary_;
  uint64_t timestamp_before_ms_ = 0;
  std::unordered_set<uint64_t> seen_;
};

// Reads `source` to its end.
Result<TraceSummary> summarize_trace(TraceSource& source);

}  // namespace kvtier::tools
