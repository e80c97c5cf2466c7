// kvtier metrics: what Prometheus would scrape.
#include <cstdlib>
#include <ostream>

#include "tools/cli/commands/commands.hpp"
#include "tools/cli/daemon_link.hpp"

namespace kvtier::tools {
namespace {

std::string_view take_until(std::string_view& rest, char end) {
  const std::string_view part = rest.substr(0, rest.find(end));
  rest.remove_prefix(std::min(part.size() + 1, rest.size()));
  return part;
}

// tenant="a",tier="b"; the daemon escapes quotes, backslashes and line ends.
Json labels_json(std::string_view text) {
  Json labels = Json::object();
  while (!text.empty()) {
    const std::string name(take_until(text, '='));
    std::string value;
    size_t at = 1;
    for (; at < text.size() && text[at] != '"'; ++at) {
      if (text[at] == '\\' && at + 1 < text.size()) {
        ++at;
        value += text[at] == 'n' ? '\n' : text[at];
      } else {
        value += text[at];
      }
    }
    text.remove_prefix(std::min(at + 1, text.size()));
    if (!text.empty() && text.front() == ',') text.remove_prefix(1);
    labels[name] = value;
  }
  return labels;
}

// [{"name", "type", "help", "samples": [{"labels": {...}, "value": 1}]}]
Json metrics_json(std::string_view text) {
  Json metrics = Json::array();
  std::string help;
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    if (line.starts_with("# HELP ")) {
      line.remove_prefix(7);
      take_until(line, ' ');
      help = line;
    } else if (line.starts_with("# TYPE ")) {
      line.remove_prefix(7);
      const std::string name(take_until(line, ' '));
      metrics.push_back(
          {{"name", name}, {"type", line}, {"help", help}, {"samples", Json::array()}});
    } else if (!line.empty() && !metrics.empty()) {
      const size_t space = line.rfind(' ');
      const size_t open = line.find('{');
      const std::string value(line.substr(space + 1));
      const Json labels = open == std::string_view::npos
                              ? Json::object()
                              : labels_json(line.substr(open + 1, space - open - 2));
      metrics.back()["samples"].push_back(
          {{"labels", labels}, {"value", std::strtod(value.c_str(), nullptr)}});
    }
  }
  return metrics;
}

CommandRun setup(Options&) {
  return [](CommandContext& context) -> int {
    const DaemonAnswer answer = ask_daemon(context, "GET", "/metrics");
    if (!answer.ok()) return answer.status;
    if (context.json) {
      print_json(context, {{"metrics", metrics_json(answer.body)}});
    } else {
      context.out << answer.body;
    }
    return kExitOk;
  };
}

constexpr CommandExample kExamples[] = {
    {"kvtier metrics", "Prometheus text format; docs/metrics.md says what each one means"},
    {"kvtier metrics --json", ""},
};

}  // namespace

const Command& metrics_command() {
  static const Command command{.group = "",
                               .name = "metrics",
                               .summary = "The daemon's metrics, as Prometheus reads them",
                               .examples = kExamples,
                               .setup = setup};
  return command;
}

}  // namespace kvtier::tools
