// kvtier completion: scripts for shells, generated from the table of commands and their options.
#include <algorithm>
#include <memory>
#include <ostream>

#include "tools/cli/commands/commands.hpp"
#include "tools/cli/daemon_link.hpp"
#include "tools/cli/program.hpp"

namespace kvtier::tools {
namespace {

using Records = std::vector<CommandRecord>;

std::string words_of(const Command& command, const char* separator) {
  if (command.group.empty()) return std::string(command.name);
  return std::string(command.group) + separator + std::string(command.name);
}

// Group or single word -> second words, in the order of the table.
std::vector<std::pair<std::string, std::vector<std::string>>> first_words(const Records& records) {
  std::vector<std::pair<std::string, std::vector<std::string>>> firsts;
  for (const CommandRecord& record : records) {
    const std::string_view group = record.command->group;
    const std::string first(group.empty() ? record.command->name : group);
    const auto same = [&first](const auto& entry) { return entry.first == first; };
    auto found = std::find_if(firsts.begin(), firsts.end(), same);
    if (found == firsts.end()) found = firsts.insert(firsts.end(), {first, {}});
    if (!group.empty()) found->second.emplace_back(record.command->name);
  }
  return firsts;
}

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

// In single quotes of any of the shells.
std::string quoted(std::string_view text, const char* quote_inside) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += quote_inside;
    } else {
      out += c;
    }
  }
  return out + "'";
}

std::string option_names(const CommandRecord& record) {
  std::vector<std::string> names = {"--help"};
  for (const OptionRecord& option : record.options) {
    if (!option.positional) names.insert(names.end(), option.names.begin(), option.names.end());
  }
  return join(names);
}

std::string bash_values(const OptionRecord& option) {
  switch (option.hint) {
    case ValueHint::kFile:
      return "COMPREPLY=($(compgen -f -- \"$word\"))";
    case ValueHint::kFolder:
      return "COMPREPLY=($(compgen -d -- \"$word\"))";
    case ValueHint::kChoice:
      return "COMPREPLY=($(compgen -W " + quoted(join(option.choices), "'\\''") + " -- \"$word\"))";
    case ValueHint::kNone:
      return "COMPREPLY=()";
  }
  return "";
}

// case "$command" in  NAME) what follows an option; what an option or a positional may be.
std::string bash_command(const CommandRecord& record) {
  std::string text = "    " + quoted(words_of(*record.command, " "), "") + ")\n";
  text += "      case \"$before\" in\n";
  std::string positional = "COMPREPLY=()";
  for (const OptionRecord& option : record.options) {
    if (option.positional) {
      positional = bash_values(option);
    } else if (option.takes_value) {
      std::string names;
      for (const std::string& name : option.names) names += (names.empty() ? "" : "|") + name;
      text += "        " + names + ") " + bash_values(option) + "; return ;;\n";
    }
  }
  return text + "      esac\n      if [[ $word == -* ]]; then\n        COMPREPLY=($(compgen -W " +
         quoted(option_names(record), "") + " -- \"$word\"))\n      else\n        " + positional +
         "\n      fi ;;\n";
}

std::string bash_script(const Records& records) {
  std::vector<std::string> firsts;
  std::string groups, pairs;
  for (const auto& [first, seconds] : first_words(records)) {
    firsts.push_back(first);
    if (seconds.empty()) continue;
    groups += (groups.empty() ? "" : "|") + first;
    pairs += "      " + first + ") words=" + quoted(join(seconds), "") + " ;;\n";
  }
  std::string text =
      "# bash completion of kvtier; source it, or: kvtier completion bash > "
      "/etc/bash_completion.d/kvtier\n"
      "_kvtier() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command words\n"
      "  COMPREPLY=()\n"
      "  if ((COMP_CWORD == 1)); then\n"
      "    COMPREPLY=($(compgen -W " +
      quoted(join(firsts) + " --help --version", "") +
      " -- \"$word\"))\n    return\n  fi\n"
      "  command=${COMP_WORDS[1]}\n";
  text += "  case \"$command\" in\n    " + groups +
          ")\n      if ((COMP_CWORD == 2)); then\n        case \"$command\" in\n";
  text += pairs;
  text +=
      "        esac\n        COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n        return\n"
      "      fi\n      command+=\" ${COMP_WORDS[2]}\" ;;\n  esac\n  case \"$command\" in\n";
  for (const CommandRecord& record : records) text += bash_command(record);
  return text + "  esac\n}\ncomplete -o filenames -F _kvtier kvtier\n";
}

// Brackets and colons have a meaning inside _arguments' specifications.
std::string zsh_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_action(const OptionRecord& option) {
  switch (option.hint) {
    case ValueHint::kFile:
      return "_files";
    case ValueHint::kFolder:
      return "_files -/";
    case ValueHint::kChoice:
      return "(" + join(option.choices) + ")";
    case ValueHint::kNone:
      break;
  }
  return " ";
}

std::string zsh_arguments(const CommandRecord& record) {
  std::string text = "_arguments -s '--help[show help]'";
  for (const OptionRecord& option : record.options) {
    if (option.positional) {
      text += " " + quoted("1:" + zsh_text(option.help) + ":" + zsh_action(option), "'\\''");
      continue;
    }
    for (const std::string& name : option.names) {
      std::string spec = name + "[" + zsh_text(option.help) + "]";
      if (option.takes_value) spec += ": :" + zsh_action(option);
      text += " " + quoted(spec, "'\\''");
    }
  }
  return text;
}

std::string zsh_script(const Records& records) {
  std::string text =
      "#compdef kvtier\n# zsh completion of kvtier: put it as _kvtier into a folder of $fpath\n"
      "_kvtier() {\n  local -a commands\n  if ((CURRENT == 2)); then\n    commands=(\n";
  for (const auto& [first, seconds] : first_words(records)) {
    std::string about = seconds.empty() ? "" : join(seconds);
    for (const CommandRecord& record : records) {
      if (record.command->group.empty() && record.command->name == first) {
        about = record.command->summary;
      }
    }
    text += "      " + quoted(first + ":" + about, "'\\''") + "\n";
  }
  text += "    )\n    _describe command commands\n    return\n  fi\n  case ${words[2]} in\n";
  for (const auto& [first, seconds] : first_words(records)) {
    if (seconds.empty()) continue;
    text += "    " + first + ")\n      if ((CURRENT == 3)); then\n        compadd " +
            join(seconds) +
            "\n        return\n      fi\n      words=(kvtier \"${words[2]} ${words[3]}\" "
            "${words[4,-1]})\n      ((CURRENT -= 1)) ;;\n";
  }
  text +=
      "  esac\n  local command=${words[2]}\n  shift words\n  ((CURRENT -= 1))\n"
      "  case $command in\n";
  for (const CommandRecord& record : records) {
    text += "    " + quoted(words_of(*record.command, " "), "") + ") " + zsh_arguments(record) +
            " ;;\n";
  }
  return text + "  esac\n}\n_kvtier \"$@\"\n";
}

std::string fish_script(const Records& records) {
  std::string text =
      "# fish completion of kvtier: ~/.config/fish/completions/kvtier.fish\n"
      "complete -c kvtier -f\n";
  const auto add = [&text](const std::string& when, const std::string& what) {
    text += "complete -c kvtier -n " + quoted(when, "\\'") + " " + what + "\n";
  };
  for (const CommandRecord& record : records) {
    const Command& command = *record.command;
    const std::string about = " -d " + quoted(command.summary, "\\'");
    const std::string name(command.name);
    const std::string group(command.group);
    std::string seen = "__fish_seen_subcommand_from " + name;
    if (group.empty()) {
      add("__fish_use_subcommand", "-a " + name + about);
    } else {
      add("__fish_use_subcommand", "-a " + group);
      add("__fish_seen_subcommand_from " + group, "-a " + name + about);
      seen = "__fish_seen_subcommand_from " + group + "; and " + seen;
    }
    for (const OptionRecord& option : record.options) {
      std::string what;
      for (const std::string& option_name : option.names) {
        if (option.positional) continue;
        what += option_name.starts_with("--") ? " -l " + option_name.substr(2)
                                              : " -s " + option_name.substr(1);
      }
      if (option.takes_value && !option.positional) what += " -r";
      if (option.hint == ValueHint::kFile || option.hint == ValueHint::kFolder) what += " -F";
      if (option.hint == ValueHint::kChoice) what += " -a " + quoted(join(option.choices), "\\'");
      if (!what.empty()) add(seen, what.substr(1) + " -d " + quoted(option.help, "\\'"));
    }
  }
  return text;
}

CommandRun setup(Options& options) {
  auto shell = std::make_shared<std::string>();
  options.value("SHELL", *shell, "For which shell").required().choices({"bash", "zsh", "fish"});
  return [shell](CommandContext& context) -> int {
    const Records records = command_records();
    const std::string script = *shell == "bash"  ? bash_script(records)
                               : *shell == "zsh" ? zsh_script(records)
                                                 : fish_script(records);
    if (context.json) {
      print_json(context, {{"shell", *shell}, {"script", script}});
    } else {
      context.out << script;
    }
    return kExitOk;
  };
}

constexpr CommandExample kExamples[] = {
    {"source <(kvtier completion bash)", "for this shell"},
    {"kvtier completion zsh > ~/.zfunc/_kvtier", ""},
    {"kvtier completion fish > ~/.config/fish/completions/kvtier.fish", ""},
};

}  // namespace

const Command& completion_command() {
  static const Command command{.group = "",
                               .name = "completion",
                               .summary = "A script with which a shell completes kvtier's commands",
                               .examples = kExamples,
                               .setup = setup};
  return command;
}

}  // namespace kvtier::tools
