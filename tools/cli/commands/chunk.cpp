// kvtier chunk list, show, drop, pin, unpin.
#include <memory>
#include <ostream>

#include "tools/admin/admin_client.hpp"
#include "tools/cli/commands/commands.hpp"
#include "tools/cli/commands/views.hpp"
#include "tools/cli/confirm.hpp"

namespace kvtier::tools {
namespace {

constexpr const char* kKeyHelp = "Key: 32 hex digits, or the first 8 or more if no other has them";

CommandRun setup_list(Options& options) {
  auto count = std::make_shared<uint64_t>(20);
  options.value("--count,-n", *count, "How many, the most recently used first").range(1, 10'000);
  return [count](CommandContext& context) -> int {
    const DaemonAnswer answer =
        ask_daemon(context, "GET", "/v1/chunks?count=" + std::to_string(*count));
    if (!answer.ok()) return answer.status;
    const Json& chunks = list_of(answer.json, "chunks");
    if (context.json) {
      print_json(context, answer.json);
    } else if (chunks.empty()) {
      context.out << "no tier holds a chunk\n";
    } else {
      chunk_table(chunks).print(context.out, context.color);
    }
    return kExitOk;
  };
}

CommandRun setup_show(Options& options) {
  auto key = std::make_shared<std::string>();
  options.value("KEY", *key, kKeyHelp).required();
  return [key](CommandContext& context) -> int {
    const DaemonAnswer answer = ask_daemon(context, "GET", "/v1/chunks/" + escape_target(*key));
    if (!answer.ok()) return answer.status;
    if (context.json) {
      print_json(context, answer.json);
      return kExitOk;
    }
    for (const Json& chunk : list_of(answer.json, "chunks")) {
      Table table({{"FIELD"}, {"VALUE"}});
      for (const auto& [name, value] : chunk.items()) {
        table.row({name, value.is_string() ? value.get<std::string>()
                         : value.is_null() ? "none"
                                           : value.dump()});
      }
      table.print(context.out, context.color);
    }
    return kExitOk;
  };
}

struct Act {
  std::string key;
  double seconds = 3600;
};

int act(CommandContext& context, const Act& wanted, const char* verb, const std::string& query,
        const char* done) {
  const DaemonAnswer answer =
      ask_daemon(context, "POST", "/v1/chunks/" + escape_target(wanted.key) + "/" + verb + query);
  if (!answer.ok()) return answer.status;
  if (context.json) {
    print_json(context, answer.json);
  } else {
    const uint64_t chunks = count_of(answer.json, "chunks");
    context.out << done << " " << chunks << (chunks == 1 ? " chunk\n" : " chunks\n");
  }
  return kExitOk;
}

CommandRun setup_drop(Options& options) {
  auto wanted = std::make_shared<Act>();
  options.value("KEY", wanted->key, kKeyHelp).required();
  return [wanted](CommandContext& context) -> int {
    const std::string what = "drop the chunk " + wanted->key + " from every tenant that has it";
    if (const int asked = confirm(context, what); asked != kExitOk) return asked;
    return act(context, *wanted, "drop", "", "dropped");
  };
}

CommandRun setup_pin(Options& options) {
  auto wanted = std::make_shared<Act>();
  options.value("KEY", wanted->key, kKeyHelp).required();
  options.value("--seconds", wanted->seconds, "For how long").range(0.001, 2'592'000);
  return [wanted](CommandContext& context) -> int {
    return act(context, *wanted, "pin", "?seconds=" + std::to_string(wanted->seconds), "pinned");
  };
}

CommandRun setup_unpin(Options& options) {
  auto wanted = std::make_shared<Act>();
  options.value("KEY", wanted->key, kKeyHelp).required();
  return [wanted](CommandContext& context) -> int {
    return act(context, *wanted, "unpin", "", "unpinned");
  };
}

constexpr CommandExample kListExamples[] = {{"kvtier chunk list -n 5", ""}};
constexpr CommandExample kShowExamples[] = {{"kvtier chunk show 3fa94c01", ""}};
constexpr CommandExample kDropExamples[] = {
    {"kvtier chunk drop 3fa94c01 --yes", "nobody finds it any more; who reads it goes on reading"}};
constexpr CommandExample kPinExamples[] = {
    {"kvtier chunk pin 3fa94c01 --seconds 600", "it is not evicted for ten minutes"}};
constexpr CommandExample kUnpinExamples[] = {{"kvtier chunk unpin 3fa94c01", ""}};

}  // namespace

const Command& chunk_list_command() {
  static const Command command{.group = "chunk",
                               .name = "list",
                               .summary = "The chunks used last",
                               .examples = kListExamples,
                               .setup = setup_list};
  return command;
}
const Command& chunk_show_command() {
  static const Command command{.group = "chunk",
                               .name = "show",
                               .summary = "Where a chunk lies and who holds it",
                               .examples = kShowExamples,
                               .setup = setup_show};
  return command;
}
const Command& chunk_drop_command() {
  static const Command command{.group = "chunk",
                               .name = "drop",
                               .summary = "Forget a chunk",
                               .examples = kDropExamples,
                               .setup = setup_drop};
  return command;
}
const Command& chunk_pin_command() {
  static const Command command{.group = "chunk",
                               .name = "pin",
                               .summary = "Keep a chunk for a time",
                               .examples = kPinExamples,
                               .setup = setup_pin};
  return command;
}
const Command& chunk_unpin_command() {
  static const Command command{.group = "chunk",
                               .name = "unpin",
                               .summary = "Let a pinned chunk be evicted again",
                               .examples = kUnpinExamples,
                               .setup = setup_unpin};
  return command;
}

}  // namespace kvtier::tools
