// The one table of commands, in the order of the help.
#include <array>

#include "tools/cli/commands/commands.hpp"

namespace kvtier::tools {

std::span<const Command* const> command_table() {
  static const std::array kTable = {
      &status_command(),
      &top_command(),
      &iostat_command(),
      &tier_list_command(),
      &tier_show_command(),
      &space_list_command(),
      &session_list_command(),
      &session_kill_command(),
      &chunk_list_command(),
      &chunk_show_command(),
      &chunk_drop_command(),
      &chunk_pin_command(),
      &chunk_unpin_command(),
      &flush_command(),
      &config_check_command(),
      &config_show_command(),
      &config_default_command(),
      &config_reload_command(),
      &explain_command(),
      &advise_command(),
      &doctor_command(),
      &events_command(),
      &dump_command(),
      &verify_command(),
      &replay_command(),
      &simulate_command(),
      &ab_command(),
      &bench_command(),
      &metrics_command(),
      &version_command(),
      &completion_command(),
  };
  return kTable;
}

}  // namespace kvtier::tools
