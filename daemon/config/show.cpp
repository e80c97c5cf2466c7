// The configuration as text, from the rows. Pure; see show.hpp.
#include "daemon/config/show.hpp"

#include <algorithm>

#include "daemon/config/options.hpp"

namespace kvtier::daemon {
namespace {

constexpr size_t kLineWidth = 88;
constexpr std::string_view kSpaceHelp =
    "What holds for the spaces of some models only. The first entry that fits counts.";

// Breaks text into lines that start with `prefix`.
std::string wrap(std::string_view text, std::string_view prefix) {
  std::string out, line(prefix);
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    if (line.size() + word.size() + 1 > kLineWidth && line.size() > prefix.size()) {
      out += line + "\n";
      line = prefix;
    }
    line += (line.size() > prefix.size() ? " " : "") + std::string(word);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out + line + "\n";
}

std::string_view table_of(const OptionRow& row) {
  return row.name.substr(0, row.name.find('.'));
}
std::string_view key_of(const OptionRow& row) {
  const size_t dot = row.name.find('.');
  return dot == std::string_view::npos ? row.name : row.name.substr(dot + 1);
}

std::string facts(const OptionRow& row) {
  return "(" + describe_values(row) + "; " +
         (row.reload == Reload::kLive ? "taken over at a reload" : "needs a restart") + ")";
}

void document(const OptionRow& row, std::string& out) {
  out += "\n" + wrap(row.help, "# ") + wrap(facts(row), "# ");
  out += "#" + std::string(key_of(row)) + " = " + default_toml(row) + "\n";
}

void show_rows(std::span<const OptionRow> rows, const void* owner, std::string& out) {
  for (const OptionRow& row : rows) {
    out += std::string(key_of(row)) + " = " + option_toml(row, owner) + "\n";
  }
}

// scdoc gives these a meaning.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '_' || c == '*' || c == '\\' || c == '[' || c == '#' || c == '~') out += '\\';
    out += c;
  }
  return out;
}

void manual_row(const OptionRow& row, std::string& out) {
  out += "*" + escaped(key_of(row)) + "* = " + escaped(default_toml(row)) + "\n";
  out += wrap(escaped(row.help), "\t") + wrap(escaped(facts(row)), "\t") + "\n";
}

constexpr std::string_view kManualHead = R"(kvtier.toml(5)

# NAME

kvtier.toml - configuration of kvtierd(8)

# DESCRIPTION

A file in TOML. Without one, *kvtierd* runs with every option at its default.
After the file, the files in the folder of the same name with _.d_ added
(_/etc/kvtier/kvtier.toml.d/\*.toml_) are read in the order of their names; a later
file overrides options and adds tenants.

An option or table that does not exist is refused, as is a value that does not fit.
All problems are reported at once, with the line and what to do, and *kvtierd* ends
with exit status 78. At SIGHUP the files are read again: either all changes are taken
over, or, if something is wrong or needs a restart, none.

*kvtier config check* checks a file, *kvtier config show* prints the values in use and
*kvtier config default* a commented file with every option.

Sizes are written "64GiB", "512MiB" or "1.5TiB" (B, KiB, MiB, GiB, TiB, PiB in powers
of 1024; kB, MB, GB, TB, PB in powers of 1000), or as a whole number of bytes. Times
are written "250ms", "30s" or "2m" (ns, us, ms, s, m, h, d), shares "12.5%", file modes
"0660".

)";

constexpr std::string_view kManualExample = R"(# EXAMPLE

```
[host]
capacity = "64GiB"
huge_pages = "auto"

[tenants]
unlisted = "refuse"

[[tenant]]
name = "chat"
uids = [1000, 1001]
host_share = "75%"

[[tenant]]
name = "batch"
socket = "/run/kvtier/batch.sock"
mode = "0660"
group = "batch"
host_max = "16GiB"
```

# SEE ALSO

*kvtierd*(8), *kvtier*(1)
)";

}  // namespace

std::string default_config_text() {
  std::string out =
      "# kvtierd configuration; see kvtier.toml(5). Every option, commented out at its default.\n";
  for (const TableRow& table : table_rows()) {
    out += "\n" + wrap(table.help, "# ") + "[" + std::string(table.name) + "]\n";
    for (const OptionRow& row : option_rows()) {
      if (table_of(row) == table.name) document(row, out);
    }
  }
  out += "\n" + wrap(
                    "A tenant is a group of users, or whoever may open a socket of its own. One "
                    "entry each.",
                    "# ");
  out += "#[[tenant]]\n";
  for (const OptionRow& row : tenant_rows()) document(row, out);
  out += "\n" + wrap(kSpaceHelp, "# ") + "#[[space]]\n";
  for (const OptionRow& row : space_rows()) document(row, out);
  return out;
}

std::string show_config(const Config& config) {
  std::string out;
  for (const TableRow& table : table_rows()) {
    out += (out.empty() ? "[" : "\n[") + std::string(table.name) + "]\n";
    for (const OptionRow& row : option_rows()) {
      if (table_of(row) == table.name) show_rows({&row, 1}, &config, out);
    }
  }
  for (const TenantConfig& tenant : config.tenant) {
    out += "\n[[tenant]]\n";
    show_rows(tenant_rows(), &tenant, out);
  }
  for (const SpaceConfig& space : config.space) {
    out += "\n[[space]]\n";
    show_rows(space_rows(), &space, out);
  }
  return out;
}

std::vector<ConfigValue> list_config(const Config& config) {
  static const Config kDefault;
  static const TenantConfig kDefaultTenant;
  static const SpaceConfig kDefaultSpace;
  std::vector<ConfigValue> values;
  const auto add = [&values](const OptionRow& row, std::string name, const void* owner,
                             const void* defaults) {
    std::string text = option_text(row, owner);
    const bool is_default = text == option_text(row, defaults);
    values.push_back(
        {std::move(name), std::move(text), is_default, row.reload == Reload::kRestart});
  };
  for (const OptionRow& row : option_rows()) add(row, std::string(row.name), &config, &kDefault);
  for (const TenantConfig& tenant : config.tenant) {
    const std::string prefix = "tenant." + tenant.name + ".";
    for (const OptionRow& row : tenant_rows()) {
      add(row, prefix + std::string(row.name), &tenant, &kDefaultTenant);
    }
  }
  for (const SpaceConfig& space : config.space) {
    const std::string prefix = "space." + space.model + ".";
    for (const OptionRow& row : space_rows()) {
      add(row, prefix + std::string(row.name), &space, &kDefaultSpace);
    }
  }
  return values;
}

std::string config_manual() {
  std::string out(kManualHead);
  out += "# OPTIONS\n\nEach is shown with its default.\n\n";
  for (const TableRow& table : table_rows()) {
    out +=
        "## The table [" + std::string(table.name) + "]\n\n" + wrap(escaped(table.help), "") + "\n";
    for (const OptionRow& row : option_rows()) {
      if (table_of(row) == table.name) manual_row(row, out);
    }
  }
  out +=
      "## The entries [[tenant]]\n\nA tenant is a group of users, or whoever may open a socket of "
      "its "
      "own. One entry\neach; _name_ is required, and _uids_ or _socket_.\n\n";
  for (const OptionRow& row : tenant_rows()) manual_row(row, out);
  out += "## The entries [[space]]\n\n" + wrap(kSpaceHelp, "") + "\n";
  for (const OptionRow& row : space_rows()) manual_row(row, out);
  out += "# PROBLEMS\n\n";
  for (const ProblemRow& row : problem_rows()) {
    out += "*" + std::string(row.name) + "*\n" + wrap(escaped(row.summary), "\t") + "\n";
  }
  out += kManualExample;
  return out;
}

}  // namespace kvtier::daemon
