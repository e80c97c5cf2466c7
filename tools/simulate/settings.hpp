// Options of simulations as people write them: sizes, hints, and all of a run in one word. Pure;
// any thread. Errors: invalid_argument, with what would be right.
#pragma once

#include <string>
#include <vector>

#include "tools/simulate/simulator.hpp"

namespace kvtier::tools {

// Without empty parts.
std::vector<std::string> split_list(const std::string& text, char separator = ',');

// "9139" chunks, or "5%" of the trace's unique blocks, rounded down.
Result<uint64_t> chunks_of(const std::string& text, uint32_t unique);

// "session-end=0.9" or "request-end=0.9" into options. Empty: no hints.
Status read_hints(const std::string& text, SimOptions& options);

// "lru:host=5%:nvme=50%:writes=0.4:hints=session-end=0.9": a policy, and what differs from 5 % of
// the unique blocks in host memory, nothing below and no hints. Whether there is such a policy is
// not looked at.
Result<SimOptions> read_setting(const std::string& text, uint32_t unique);

}  // namespace kvtier::tools
