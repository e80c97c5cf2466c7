// What a replay was asked for on the command line, and what was found out about its trace before it
// begins. Plain data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tools/trace/trace_statistics.hpp"

namespace kvtier::tools {

struct ReplayOptions {
  std::string file;
  std::string generate;  // "conversation", or empty
  std::optional<uint64_t> requests;
  uint64_t bytes_per_token = 128;
  uint32_t block_tokens = kBlockTokensDefault;  // of lines that do not say
  std::optional<uint64_t> host_bytes, host_chunks;
  std::optional<uint64_t> nvme_bytes, nvme_chunks;
  std::string policy = "lru";
  std::string spawn;
  uint32_t clients = 1;
  bool verify = false;
  bool drop = false;
  std::optional<double> paced;
};

}  // namespace kvtier::tools
