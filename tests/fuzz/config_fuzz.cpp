// Fuzz target: any text is refused with problems that have a place, or is a configuration that
// survives being shown and read again. One thread.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "daemon/config/load.hpp"
#include "daemon/config/reload.hpp"
#include "daemon/config/show.hpp"

using namespace kvtier::daemon;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  if (bytes > kConfigBytesMax) return 0;  // such files are refused before they are parsed
  const std::string_view text(reinterpret_cast<const char*>(data), bytes);
  const ConfigOutcome outcome = parse_config_text(text, "fuzz.toml");
  const std::string shown = render_problems(outcome.problems, Color::kNever);
  require(outcome.ok() == shown.empty());
  require(outcome.problems.size() <= kProblemsMax);
  for (const char c : shown) require(c == '\n' || static_cast<unsigned char>(c) >= 0x20);
  if (!outcome.ok()) return 0;
  const ConfigOutcome again = parse_config_text(show_config(outcome.config), "shown.toml");
  require(again.ok());
  require(again.config == outcome.config);
  require(diff_config(outcome.config, again.config).empty());
  require(!list_config(outcome.config).empty());
  return 0;
}
