// From the words of a command line to a command that runs. One thread; testable without a process.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/cli/command.hpp"

namespace kvtier::tools {

// Runs `arguments` (without the program's name) with the streams and terminal facts of `context`,
// whose options it fills in. Returns the exit status. Never throws.
int run_program(const std::vector<std::string>& arguments, CommandContext& context);

// What shells complete and what the manual lists: every command with its options.
struct CommandRecord {
  const Command* command = nullptr;
  std::vector<OptionRecord> options;  // the common ones included
};
std::vector<CommandRecord> command_records();

// The overview: `kvtier --help`.
std::string program_help();

}  // namespace kvtier::tools
