// The program `kvtier`: streams and terminal facts for run_program().
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <exception>
#include <iostream>

#include "tools/cli/program.hpp"

int main(int argc, char** argv) {
  using kvtier::tools::CommandContext;
  std::ios::sync_with_stdio(false);
  std::signal(SIGPIPE, SIG_DFL);  // `kvtier metrics | head` ends quietly
  CommandContext context{.out = std::cout, .err = std::cerr};
  context.out_is_terminal = isatty(STDOUT_FILENO) == 1;
  context.err_is_terminal = isatty(STDERR_FILENO) == 1;
  context.in_is_terminal = isatty(STDIN_FILENO) == 1;
  const char* no_color = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  const bool dumb = terminal != nullptr && std::string_view(terminal) == "dumb";
  context.color = context.out_is_terminal && !dumb && (no_color == nullptr || *no_color == '\0');
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    context.columns = size.ws_col;
  }
  try {
    return kvtier::tools::run_program({argv + 1, argv + argc}, context);
  } catch (const std::exception& error) {
    return context.fail(kvtier::tools::kExitFailed, error.what());
  }
}
