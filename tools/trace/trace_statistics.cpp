// What a trace asks for, counted while it streams by. Owned by one thread.
#include "tools/trace/trace_statistics.hpp"

#include <algorithm>
#include <cinttypes>

namespace kvtier::tools {

double TraceSummary::hit_rate_infinite() const {
  if (blocks_asked == 0) return 0;
  return static_cast<double>(blocks_hit_infinite) / static_cast<double>(blocks_asked);
}

Status TraceStatistics::add(const TraceRequest& request) {
  const uint64_t blocks = request.hash_ids.size();
  uint64_t hit = 0;
  while (hit < blocks && seen_.contains(request.hash_ids[hit])) ++hit;
  for (uint64_t i = hit; i < blocks; ++i) seen_.insert(request.hash_ids[i]);
  if (seen_.size() > unique_blocks_max_) {
    return Error::format(Code::kFull,
                         "the trace has more than %" PRIu64 " distinct blocks after %" PRIu64
                         " requests; replay fewer requests",
                         unique_blocks_max_, summary_.requests);
  }

  TraceSummary& sum = summary_;
  const bool first = sum.requests == 0;
  ++sum.requests;
  sum.blocks_asked += blocks;
  sum.blocks_unique = seen_.size();
  sum.blocks_hit_infinite += hit;
  sum.tokens_input += request.input_length;
  sum.tokens_output += request.output_length;
  sum.tokens_hit_infinite += std::min(hit * request.block_tokens, request.input_length);
  sum.request_blocks_max = std::max(sum.request_blocks_max, blocks);
  const uint32_t tokens = request.block_tokens;
  sum.block_tokens_min = first ? tokens : std::min(sum.block_tokens_min, tokens);
  sum.block_tokens_max = std::max(sum.block_tokens_max, tokens);
  if (first) sum.timestamp_first_ms = request.timestamp_ms;
  sum.timestamp_last_ms = std::max(sum.timestamp_last_ms, request.timestamp_ms);
  if (!first && request.timestamp_ms < timestamp_before_ms_) ++sum.timestamps_backwards;
  timestamp_before_ms_ = request.timestamp_ms;
  const uint64_t whole = request.input_length / tokens;
  const bool partial = request.input_length % tokens != 0;
  if (blocks > whole + (partial ? 1 : 0)) ++sum.ids_beyond_input;
  return {};
}

Result<TraceSummary> summarize_trace(TraceSource& source) {
  TraceStatistics statistics;
  TraceRequest request;
  for (;;) {
    Result<bool> more = source.next(request);
    if (!more.ok()) return more.error();
    if (!*more) return statistics.summary();
    if (Status added = statistics.add(request); !added.ok()) return added.error();
  }
}

}  // namespace kvtier::tools
