// The configuration as text: the documented default file, the effective values, the options part of
// the manual page. All made from the rows in options.cpp. Pure, any thread.
#pragma once

#include <string>
#include <vector>

#include "daemon/config/config.hpp"

namespace kvtier::daemon {

// Every option with its documentation, each commented out at its default. Parses to Config().
std::string default_config_text();

// Every option with its value in `config`, and the tenants. Parses back to an equal Config.
std::string show_config(const Config& config);

struct ConfigValue {
  std::string name;   // "host.capacity", "tenant.NAME.uids"
  std::string value;  // as one would write it, without quotes
  bool is_default = false;
  bool needs_restart = true;
};
// The same as a flat list, in the order of the file; what the admin interface gives out as JSON.
std::vector<ConfigValue> list_config(const Config& config);

// scdoc source of kvtier.toml(5); docs/man/kvtier.toml.5.scd is this, checked by a test.
std::string config_manual();

}  // namespace kvtier::daemon
