// One line of a trace: JSON text to a TraceRequest and back. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "kvtier/result.hpp"
#include "tools/trace/trace_source.hpp"

namespace kvtier::tools {

// Unknown fields are skipped, whatever they hold, down to this nesting; fields of the format with
// another type, twice, or missing are refused.
inline constexpr int kTraceLineDepthMax = 16;
inline constexpr size_t kSessionBytesMax = 256;

// Sets every field of `request`, or leaves it half-filled and returns an invalid_argument error
// whose message begins with the field, e.g. "hash_ids: found a string at position 3, expected a
// non-negative integer". Positions count from 0.
Status parse_trace_line(std::string_view line, const TraceFileOptions& options,
                        TraceRequest& request);

// The line for `request`, without the newline; parse_trace_line gives an equal request.
std::string format_trace_line(const TraceRequest& request);

}  // namespace kvtier::tools
