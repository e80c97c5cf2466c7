// A command's questions to the running daemon, with errors that people can act on. One thread.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "tools/cli/command.hpp"

namespace kvtier::tools {

using Json = nlohmann::ordered_json;

struct DaemonAnswer {
  int status = kExitOk;  // else what the command must return; everything has been said
  std::string body;
  Json json;  // null if the body is none
  bool ok() const { return status == kExitOk; }
};

// Asks, and says on context.err what went wrong: absent or stuck daemon is kExitUnreachable,
// missing rights and refusals are kExitFailed.
DaemonAnswer ask_daemon(const CommandContext& context, std::string_view method,
                        const std::string& target);

// The same without a word; nothing if there is no good answer.
std::optional<Json> ask_quietly(const CommandContext& context, const std::string& target,
                                std::chrono::milliseconds timeout);

// Prints one JSON value.
void print_json(const CommandContext& context, const Json& json);

// Values of daemon answers; a missing or differently typed one is the fallback.
std::string text_of(const Json& object, const char* name);
uint64_t count_of(const Json& object, const char* name);
double number_of(const Json& object, const char* name);
bool flag_of(const Json& object, const char* name);
const Json& list_of(const Json& object, const char* name);

}  // namespace kvtier::tools
