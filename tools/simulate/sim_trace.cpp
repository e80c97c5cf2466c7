// Reading a trace for simulation, and finding where sessions end. One thread.
#include <limits>
#include <unordered_map>

#include "tools/simulate/simulator.hpp"
#include "tools/trace/trace_source.hpp"

namespace kvtier::tools {

namespace {

// Where the trace does not say. A request goes on from the last one that used its deepest known
// block; a request from which none goes on ends its session. A first block alone is no session:
// many share the beginning of a system prompt.
void find_ends(SimTrace& trace) {
  std::vector<uint32_t> last_request(trace.unique, UINT32_MAX);
  for (uint32_t r = 0; r < trace.requests.size(); ++r) {
    SimTrace::Request& request = trace.requests[r];
    request.ends_session = true;
    const std::span<const uint32_t> blocks = trace.blocks_of(request);
    size_t known = 0;
    while (known < blocks.size() && last_request[blocks[known]] != UINT32_MAX) ++known;
    if (known > 1) trace.requests[last_request[blocks[known - 1]]].ends_session = false;
    for (const uint32_t block : blocks) last_request[block] = r;
  }
}

}  // namespace

Result<SimTrace> read_sim_trace(const std::string& path, uint64_t requests_max) {
  auto source = open_trace(path);
  if (!source) return source.error();
  SimTrace trace;
  trace.name = path.substr(path.find_last_of('/') + 1);
  std::unordered_map<uint64_t, uint32_t> numbers;
  TraceRequest request;
  uint64_t latest_ms = 0;
  bool sessions = false;
  while (trace.requests.size() < requests_max) {
    const auto more = (*source)->next(request);
    if (!more) return more.error();
    if (!*more) break;
    if (trace.blocks.size() + request.hash_ids.size() > std::numeric_limits<uint32_t>::max()) {
      return Error(Code::kFull, "the trace asks for more than 4,294,967,295 blocks");
    }
    latest_ms = std::max(latest_ms, request.timestamp_ms);  // time does not run backwards here
    trace.requests.push_back({.timestamp_ms = latest_ms,
                              .tokens = request.input_length,
                              .first = trace.blocks.size(),
                              .count = static_cast<uint32_t>(request.hash_ids.size()),
                              .block_tokens = request.block_tokens,
                              .ends_session = request.session_end});
    sessions = sessions || request.session_end;
    for (const uint64_t id : request.hash_ids) {
      const auto number = static_cast<uint32_t>(numbers.size());
      trace.blocks.push_back(numbers.try_emplace(id, number).first->second);
    }
  }
  trace.unique = static_cast<uint32_t>(numbers.size());
  if (!sessions) find_ends(trace);
  return trace;
}

}  // namespace kvtier::tools
