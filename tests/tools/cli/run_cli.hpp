// Runs a command line in this process and keeps what it said.
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "tools/cli/program.hpp"

namespace kvtier::tools {

struct CliRun {
  int status = -1;
  std::string out, err;
};

inline CliRun run_cli(const std::vector<std::string>& arguments) {
  std::ostringstream out, err;
  CommandContext context{.out = out, .err = err};
  CliRun run;
  run.status = run_program(arguments, context);
  run.out = out.str();
  run.err = err.str();
  return run;
}

}  // namespace kvtier::tools
