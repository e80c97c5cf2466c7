// A generated conversation workload. Owned by the thread that reads it; holds one chat per user,
// never the requests.
#include "tools/trace/conversation.hpp"

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <functional>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "tools/trace/draw.hpp"

namespace kvtier::tools {
namespace {

// Lengths in tokens, times in ms. Medians and spreads were fitted to the recorded trace that
// conversation.hpp names; the tests hold the outcome against its statistics.
constexpr LogNormal kFirstMessage{4'200, 31, 16, 120'000};  // a question, often with a document
constexpr LogNormal kMessage{90, 24, 4, 8'000};
constexpr LogNormal kPaste{3'500, 20, 500, 60'000};  // a later message that brings a document
constexpr uint32_t kPastePercent = 22;
constexpr LogNormal kAnswer{330, 14, 1, 2'000};
constexpr uint32_t kAgainPercent = 8;  // the same prompt once more ("regenerate")
constexpr LogNormal kThinking{115'000, 27, 5'000, 3'600'000};
constexpr LogNormal kPause{270'000, 24, 10'000, 7'200'000};  // from one chat to the next
constexpr uint64_t kMsPerAnswerToken = 25;

// Chats differ in patience: how likely another turn is, after each turn.
struct Patience {
  uint32_t share_percent;
  uint32_t continue_percent;
};
constexpr std::array<Patience, 3> kPatience{{{75, 20}, {18, 60}, {7, 85}}};

struct SystemPrompt {
  uint32_t share_percent;
  uint32_t tokens;
};
constexpr std::array<SystemPrompt, 6> kSystemPrompts{
    {{38, 700}, {24, 1'150}, {16, 620}, {10, 2'600}, {8, 1'900}, {4, 6'400}}};

template <typename Row, size_t kRows>
size_t pick(Draw& draw, const std::array<Row, kRows>& rows) {
  uint64_t at = draw.below(100);
  for (size_t i = 0; i + 1 < kRows; ++i) {
    if (at < rows[i].share_percent) return i;
    at -= rows[i].share_percent;
  }
  return kRows - 1;
}

struct Chat {
  uint64_t number = 0;  // of this user's chats
  uint32_t continue_percent = 0;
  uint64_t prompt_tokens = 0;       // of the request that comes next
  std::vector<uint64_t> whole;      // ids of the prompt's whole blocks so far
  std::optional<uint64_t> partial;  // id of the last, partial block if the prompt repeats
};

class Conversation final : public TraceSource {
 public:
  explicit Conversation(const ConversationOptions& options)
      : options_(options), draw_(options.seed), chats_(options.users) {
    for (uint32_t user = 0; user < options.users; ++user) {
      begin_chat(chats_[user]);
      due_.emplace(draw_.below(2 * kPause.median), user);
    }
  }

  Result<bool> next(TraceRequest& request) override {
    if (served_ == options_.requests) return false;
    ++served_;
    const auto [now, user] = due_.top();
    due_.pop();
    Chat& chat = chats_[user];
    fill(request, chat);
    request.timestamp_ms = now;
    request.session = std::to_string(user) + "." + std::to_string(chat.number);
    const uint64_t answered = now + kMsPerAnswerToken * request.output_length;
    request.session_end = !continue_chat(chat, request.output_length);
    if (request.session_end) {
      ++chat.number;
      begin_chat(chat);
    }
    due_.emplace(answered + draw_.log_normal(request.session_end ? kPause : kThinking), user);
    return true;
  }

  std::string description() const override {
    char text[160];
    std::snprintf(text, sizeof text,
                  "generated conversation workload (no recorded traffic): seed %" PRIu64
                  ", %" PRIu64 " requests, %" PRIu32 " users, blocks of %" PRIu32 " tokens",
                  options_.seed, options_.requests, options_.users, options_.block_tokens);
    return text;
  }
  bool generated() const override { return true; }
  double progress() const override {
    if (options_.requests == 0) return 1;
    return static_cast<double>(served_) / static_cast<double>(options_.requests);
  }

 private:
  using Due = std::pair<uint64_t, uint32_t>;  // when, whose

  void begin_chat(Chat& chat) {
    const size_t prompt = pick(draw_, kSystemPrompts);
    const uint64_t system_tokens = kSystemPrompts[prompt].tokens;
    chat.continue_percent = kPatience[pick(draw_, kPatience)].continue_percent;
    chat.prompt_tokens =
        std::min(system_tokens + draw_.log_normal(kFirstMessage), options_.context_tokens_max);
    chat.partial.reset();
    // Whole blocks inside the system prompt are the same in every chat that has it.
    std::vector<uint64_t>& shared = system_blocks_[prompt];
    if (shared.empty()) extend(shared, system_tokens / options_.block_tokens);
    chat.whole = shared;
  }

  // Prepares the next turn; false if the chat ends here.
  bool continue_chat(Chat& chat, uint64_t answer_tokens) {
    if (!draw_.chance(chat.continue_percent)) return false;
    if (draw_.chance(kAgainPercent)) return true;
    const uint64_t message = draw_.log_normal(draw_.chance(kPastePercent) ? kPaste : kMessage);
    chat.prompt_tokens += answer_tokens + message;
    chat.partial.reset();
    return chat.prompt_tokens <= options_.context_tokens_max;
  }

  void fill(TraceRequest& request, Chat& chat) {
    extend(chat.whole, chat.prompt_tokens / options_.block_tokens);
    request.hash_ids = chat.whole;
    if (chat.prompt_tokens % options_.block_tokens != 0) {
      if (!chat.partial) chat.partial = next_id_++;
      request.hash_ids.push_back(*chat.partial);
    }
    request.input_length = chat.prompt_tokens;
    request.output_length = draw_.log_normal(kAnswer);
    request.block_tokens = options_.block_tokens;
  }

  void extend(std::vector<uint64_t>& ids, uint64_t blocks) {
    while (ids.size() < blocks) ids.push_back(next_id_++);
  }

  ConversationOptions options_;
  Draw draw_;
  uint64_t next_id_ = 0;
  uint64_t served_ = 0;
  std::vector<Chat> chats_;
  std::array<std::vector<uint64_t>, kSystemPrompts.size()> system_blocks_;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
};

Error out_of_range(const char* name, uint64_t found, uint64_t min, uint64_t max) {
  return Error::format(Code::kInvalidArgument,
                       "generated conversation: %s is %" PRIu64 ", expected %" PRIu64
                       " to %" PRIu64,
                       name, found, min, max);
}

}  // namespace

Result<std::unique_ptr<TraceSource>> generate_conversation(const ConversationOptions& options) {
  constexpr uint32_t kUsersMax = 1u << 16;
  constexpr uint32_t kBlockTokensMax = 1u << 20;
  constexpr uint64_t kContextMax = 1u << 20;
  if (options.users < 1 || options.users > kUsersMax) {
    return out_of_range("users", options.users, 1, kUsersMax);
  }
  if (options.block_tokens < 16 || options.block_tokens > kBlockTokensMax) {
    return out_of_range("block_tokens", options.block_tokens, 16, kBlockTokensMax);
  }
  if (options.context_tokens_max < 8192 || options.context_tokens_max > kContextMax) {
    return out_of_range("context_tokens_max", options.context_tokens_max, 8192, kContextMax);
  }
  return std::unique_ptr<TraceSource>(std::make_unique<Conversation>(options));
}

}  // namespace kvtier::tools
