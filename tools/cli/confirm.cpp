// See confirm.hpp.
#include "tools/cli/confirm.hpp"

#include <iostream>

namespace kvtier::tools {

int confirm(const CommandContext& context, const std::string& what) {
  if (context.assume_yes) return kExitOk;
  if (!context.in_is_terminal || !context.err_is_terminal) {
    return context.fail(kExitUsage, what + ": not done, because nobody is here to be asked",
                        "add --yes");
  }
  context.err << what << "? [y/N] " << std::flush;
  std::string line;
  std::getline(std::cin, line);
  if (line == "y" || line == "Y" || line == "yes") return kExitOk;
  return context.fail(kExitFailed, "not done");
}

}  // namespace kvtier::tools
