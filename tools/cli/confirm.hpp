// The question before something is changed that cannot be undone. One thread.
#pragma once

#include <string>

#include "tools/cli/command.hpp"

namespace kvtier::tools {

// Asks "WHAT? [y/N]" on a terminal. kExitOk: go on, because --yes was given or the answer was yes.
// Else what the command must return, and why has been said: without a terminal nobody can be asked.
int confirm(const CommandContext& context, const std::string& what);

}  // namespace kvtier::tools
