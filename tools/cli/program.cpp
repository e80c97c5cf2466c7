// Builds the parser from the table of commands and says what is wrong with a command line.
#include "tools/cli/program.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <map>
#include <ostream>

#include "daemon/config/problems.hpp"
#include "tools/cli/output.hpp"
#include "tools/cli/socket_path.hpp"

namespace kvtier::tools {
namespace {

struct Common {
  bool json = false;
  bool yes = false;
  std::string socket;
};

void add_common(Options& options, Common& common) {
  options.flag("--json", common.json, "One JSON value instead of text");
  options.value("--socket", common.socket, "Attach socket of the daemon; admin.sock lies beside it")
      .metavar("PATH")
      .file();
  options.flag("--yes,-y", common.yes, "Do not ask before something is changed");
}

std::string words_of(const Command& command) {
  std::string words(command.group);
  if (!words.empty()) words += " ";
  return words + std::string(command.name);
}

std::string examples_of(const Command& command) {
  std::string text = "Examples:\n";
  for (const CommandExample& example : command.examples) {
    text += "  " + std::string(example.line) + "\n";
    if (!example.about.empty()) text += "      " + std::string(example.about) + "\n";
  }
  return text;
}

// One command with its parser.
struct Leaf {
  const Command* command = nullptr;
  CLI::App* app = nullptr;
  std::unique_ptr<Options> options;
  CommandRun run;
};

class Parser {
 public:
  Parser() : app_("kvtier", "kvtier") {
    app_.set_help_flag();
    common_options_ = std::make_unique<Options>(app_);
    add_common(*common_options_, common_);
    app_.require_subcommand(1);
    for (const Command* command : command_table()) add(*command);
  }

  void parse(std::vector<std::string> arguments) {
    std::reverse(arguments.begin(), arguments.end());  // as the library wants them
    app_.parse(arguments);
  }

  const Leaf* chosen() const {
    for (const Leaf& leaf : leaves_) {
      if (leaf.app->parsed()) return &leaf;
    }
    return nullptr;
  }
  const std::vector<Leaf>& leaves() const { return leaves_; }
  const Common& common() const { return common_; }

  const Leaf* find(std::string_view group, std::string_view name) const {
    for (const Leaf& leaf : leaves_) {
      if (leaf.command->group == group && leaf.command->name == name) return &leaf;
    }
    return nullptr;
  }

 private:
  void add(const Command& command) {
    CLI::App* parent = &app_;
    if (!command.group.empty()) {
      CLI::App*& group = groups_[std::string(command.group)];
      if (group == nullptr) {
        group = app_.add_subcommand(std::string(command.group));
        group->set_help_flag();
        group->require_subcommand(1);
      }
      parent = group;
    }
    Leaf leaf;
    leaf.command = &command;
    leaf.app = parent->add_subcommand(std::string(command.name));
    leaf.app->set_help_flag();  // --help is looked for before parsing
    leaf.app->name(std::string(command.name));
    leaf.options = std::make_unique<Options>(*leaf.app);
    leaf.run = command.setup(*leaf.options);
    add_common(*leaf.options, common_);
    leaves_.push_back(std::move(leaf));
  }

  CLI::App app_;
  Common common_;
  std::unique_ptr<Options> common_options_;
  std::map<std::string, CLI::App*> groups_;
  std::vector<Leaf> leaves_;
};

// The library writes TYPE:WHAT IS TAKEN.
std::string value_form(std::string form) {
  const size_t colon = form.find(':');
  if (colon == std::string::npos) return form;
  if (form.compare(0, colon, "TEXT") == 0) return form.substr(colon + 1);
  return form.replace(colon, 1, ", ");
}

std::string leaf_help(const Leaf& leaf) {
  const Command& command = *leaf.command;
  std::string text = "kvtier " + words_of(command) + " - " + std::string(command.summary) + "\n\n";
  text += "Usage: kvtier " + words_of(command);
  size_t width = 0;
  std::vector<std::pair<std::string, std::string>> positionals, options;
  for (const CLI::Option* option : leaf.app->get_options()) {
    const bool positional = option->get_lnames().empty() && option->get_snames().empty();
    std::string left = option->get_name(positional, true);
    std::replace(left.begin(), left.end(), ',', ' ');
    if (!positional && option->get_items_expected_max() > 0 && option->get_type_size_max() > 0) {
      left += " " + value_form(option->get_type_name());
    }
    width = std::max(width, left.size());
    if (positional) {
      text += option->get_required() ? " " + left : " [" + left + "]";
      positionals.emplace_back(left, option->get_description());
    } else {
      options.emplace_back(left, option->get_description());
    }
  }
  text += " [OPTIONS]\n\n";
  if (!command.description.empty()) text += std::string(command.description) + "\n\n";
  for (const auto* list : {&positionals, &options}) {
    for (const auto& [left, about] : *list) {
      text += "  " + left + std::string(width + 2 - left.size(), ' ') + about + "\n";
    }
    if (!list->empty()) text += "\n";
  }
  return text + examples_of(command);
}

// The words that are no options, so far as they name a command; what is wrong with them, if
// anything.
struct Words {
  std::string group, name;
  bool help = false;
  bool complete = false;  // a command was named
  std::string problem, remedy;
};

std::string did_you_mean(std::string_view word, const std::vector<std::string_view>& candidates) {
  const std::string_view nearest = daemon::nearest_name(word, candidates);
  return nearest.empty() ? "" : "did you mean '" + std::string(nearest) + "'?";
}

Words read_words(const std::vector<std::string>& arguments, const Parser& parser) {
  Words words;
  std::vector<std::string_view> found;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "--") break;
    if (word == "--help" || word == "-h") words.help = true;
    if (word == "--socket") ++i;
    if (word.empty() || word.front() != '-') found.push_back(word);
  }
  // `kvtier help tier list` is what people try.
  if (!found.empty() && found[0] == "help") {
    words.help = true;
    found.erase(found.begin());
  }
  if (found.empty()) return words;
  std::vector<std::string_view> firsts, seconds;
  for (const Leaf& leaf : parser.leaves()) {
    const Command& command = *leaf.command;
    firsts.push_back(command.group.empty() ? command.name : command.group);
    if (command.group == found[0]) seconds.push_back(command.name);
  }
  if (std::find(firsts.begin(), firsts.end(), found[0]) == firsts.end()) {
    words.problem = "there is no command '" + printable(found[0]) + "'";
    words.remedy = did_you_mean(found[0], firsts);
    if (words.remedy.empty()) words.remedy = "kvtier --help lists the commands";
    return words;
  }
  if (seconds.empty()) {
    words.name = found[0];
    words.complete = true;
    return words;
  }
  words.group = found[0];
  std::string list;
  for (const std::string_view second : seconds)
    list += (list.empty() ? "" : ", ") + std::string(second);
  if (found.size() < 2) {
    words.problem = "'" + words.group + "' needs a second word";
    words.remedy = "one of: " + list;
  } else if (std::find(seconds.begin(), seconds.end(), found[1]) == seconds.end()) {
    words.problem = "there is no command '" + words.group + " " + printable(found[1]) + "'";
    words.remedy = did_you_mean(found[1], seconds);
    if (words.remedy.empty()) words.remedy = "one of: " + list;
  } else {
    words.name = found[1];
    words.complete = true;
  }
  return words;
}

// What the library found, in words of our own: its texts name its types and are no sentences. What
// it names first is the option; what our own checks said stands as it is.
std::string plain_words(const CLI::ParseError& error) {
  const std::string text = error.what();
  const std::string name = text.substr(0, text.find(':'));
  const std::string last = text.substr(text.rfind(' ') + 1);
  const std::string kind = error.get_name();
  if (kind == "ValidationError") return text;
  if (kind == "RequiredError") return text.substr(0, text.find(' ')) + " is missing";
  if (kind == "ArgumentMismatch") {
    return text.find("received") == std::string::npos ? name + " needs a value"
                                                      : name + " is given " + last + " times";
  }
  const size_t option = text.find("--");
  if (kind == "ConversionError" && option != std::string::npos) {
    return text.substr(option, text.find(' ', option) - option) + " does not take '" +
           printable(last) + "'";
  }
  if (kind == "ExcludesError" || kind == "RequiresError") {
    const std::string first = text.substr(0, text.find(' '));
    return first + (kind == "ExcludesError" ? " does not go together with " : " needs ") + last;
  }
  return "the command line was not understood";
}

// Says which option there is none of, with the nearest that there is; else what the parser says.
int fail_extras(const CommandContext& context, const std::vector<std::string>& arguments,
                const Leaf& leaf, const std::string& message) {
  const std::string help = "kvtier " + words_of(*leaf.command) + " --help lists what it takes";
  std::vector<std::string_view> known = {"--help"};
  for (const auto& record : leaf.options->records()) {
    if (record->positional) continue;
    known.insert(known.end(), record->names.begin(), record->names.end());
  }
  for (const std::string& argument : arguments) {
    if (argument.size() < 3 || argument.compare(0, 2, "--") != 0) continue;
    const std::string_view name = std::string_view(argument).substr(0, argument.find('='));
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string nearest = did_you_mean(name, known);
    return context.fail(kExitUsage, "there is no option '" + std::string(name) + "'",
                        nearest.empty() ? help : nearest);
  }
  return context.fail(kExitUsage, message, help);
}

int run_chosen(const Leaf& leaf, CommandContext& context) {
  try {
    const int status = leaf.run(context);
    context.out.flush();
    if (!context.out.good()) return context.fail(kExitFailed, "the output could not be written");
    return status;
  } catch (const std::exception& error) {
    return context.fail(kExitFailed, std::string("unexpected: ") + error.what(),
                        "please report this with the command line");
  }
}

void take_common(const Common& common, CommandContext& context) {
  context.json = common.json;
  context.assume_yes = common.yes;
  context.socket_given = !common.socket.empty();
  context.socket = context.socket_given ? common.socket : default_attach_socket();
}

}  // namespace

int run_program(const std::vector<std::string>& arguments, CommandContext& context) {
  context.json = std::find(arguments.begin(), arguments.end(), "--json") != arguments.end();
  Parser parser;
  const Words words = read_words(arguments, parser);
  if (words.help && words.complete) {
    context.out << leaf_help(*parser.find(words.group, words.name));
    return kExitOk;
  }
  const bool version =
      arguments.size() == 1 && (arguments[0] == "--version" || arguments[0] == "-V");
  if (version) return run_program({"version"}, context);
  if (words.help && words.problem.empty()) {
    context.out << program_help();
    return kExitOk;
  }
  if (words.help && !words.group.empty() && words.name.empty()) {
    for (const Leaf& leaf : parser.leaves()) {
      if (leaf.command->group == words.group) context.out << leaf_help(leaf) << "\n";
    }
    return kExitOk;
  }
  if (!words.problem.empty()) return context.fail(kExitUsage, words.problem, words.remedy);
  if (!words.complete && context.json) {
    return context.fail(kExitUsage, "no command was given", "kvtier --help lists the commands");
  }
  if (!words.complete) {
    context.err << program_help();
    return kExitUsage;
  }
  const Leaf& wanted = *parser.find(words.group, words.name);
  try {
    parser.parse(arguments);
  } catch (const CLI::ExtrasError& error) {
    const std::string text = error.what();
    const std::string last = text.substr(text.rfind(' ') + 1);
    return fail_extras(context, arguments, wanted, "'" + printable(last) + "' is a word too many");
  } catch (const CLI::ParseError& error) {
    return context.fail(kExitUsage, plain_words(error),
                        "kvtier " + words_of(*wanted.command) + " --help lists what it takes");
  }
  take_common(parser.common(), context);
  return run_chosen(wanted, context);
}

std::vector<CommandRecord> command_records() {
  const Parser parser;
  std::vector<CommandRecord> records;
  for (const Leaf& leaf : parser.leaves()) {
    CommandRecord record{leaf.command, {}};
    for (const auto& option : leaf.options->records()) record.options.push_back(*option);
    records.push_back(std::move(record));
  }
  return records;
}

std::string program_help() {
  std::string text =
      "kvtier - look at and steer the KV cache tier of this machine\n\n"
      "Usage: kvtier COMMAND [OPTIONS]\n\nCommands:\n";
  size_t width = 0;
  for (const Command* command : command_table()) width = std::max(width, words_of(*command).size());
  for (const Command* command : command_table()) {
    const std::string words = words_of(*command);
    text += "  " + words + std::string(width + 2 - words.size(), ' ') +
            std::string(command->summary) + "\n";
  }
  text +=
      "\nEvery command takes --help, --json and --socket PATH.\n"
      "Exit status: 0 ok, 1 failed, 2 usage, 3 no daemon answers, 4 degraded.\n";
  return text;
}

}  // namespace kvtier::tools
