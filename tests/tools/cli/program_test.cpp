// Command lines: help, wrong words and options with the nearest right ones, exit statuses,
// completions.
#include "tools/cli/program.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/tools/cli/run_cli.hpp"

namespace kvtier::tools {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> words_of(const Command& command) {
  std::vector<std::string> words;
  if (!command.group.empty()) words.emplace_back(command.group);
  words.emplace_back(command.name);
  return words;
}

TEST(Program, EveryCommandHasAllItsPartsAndItsWordsOnce) {
  std::set<std::vector<std::string>> seen;
  for (const Command* command : command_table()) {
    EXPECT_TRUE(seen.insert(words_of(*command)).second) << command->name;
    EXPECT_FALSE(command->summary.empty()) << command->name;
    EXPECT_FALSE(command->summary.ends_with(".")) << command->summary;
    EXPECT_FALSE(command->examples.empty()) << command->name;
    for (const CommandExample& example : command->examples) {
      EXPECT_THAT(std::string(example.line), HasSubstr("kvtier " + words_of(*command)[0]));
    }
  }
  for (const char* name : {"status", "top", "flush", "doctor", "replay", "bench", "metrics",
                           "version", "completion"}) {
    EXPECT_TRUE(seen.contains({name})) << name;
  }
}

TEST(Program, EveryCommandHasHelpWithExamplesAndTheCommonOptions) {
  for (const Command* command : command_table()) {
    std::vector<std::string> words = words_of(*command);
    words.emplace_back("--help");
    const CliRun run = run_cli(words);
    EXPECT_EQ(run.status, kExitOk) << command->name;
    EXPECT_THAT(run.out, HasSubstr("Examples:")) << command->name;
    EXPECT_THAT(run.out, HasSubstr("--json")) << command->name;
    EXPECT_THAT(run.out, HasSubstr("--socket")) << command->name;
    EXPECT_EQ(run.err, "");
  }
}

TEST(Program, TheOverviewListsEveryCommand) {
  for (const auto& arguments : {std::vector<std::string>{"--help"}, {"help"}, {"-h"}}) {
    const CliRun run = run_cli(arguments);
    EXPECT_EQ(run.status, kExitOk);
    for (const Command* command : command_table()) {
      EXPECT_THAT(run.out, HasSubstr(std::string(command->summary)));
    }
  }
  EXPECT_THAT(run_cli({"help", "tier", "list"}).out, HasSubstr("kvtier tier list - "));
  EXPECT_THAT(run_cli({"tier", "--help"}).out, HasSubstr("kvtier tier show - "));
}

TEST(Program, AMistypedValueGetsTheNearest) {
  EXPECT_THAT(run_cli({"replay", "--policy", "lur"}).err, HasSubstr("did you mean 'lru'?"));
  EXPECT_THAT(run_cli({"completion", "bsh"}).err, HasSubstr("did you mean 'bash'?"));
  EXPECT_THAT(run_cli({"completion", "xyzzyq"}).err, HasSubstr("one of: bash, zsh, fish"));
}

// The library that parses has texts of its own, which name its types; none of them gets through.
TEST(Program, WhatIsWrongWithALineIsSaidInOurOwnWords) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> lines = {
      {{"replay", "--policy", "lur"}, "--policy: there is no 'lur'"},
      {{"replay", "--policy"}, "--policy needs a value"},
      {{"replay", "--requests", "1", "--requests", "2"}, "--requests is given 2 times"},
      {{"replay", "--clients", "99"}, "'99' is not a number from 1 to 64"},
      {{"replay", "--paced", "x"}, "'x' is not a number from"},
      {{"replay", "--host-bytes", "3XB"}, "'XB' is not a unit of a size"},
      {{"chunk", "list", "--count", "-1"}, "'-1' is not a whole number"},
      {{"status", "--json=foo"}, "--json does not take 'foo'"},
      {{"top", "-i"}, "--interval needs a value"},
      {{"tier", "show"}, "TIER is missing"},
      {{"tier", "show", "a", "b"}, "'b' is a word too many"},
  };
  for (const auto& [line, wanted] : lines) {
    const CliRun run = run_cli(line);
    EXPECT_EQ(run.status, kExitUsage) << wanted;
    EXPECT_THAT(run.err, HasSubstr(wanted));
    for (const char* foreign : {"not in {", "required", "onvert", "not expected", "received",
                                "TEXT", "NUMBER", "UINT", "FLOAT"}) {
      EXPECT_EQ(run.err.find(foreign), std::string::npos) << run.err;
    }
  }
}

TEST(Program, AMistypedCommandGetsTheNearest) {
  EXPECT_THAT(run_cli({"statsu"}).err, HasSubstr("did you mean 'status'?"));
  EXPECT_THAT(run_cli({"teir", "list"}).err, HasSubstr("did you mean 'tier'?"));
  EXPECT_THAT(run_cli({"tier", "lsit"}).err, HasSubstr("did you mean 'list'?"));
  EXPECT_THAT(run_cli({"tier"}).err, HasSubstr("one of: list, show"));
  EXPECT_THAT(run_cli({"xyzzy"}).err, HasSubstr("kvtier --help"));
  for (const auto& arguments :
       {std::vector<std::string>{}, {"statsu"}, {"tier"}, {"tier", "lsit"}, {"status", "extra"}}) {
    const CliRun run = run_cli(arguments);
    EXPECT_EQ(run.status, kExitUsage);
    EXPECT_EQ(run.out, "");
    EXPECT_NE(run.err, "");
  }
}

TEST(Program, AMistypedOptionGetsTheNearest) {
  const CliRun run = run_cli({"chunk", "list", "--cuont", "5"});
  EXPECT_EQ(run.status, kExitUsage);
  EXPECT_THAT(run.err, HasSubstr("--cuont"));
  EXPECT_THAT(run.err, HasSubstr("did you mean '--count'?"));
}

TEST(Program, BadValuesAreUsageErrors) {
  for (const auto& arguments : {std::vector<std::string>{"chunk", "list", "-n", "0"},
                                {"chunk", "list", "-n", "x"},
                                {"session", "kill"},
                                {"session", "kill", "-5"},
                                {"completion", "tcsh"},
                                {"top", "-i", "0"},
                                {"chunk", "pin", "aabbccdd", "--seconds", "-1"}}) {
    const CliRun run = run_cli(arguments);
    EXPECT_EQ(run.status, kExitUsage) << arguments[0];
    EXPECT_EQ(run.out, "");
  }
}

TEST(Program, WithJsonErrorsAreJsonToo) {
  const CliRun run = run_cli({"--json", "statsu"});
  EXPECT_EQ(run.status, kExitUsage);
  const auto error = nlohmann::json::parse(run.err)["error"];
  EXPECT_EQ(error["status"], kExitUsage);
  EXPECT_THAT(error["help"].get<std::string>(), HasSubstr("status"));
}

TEST(Program, AnAbsentDaemonIsExitStatus3WithWhatToDo) {
  for (const auto& arguments : {std::vector<std::string>{"status"},
                                {"tier", "list"},
                                {"tier", "show", "host"},
                                {"space", "list"},
                                {"session", "list"},
                                {"session", "kill", "1", "--yes"},
                                {"chunk", "list"},
                                {"chunk", "show", "aabbccdd"},
                                {"chunk", "drop", "aabbccdd", "-y"},
                                {"chunk", "pin", "aabbccdd"},
                                {"flush", "--yes"},
                                {"config", "show"},
                                {"config", "reload"},
                                {"metrics"},
                                {"top"}}) {
    std::vector<std::string> with_socket = arguments;
    with_socket.insert(with_socket.end(), {"--socket", "/nonexistent/kvtier.sock"});
    const CliRun run = run_cli(with_socket);
    EXPECT_EQ(run.status, kExitUnreachable) << arguments[0];
    EXPECT_EQ(run.out, "");
    EXPECT_THAT(run.err, HasSubstr("kvtier doctor"));
  }
}

TEST(Program, DestructiveCommandsRefuseWithoutATerminalAndWithoutYes) {
  for (const auto& arguments : {std::vector<std::string>{"flush"},
                                {"session", "kill", "1"},
                                {"chunk", "drop", "aabbccdd"}}) {
    std::vector<std::string> with_socket = arguments;
    with_socket.insert(with_socket.end(), {"--socket", "/nonexistent/kvtier.sock"});
    const CliRun run = run_cli(with_socket);
    EXPECT_EQ(run.status, kExitUsage) << arguments[0];
    EXPECT_THAT(run.err, HasSubstr("--yes"));
  }
}

TEST(Program, ForeignTextDoesNotDriveTheTerminal) {
  const CliRun run = run_cli({"\033[2Jstatus"});
  EXPECT_EQ(run.err.find('\033'), std::string::npos);
}

TEST(Program, ConfigCommandsNeedNoDaemon) {
  const CliRun text = run_cli({"config", "default"});
  EXPECT_EQ(text.status, kExitOk);
  const std::string path = testing::TempDir() + "/kvtier-cli-config.toml";
  std::ofstream(path) << text.out;
  EXPECT_EQ(run_cli({"config", "check", path}).status, kExitOk);
  const auto shown = nlohmann::json::parse(run_cli({"config", "show", path, "--json"}).out);
  EXPECT_GT(shown["options"].size(), 20u);
  std::ofstream(path) << "[host]\ncapacty = 5\n[moon]\n";
  const CliRun bad = run_cli({"config", "check", path});
  EXPECT_EQ(bad.status, kExitFailed);
  EXPECT_THAT(bad.err, HasSubstr("did you mean 'capacity'?"));
  const CliRun json = run_cli({"config", "check", path, "--json"});
  EXPECT_EQ(json.status, kExitFailed);
  EXPECT_EQ(nlohmann::json::parse(json.out)["ok"], false);
  EXPECT_EQ(nlohmann::json::parse(json.out)["problems"].size(), 2u);
  std::filesystem::remove(path);
}

TEST(Program, VersionAnswersWithoutADaemon) {
  const CliRun run = run_cli({"version", "--json", "--socket", "/nonexistent/kvtier.sock"});
  EXPECT_EQ(run.status, kExitOk);
  const auto json = nlohmann::json::parse(run.out);
  EXPECT_TRUE(json["daemon"].is_null());
  EXPECT_GE(json["protocol_max"], 1);
  EXPECT_EQ(run_cli({"--version"}).status, kExitOk);
}

// What bash offers behind the given words.
std::string complete(const std::string& script, const std::vector<std::string>& words) {
  const std::string path = testing::TempDir() + "/kvtier-completion.sh";
  std::ofstream file(path);
  file << script << "\nCOMP_WORDS=(kvtier";
  for (const std::string& word : words) file << " '" << word << "'";
  file << ")\nCOMP_CWORD=" << words.size() << "\n_kvtier\necho \"${COMPREPLY[*]}\"\n";
  file.close();
  FILE* pipe = popen(("bash " + path + " 2>&1").c_str(), "r");
  std::string out;
  char block[4096];
  while (const size_t got = fread(block, 1, sizeof block, pipe)) out.append(block, got);
  EXPECT_EQ(pclose(pipe), 0) << out;
  std::filesystem::remove(path);
  return out;
}

TEST(Completion, BashOffersWhatTheTableHas) {
  const std::string script = run_cli({"completion", "bash"}).out;
  EXPECT_EQ(complete(script, {"sta"}), "status\n");
  EXPECT_EQ(complete(script, {"tier", ""}), "list show\n");
  EXPECT_EQ(complete(script, {"config", "d"}), "default\n");
  EXPECT_EQ(complete(script, {"chunk", "list", "--co"}), "--count\n");
  EXPECT_EQ(complete(script, {"completion", "z"}), "zsh\n");
  EXPECT_THAT(complete(script, {"config", "check", "/etc/host"}), HasSubstr("/etc/hosts"));
  for (const CommandRecord& record : command_records()) {
    std::vector<std::string> words = words_of(*record.command);
    words.emplace_back("--js");
    EXPECT_EQ(complete(script, words), "--json\n") << record.command->name;
  }
}

TEST(Completion, EveryShellGetsEveryCommand) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const CliRun run = run_cli({"completion", shell});
    EXPECT_EQ(run.status, kExitOk);
    for (const Command* command : command_table()) {
      EXPECT_THAT(run.out, HasSubstr(std::string(command->name))) << shell;
    }
    // Checked with the shell itself where it is on the machine.
    if (std::system((std::string("command -v ") + shell + " >/dev/null").c_str()) != 0) continue;
    const std::string path = testing::TempDir() + "/kvtier-completion." + shell;
    std::ofstream(path) << run.out;
    EXPECT_EQ(std::system((std::string(shell) + " -n " + path).c_str()), 0) << shell;
    std::filesystem::remove(path);
  }
}

TEST(Manual, NamesEveryCommandAndOption) {
  std::ifstream file(KVTIER_SOURCE_DIR "/docs/man/kvtier.1.scd");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  for (const CommandRecord& record : command_records()) {
    std::string words;
    for (const std::string& word : words_of(*record.command)) words += " " + word;
    EXPECT_THAT(text, HasSubstr("*kvtier" + words + "*")) << words;
    const bool elsewhere = record.command->name == "replay" || record.command->name == "bench";
    for (const OptionRecord& option : record.options) {
      if (elsewhere || option.positional) continue;
      EXPECT_THAT(text, HasSubstr("*" + option.names[0] + "*")) << words;
    }
  }
}

}  // namespace
}  // namespace kvtier::tools
