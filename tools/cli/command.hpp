// What a command of `kvtier` is: a row with its words, its help and the function that declares its
// options and returns what runs. A command is one file and one row in command_table.cpp; replay and
// bench live in folders of their own and give their row by a function. One thread.
#pragma once

#include <functional>
#include <iosfwd>
#include <span>
#include <string>
#include <string_view>

#include "tools/cli/options.hpp"

namespace kvtier::tools {

// Exit statuses of every command.
enum ExitStatus : int {
  kExitOk = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitUnreachable = 3,  // no daemon answers
  kExitDegraded = 4,  // it answers, or the machine would do, but something is not as it should be
};

// What every command is given: the options that all have, and where to write.
struct CommandContext {
  bool json = false;        // --json: exactly one JSON value on `out`, nothing else
  bool assume_yes = false;  // --yes: destructive commands do not ask
  bool socket_given = false;
  std::string socket = {};  // attach socket: --socket, else where kvtier's programs look
  std::ostream& out;        // results
  std::ostream& err;        // errors, progress, questions
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  bool in_is_terminal = false;
  bool color = false;     // for out; a terminal, and NO_COLOR is not set
  unsigned columns = 80;  // of the terminal

  // Says on `err` what was found and, if there is any, what to do; returns `status`.
  // With --json one line: {"error": {"message": ..., "help": ..., "status": N}}.
  int fail(ExitStatus status, std::string_view message, std::string_view help = {}) const;
};

using CommandRun = std::function<int(CommandContext&)>;

struct CommandExample {
  std::string_view line;  // "kvtier replay trace.jsonl --spawn /var/tmp/kv --verify"
  std::string_view about;
};

struct Command {
  std::string_view group;    // "tier"; empty for a command of one word
  std::string_view name;     // "list"
  std::string_view summary;  // one line, no full stop
  std::string_view description = {};
  std::span<const CommandExample> examples;  // at least one; shown by --help
  // Declares the command's options and returns what runs once they are parsed. Variables that the
  // options are parsed into belong to the returned function: hold them in a shared_ptr.
  CommandRun (*setup)(Options& options);
};

// Every command, in the order of the help.
std::span<const Command* const> command_table();

// In tools/verify, tools/replay, tools/simulate and tools/bench.
const Command& verify_command();
const Command& replay_command();
const Command& simulate_command();
const Command& ab_command();
const Command& bench_command();

}  // namespace kvtier::tools
