// See command.hpp: how a command says that it failed.
#include <nlohmann/json.hpp>
#include <ostream>

#include "tools/cli/command.hpp"
#include "tools/cli/output.hpp"

namespace kvtier::tools {

int CommandContext::fail(ExitStatus status, std::string_view message, std::string_view help) const {
  if (json) {
    const nlohmann::ordered_json error = {
        {"error", {{"message", message}, {"help", help}, {"status", static_cast<int>(status)}}}};
    err << error.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
    return status;
  }
  // Lines of a help text stay lines.
  err << paint(err_is_terminal && color, Color::kRed, "error:") << " " << printable(message)
      << "\n";
  while (!help.empty()) {
    const std::string_view line = help.substr(0, help.find('\n'));
    err << "  " << printable(line) << "\n";
    help.remove_prefix(std::min(line.size() + 1, help.size()));
  }
  return status;
}

}  // namespace kvtier::tools
