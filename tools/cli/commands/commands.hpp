// The rows of the commands that live in this folder. A new command: a function here, its file
// beside it, its line in command_table.cpp.
#pragma once

#include "tools/cli/command.hpp"

namespace kvtier::tools {

const Command& status_command();
const Command& top_command();
const Command& iostat_command();
const Command& tier_list_command();
const Command& tier_show_command();
const Command& space_list_command();
const Command& session_list_command();
const Command& session_kill_command();
const Command& chunk_list_command();
const Command& chunk_show_command();
const Command& chunk_drop_command();
const Command& chunk_pin_command();
const Command& chunk_unpin_command();
const Command& flush_command();
const Command& config_check_command();
const Command& config_show_command();
const Command& config_default_command();
const Command& config_reload_command();
const Command& explain_command();
const Command& advise_command();
const Command& doctor_command();
const Command& events_command();
const Command& dump_command();
const Command& metrics_command();
const Command& version_command();
const Command& completion_command();

}  // namespace kvtier::tools
