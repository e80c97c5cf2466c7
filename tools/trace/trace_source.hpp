// A trace is a stream of requests, each the blocks of one prompt; this is what every reader and
// generator of traces has in common. Owned by the thread that reads it; it never holds a whole
// trace in memory.
//
// "Block" is the trace format's own word for its unit; a replay stores one block as one chunk.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kvtier/result.hpp"

namespace kvtier::tools {

// Tokens per block where a line does not say (the Mooncake traces).
inline constexpr uint32_t kBlockTokensDefault = 512;

struct TraceRequest {
  uint64_t timestamp_ms = 0;       // since the trace's start; may be earlier than the one before
  uint64_t input_length = 0;       // tokens of the prompt
  uint64_t output_length = 0;      // tokens generated
  std::vector<uint64_t> hash_ids;  // the prompt's blocks; an id names the prefix up to its block
  uint32_t block_tokens = kBlockTokensDefault;
  std::optional<std::string> session;  // a number in the file is held as its text
  bool session_end = false;            // the session's last request

  bool operator==(const TraceRequest&) const = default;
};

class TraceSource {
 public:
  virtual ~TraceSource() = default;

  // Fills `request` (every field; its memory is used again) and returns true, or returns false
  // after the last one. After an error every further call returns that error.
  virtual Result<bool> next(TraceRequest& request) = 0;

  // One line for a person: the file, or that the workload is generated, and from what.
  virtual std::string description() const = 0;

  // True if no real traffic stands behind it; whoever shows results of it has to say so.
  virtual bool generated() const = 0;

  // How much was read, 0 to 1; negative where that cannot be known (a pipe).
  virtual double progress() const = 0;
};

struct TraceFileOptions {
  uint32_t block_tokens_default = kBlockTokensDefault;  // for lines without block_tokens
  // What one line may cost. A longer prompt than 2^20 blocks does not exist; 20 digits and a comma
  // for each fit into the line's limit.
  uint64_t line_bytes_max = 32u << 20;
  uint64_t hash_ids_max = 1u << 20;
  // zstd's window, as a power of two; what a file really unpacks is all that is ever touched of it.
  // Cut to what the zstd library on this machine can do.
  int window_log_max = 31;
};

// Opens a trace of the JSON-lines format of docs/traces.md, plain or zstd-compressed (told apart by
// the first bytes, not the name), and reads its first request, so that a wrong file is refused
// here. Errors: not_found, system, invalid_argument (the message begins with FILE:LINE), corrupt (a
// zstd stream that is cut or damaged).
Result<std::unique_ptr<TraceSource>> open_trace(const std::string& path,
                                                const TraceFileOptions& options = {});

}  // namespace kvtier::tools
