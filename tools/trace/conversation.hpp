// A generated conversation workload, for where no recorded trace is at hand: people who hold chats
// of several turns with an assistant, so that a request's prompt is the system prompt, all turns so
// far and the new message. No real traffic stands behind it; its description says so.
// The same options give the same requests everywhere: integer arithmetic only.
#pragma once

#include <cstdint>
#include <memory>

#include "kvtier/result.hpp"
#include "tools/trace/trace_source.hpp"

namespace kvtier::tools {

// The defaults follow the shape of a recorded chat service (Mooncake's conversation trace: 3.4
// requests a second, six of ten chats of one turn, prompts of 6,900 tokens in the median and 85,000
// at p99, answers of 350, two minutes between turns): of all blocks asked 35 to 60 % were asked
// before, most of them in the chat's turn before.
struct ConversationOptions {
  uint64_t seed = 1;
  uint64_t requests = 12'000;
  uint32_t users = 1'200;  // chatting at the same time; more of them need more cache
  uint32_t block_tokens = kBlockTokensDefault;
  uint64_t context_tokens_max = 131'072;  // a chat ends before its prompt would be longer
};

// Errors: invalid_argument (an option out of its range: 1 to 65536 users, 16 to 2^20 block_tokens,
// a context of 8192 to 2^20 tokens).
Result<std::unique_ptr<TraceSource>> generate_conversation(const ConversationOptions& options);

}  // namespace kvtier::tools
