// kvtier space list.
#include <ostream>

#include "tools/cli/commands/commands.hpp"
#include "tools/cli/commands/views.hpp"

namespace kvtier::tools {
namespace {

Table space_table(const Json& spaces) {
  constexpr Table::Align kRight = Table::Align::kRight;
  Table table({{"ID", kRight},
               {"TENANT"},
               {"MODEL"},
               {"DTYPE"},
               {"LAYOUT"},
               {"SHARD", kRight},
               {"TOKENS", kRight},
               {"CHUNK", kRight},
               {"CHUNKS", kRight},
               {"PAYLOAD", kRight},
               {"STORED", kRight},
               {"IDLE", kRight},
               {"PREFILL/TOKEN", kRight}});
  for (const Json& space : spaces) {
    const double prefill = number_of(space, "prefill_seconds_per_token");
    table.row(
        {std::to_string(count_of(space, "id")), text_of(space, "tenant"), text_of(space, "model"),
         text_of(space, "dtype"), text_of(space, "layout"),
         std::to_string(count_of(space, "shard")) + "/" + std::to_string(count_of(space, "shards")),
         show_count(count_of(space, "tokens_per_chunk")),
         show_bytes(number_of(space, "chunk_bytes")), show_count(count_of(space, "chunks")),
         show_bytes(number_of(space, "payload_bytes")), show_count(count_of(space, "stored")),
         show_seconds(number_of(space, "idle_seconds")),
         prefill > 0 ? show_seconds(prefill) : "-"});
  }
  return table;
}

CommandRun setup(Options&) {
  return [](CommandContext& context) -> int {
    const DaemonAnswer answer = ask_daemon(context, "GET", "/v1/spaces");
    if (!answer.ok()) return answer.status;
    const Json& spaces = list_of(answer.json, "spaces");
    if (context.json) {
      print_json(context, answer.json);
    } else if (spaces.empty()) {
      context.out << "no space has been opened yet\n";
    } else {
      space_table(spaces).print(context.out, context.color);
    }
    return kExitOk;
  };
}

constexpr CommandExample kExamples[] = {{"kvtier space list", ""}};

}  // namespace

const Command& space_list_command() {
  static const Command command{.group = "space",
                               .name = "list",
                               .summary = "The spaces (tensor shapes) and what they hold",
                               .examples = kExamples,
                               .setup = setup};
  return command;
}

}  // namespace kvtier::tools
