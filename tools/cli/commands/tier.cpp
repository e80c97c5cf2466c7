// kvtier tier list, tier show.
#include <memory>
#include <ostream>

#include "tools/admin/admin_client.hpp"
#include "tools/cli/commands/commands.hpp"
#include "tools/cli/commands/views.hpp"

namespace kvtier::tools {
namespace {

CommandRun setup_list(Options&) {
  return [](CommandContext& context) -> int {
    const DaemonAnswer answer = ask_daemon(context, "GET", "/v1/tiers");
    if (!answer.ok()) return answer.status;
    if (context.json) {
      print_json(context, answer.json);
    } else {
      tier_table(list_of(answer.json, "tiers")).print(context.out, context.color);
    }
    return kExitOk;
  };
}

// One line a field; fields that are bytes, rates and times with their units.
void print_tier(const CommandContext& context, const Json& tier) {
  Table table({{"FIELD"}, {"VALUE"}});
  for (const auto& [name, value] : tier.items()) {
    if (value.is_structured()) continue;
    std::string shown;
    if (value.is_null()) {
      shown = "unlimited";
    } else if (value.is_string()) {
      shown = value.get<std::string>();
    } else if (value.is_boolean()) {
      shown = value.get<bool>() ? "yes" : "no";
    } else if (name.ends_with("_bytes")) {
      shown = show_bytes(value.get<double>());
    } else if (name.ends_with("_bytes_per_second")) {
      shown = show_bytes(value.get<double>()) + "/s";
    } else if (name.ends_with("_seconds")) {
      shown = show_seconds(value.get<double>());
    } else {
      shown = show_count(value.get<uint64_t>());
    }
    table.row({name, name == "state" ? Table::Cell(shown, color_of_state(shown)) : shown});
  }
  table.print(context.out, context.color);
  Table devices({{"DEVICE"}, {"STATE"}, {"USED"}, {"CAPACITY"}, {"ERRORS"}, {"REASON"}});
  for (const Json& device : list_of(tier, "devices")) {
    const std::string state = text_of(device, "state");
    devices.row({text_of(device, "name"),
                 {state, color_of_state(state)},
                 show_bytes(number_of(device, "used_bytes")),
                 show_bytes(number_of(device, "capacity_bytes")),
                 show_count(count_of(device, "read_errors") + count_of(device, "write_errors")),
                 text_of(device, "reason")});
  }
  if (devices.rows() > 0) context.out << "\n";
  devices.print(context.out, context.color);
}

CommandRun setup_show(Options& options) {
  auto name = std::make_shared<std::string>();
  options.value("TIER", *name, "Name of the tier, e.g. host").required();
  return [name](CommandContext& context) -> int {
    const DaemonAnswer answer = ask_daemon(context, "GET", "/v1/tiers/" + escape_target(*name));
    if (!answer.ok()) return answer.status;
    if (context.json) {
      print_json(context, answer.json);
    } else {
      print_tier(context, answer.json);
    }
    return text_of(answer.json, "state") == "degraded" ? kExitDegraded : kExitOk;
  };
}

constexpr CommandExample kListExamples[] = {{"kvtier tier list", ""}};
constexpr CommandExample kShowExamples[] = {
    {"kvtier tier show host", "exit status 4 when it is degraded"}};

}  // namespace

const Command& tier_list_command() {
  static const Command command{.group = "tier",
                               .name = "list",
                               .summary = "The tiers: state, capacity, use",
                               .examples = kListExamples,
                               .setup = setup_list};
  return command;
}

const Command& tier_show_command() {
  static const Command command{.group = "tier",
                               .name = "show",
                               .summary = "Everything about one tier",
                               .examples = kShowExamples,
                               .setup = setup_show};
  return command;
}

}  // namespace kvtier::tools
