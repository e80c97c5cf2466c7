// kvtier config check, show, default, reload.
#include <unistd.h>

#include <memory>
#include <ostream>

#include "daemon/config/load.hpp"
#include "daemon/config/show.hpp"
#include "tools/cli/commands/commands.hpp"
#include "tools/cli/daemon_link.hpp"
#include "tools/cli/output.hpp"

namespace kvtier::tools {
namespace {

using daemon::ConfigOutcome;

constexpr const char* kSystemFile = "/etc/kvtier/kvtier.toml";

Json problems_json(const ConfigOutcome& outcome) {
  Json problems = Json::array();
  for (const daemon::ConfigProblem& problem : outcome.problems) {
    problems.push_back({{"code", problem.code},
                        {"file", problem.file},
                        {"line", problem.line},
                        {"column", problem.column},
                        {"message", problem.message},
                        {"help", problem.help}});
  }
  return problems;
}

Json options_json(const daemon::Config& config) {
  Json options = Json::array();
  for (const daemon::ConfigValue& value : daemon::list_config(config)) {
    options.push_back({{"name", value.name},
                       {"value", value.value},
                       {"is_default", value.is_default},
                       {"needs_restart", value.needs_restart}});
  }
  return options;
}

// What is wrong goes where errors go, as a compiler shows it.
int report(const CommandContext& context, const ConfigOutcome& outcome) {
  const bool color = context.err_is_terminal && context.color;
  context.err << daemon::render_problems(outcome.problems,
                                         color ? daemon::Color::kAlways : daemon::Color::kNever);
  return kExitFailed;
}

CommandRun setup_check(Options& options) {
  auto file = std::make_shared<std::string>(kSystemFile);
  options.value("FILE", *file, "Configuration file; FILE.d/*.toml is read too").file();
  return [file](CommandContext& context) -> int {
    const ConfigOutcome outcome = daemon::load_config_file(*file);
    if (context.json) {
      print_json(context,
                 {{"ok", outcome.ok()}, {"file", *file}, {"problems", problems_json(outcome)}});
      return outcome.ok() ? kExitOk : kExitFailed;
    }
    if (!outcome.ok()) return report(context, outcome);
    context.out << printable(*file) << " is good\n";
    return kExitOk;
  };
}

CommandRun setup_show(Options& options) {
  auto file = std::make_shared<std::string>();
  options.value("FILE", *file, "Show what this file means instead of asking the daemon").file();
  return [file](CommandContext& context) -> int {
    if (file->empty()) {
      const DaemonAnswer answer = ask_daemon(context, "GET", "/v1/config");
      if (!answer.ok()) return answer.status;
      if (context.json) {
        print_json(context, answer.json);
      } else {
        context.out << text_of(answer.json, "toml");
      }
      return kExitOk;
    }
    const ConfigOutcome outcome = daemon::load_config_file(*file);
    if (!outcome.ok()) return report(context, outcome);
    const std::string text = daemon::show_config(outcome.config);
    if (context.json) {
      print_json(context, {{"toml", text}, {"options", options_json(outcome.config)}});
    } else {
      context.out << text;
    }
    return kExitOk;
  };
}

CommandRun setup_default(Options&) {
  return [](CommandContext& context) -> int {
    if (context.json) {
      print_json(context, {{"toml", daemon::default_config_text()},
                           {"options", options_json(daemon::Config())}});
    } else {
      context.out << daemon::default_config_text();
    }
    return kExitOk;
  };
}

CommandRun setup_reload(Options&) {
  return [](CommandContext& context) -> int {
    const DaemonAnswer answer = ask_daemon(context, "POST", "/v1/reload");
    if (!answer.ok()) return answer.status;
    if (context.json) {
      print_json(context, answer.json);
      return kExitOk;
    }
    const Json& changed = list_of(answer.json, "changed");
    if (changed.empty()) context.out << "nothing changed\n";
    for (const Json& name : changed) {
      if (name.is_string()) context.out << "changed " << printable(name.get<std::string>()) << "\n";
    }
    return kExitOk;
  };
}

constexpr CommandExample kCheckExamples[] = {
    {"kvtier config check", "the system's file, /etc/kvtier/kvtier.toml"},
    {"kvtier config check ./kvtier.toml --json", ""},
};
constexpr CommandExample kShowExamples[] = {
    {"kvtier config show", "every option of the running daemon"},
    {"kvtier config show ./kvtier.toml", "every option as this file sets it"},
};
constexpr CommandExample kDefaultExamples[] = {{"kvtier config default > kvtier.toml", ""}};
constexpr CommandExample kReloadExamples[] = {{"kvtier config reload", ""}};

}  // namespace

const Command& config_check_command() {
  static const Command command{.group = "config",
                               .name = "check",
                               .summary = "Say everything that is wrong with a configuration file",
                               .examples = kCheckExamples,
                               .setup = setup_check};
  return command;
}
const Command& config_show_command() {
  static const Command command{.group = "config",
                               .name = "show",
                               .summary = "The options in use, defaults included",
                               .examples = kShowExamples,
                               .setup = setup_show};
  return command;
}
const Command& config_default_command() {
  static const Command command{.group = "config",
                               .name = "default",
                               .summary = "A commented file with every option at its default",
                               .examples = kDefaultExamples,
                               .setup = setup_default};
  return command;
}
const Command& config_reload_command() {
  static const Command command{
      .group = "config",
      .name = "reload",
      .summary = "Let the daemon read its configuration again",
      .description = "All changes are taken over, or none: as SIGHUP, but it says what happened.",
      .examples = kReloadExamples,
      .setup = setup_reload};
  return command;
}

}  // namespace kvtier::tools
