// From TOML to a Config. The only file that includes toml++ (header-only, without exceptions); see
// load.hpp. Every value goes through its row in options.cpp.
#include "daemon/config/load.hpp"

#include "daemon/config/toml_parser.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <tuple>

#include "daemon/config/checks.hpp"
#include "daemon/config/files.hpp"
#include "daemon/config/options.hpp"

namespace kvtier::daemon {
namespace {

constexpr size_t kEntriesMax = 1024;  // of [[tenant]], as tenants.tenants_max at most; of [[space]]

// Where something stands. Documents are numbered in the order of reading.
struct Place {
  size_t document = 0;
  uint32_t line = 0;
  uint32_t column = 0;
  uint32_t width = 1;
};

struct Document {
  std::string name;
  std::vector<std::string> lines;
};

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (true) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.emplace_back(line);
    if (end == text.size()) return lines;
    text.remove_prefix(end + 1);
  }
}

RawValue raw_value(const toml::node& node) {
  RawValue raw;
  if (const auto* text = node.as_string()) {
    raw.type = RawValue::Type::kString;
    raw.text = text->get();
  } else if (const auto* integer = node.as_integer()) {
    const bool octal = integer->flags() == toml::value_flags::format_as_octal;
    raw.type = octal ? RawValue::Type::kOctal : RawValue::Type::kInteger;
    raw.integer = integer->get();
  } else if (node.is_floating_point()) {
    raw.type = RawValue::Type::kFloat;
  } else if (node.is_boolean()) {
    raw.type = RawValue::Type::kBoolean;
  } else if (const toml::array* array = node.as_array()) {
    raw.type = RawValue::Type::kArray;
    for (const toml::node& item : *array) {
      const auto* number = item.as_integer();
      RawValue element;
      element.type = number != nullptr ? RawValue::Type::kInteger : raw_value(item).type;
      element.integer = number != nullptr ? number->get() : 0;
      if (const auto* string = item.as_string()) element.text = string->get();
      raw.items.push_back(std::move(element));
    }
  } else if (node.is_table()) {
    raw.type = RawValue::Type::kTable;
  }
  return raw;
}

class Loader {
 public:
  void add(std::string name, std::string_view text);
  void add_unreadable(std::string name, const FileProblem& problem);
  ConfigOutcome finish();

 private:
  struct Entry {
    const toml::table* table;
    Place place;
  };

  Place place_of(const toml::source_region& region) const;
  void report(const Place& place, ValueProblem problem);
  void read_root(const toml::table& root);
  void read_table(const toml::key& key, const toml::node& node);
  void read_option(const OptionRow& row, const std::string& name, const toml::node& node, void* to);
  void collect_entries(const toml::key& key, const toml::node& node);
  void read_entries(std::span<const Entry> entries, std::string_view list, const auto& read_one);
  void read_fields(const Entry& entry, std::string_view list, std::span<const OptionRow> rows,
                   const std::string& prefix, const std::string* name, void* to);
  void read_tenant(const Entry& entry);
  void read_space(const Entry& entry);
  void check();

  Config config_;
  std::vector<Document> documents_;
  std::deque<toml::table> trees_;  // kept: entries are read after all options, for their defaults
  std::vector<Entry> tenants_;
  std::vector<Entry> spaces_;
  std::map<std::string, Place> origins_;  // option -> where it was last set
  std::set<std::string> failed_;          // options whose value was refused
  std::vector<std::pair<Place, ConfigProblem>> problems_;
  bool whole_ = true;  // every document could be read
};

Place Loader::place_of(const toml::source_region& region) const {
  Place place;
  place.document = documents_.size() - 1;
  place.line = region.begin.line;
  place.column = region.begin.column;
  if (region.end.line != region.begin.line) {
    place.width = UINT32_MAX;  // to the end of the line; rendering cuts it there
  } else if (region.end.column > region.begin.column) {
    place.width = region.end.column - region.begin.column;
  }
  return place;
}

void Loader::report(const Place& place, ValueProblem problem) {
  const Document& document = documents_[place.document];
  ConfigProblem shown;
  shown.code = problem_rows()[static_cast<size_t>(problem.code)].name;
  shown.file = document.name;
  shown.line = place.line;
  shown.column = place.column;
  shown.width = place.width;
  if (place.line != 0 && place.line <= document.lines.size()) {
    shown.text_line = document.lines[place.line - 1];
  }
  shown.message = std::move(problem.message);
  shown.label = std::move(problem.label);
  shown.help = std::move(problem.help);
  problems_.emplace_back(place, std::move(shown));
}

void Loader::add_unreadable(std::string name, const FileProblem& problem) {
  whole_ = false;
  documents_.push_back({std::move(name), {}});
  report({documents_.size() - 1, 0, 0, 1},
         {ProblemCode::kUnreadable, problem.message, "", problem.help});
}

void Loader::add(std::string name, std::string_view text) {
  documents_.push_back({std::move(name), split_lines(text)});
  toml::parse_result parsed = toml::parse(text);
  if (parsed.failed()) {
    whole_ = false;
    const toml::parse_error& error = parsed.error();
    const std::string said(error.description());
    const bool twice = said.find("redefine") != std::string::npos;
    report(place_of(error.source()),
           {ProblemCode::kSyntax, said, "",
            twice ? "an option or table may stand only once in a file"
                  : "see kvtier.toml(5); 'kvtier config default' prints a complete example"});
    return;
  }
  trees_.push_back(std::move(parsed).table());
  read_root(trees_.back());
}

ValueProblem unknown_name(std::string_view kind, std::string_view name, std::string_view where,
                          std::span<const std::string_view> candidates) {
  std::string message = "unknown " + std::string(kind) + " '" + std::string(name) + "'";
  if (!where.empty()) message += " in " + std::string(where);
  const std::string_view nearest = nearest_name(name, candidates);
  if (!nearest.empty()) {
    return {ProblemCode::kUnknownName, message, "", "did you mean '" + std::string(nearest) + "'?"};
  }
  // The right option in the wrong table.
  for (const OptionRow& row : option_rows()) {
    if (kind != "option" || row.name.substr(row.name.find('.') + 1) != name) continue;
    return {ProblemCode::kUnknownName, message, "",
            "there is '" + std::string(row.name) + "', in another table"};
  }
  std::string help = "known are:";
  for (const std::string_view candidate : candidates) help += " " + std::string(candidate);
  return {ProblemCode::kUnknownName, message, "", help};
}

// The names of the options of a table, without the table.
std::vector<std::string_view> names_in(std::span<const OptionRow> rows, std::string_view table) {
  std::vector<std::string_view> names;
  for (const OptionRow& row : rows) {
    if (table.empty()) {
      names.push_back(row.name);
    } else if (row.name.starts_with(table) && row.name[table.size()] == '.') {
      names.push_back(row.name.substr(table.size() + 1));
    }
  }
  return names;
}

void Loader::read_root(const toml::table& root) {
  std::vector<std::string_view> tables = {"tenant", "space"};
  for (const TableRow& row : table_rows()) tables.push_back(row.name);
  for (auto&& [key, node] : root) {
    if (key.str() == "tenant" || key.str() == "space") {
      collect_entries(key, node);
    } else if (std::find(tables.begin(), tables.end(), key.str()) != tables.end()) {
      read_table(key, node);
    } else {
      const bool is_table = node.is_table() || node.is_array_of_tables();
      ValueProblem problem = unknown_name(is_table ? "table" : "option", key.str(),
                                          is_table ? "" : "the file, outside of any table", tables);
      report(place_of(key.source()), std::move(problem));
    }
  }
}

void Loader::read_table(const toml::key& key, const toml::node& node) {
  const std::string table(key.str());
  if (!node.is_table()) {
    report(place_of(key.source()),
           {ProblemCode::kWrongType, "'" + table + "' is a table of options", "",
            "write [" + table + "] once, and its options below it"});
    return;
  }
  for (auto&& [option, value] : *node.as_table()) {
    const std::string name = table + "." + std::string(option.str());
    if (const OptionRow* row = find_option(option_rows(), name)) {
      read_option(*row, name, value, &config_);
    } else {
      const auto names = names_in(option_rows(), table);
      report(place_of(option.source()),
             unknown_name("option", option.str(), "[" + table + "]", names));
    }
  }
}

void Loader::read_option(const OptionRow& row, const std::string& name, const toml::node& node,
                         void* to) {
  const Place place = place_of(node.source());
  origins_[name] = place;
  if (std::optional<ValueProblem> problem = set_option(row, raw_value(node), to)) {
    failed_.insert(name);
    report(place, *std::move(problem));
  }
}

void Loader::collect_entries(const toml::key& key, const toml::node& node) {
  const toml::array* list = node.as_array();
  const bool right = list != nullptr && node.is_array_of_tables();
  if (!right) {
    const std::string name(key.str());
    report(place_of(key.source()), {ProblemCode::kWrongType, "'" + name + "' is a list of entries",
                                    "", "write [[" + name + "]], with two brackets, before each"});
    return;
  }
  for (const toml::node& item : *list) {
    (key.str() == "tenant" ? tenants_ : spaces_)
        .push_back({item.as_table(), place_of(item.source())});
  }
}

// The options of one entry, of which that in `name` is required; it is the first row's.
void Loader::read_fields(const Entry& entry, std::string_view list, std::span<const OptionRow> rows,
                         const std::string& prefix, const std::string* name, void* to) {
  const std::string shown = "[[" + std::string(list) + "]]";
  const std::string required(rows[0].name);
  origins_[prefix] = entry.place;
  const std::vector<std::string_view> names = names_in(rows, "");
  for (auto&& [key, node] : *entry.table) {
    if (const OptionRow* row = find_option(rows, key.str())) {
      read_option(*row, prefix + "." + std::string(key.str()), node, to);
    } else {
      failed_.insert(prefix);  // what seems to be missing may be what was misspelt
      report(place_of(key.source()), unknown_name("option", key.str(), shown, names));
    }
  }
  if (name->empty() && !failed_.contains(prefix + "." + required)) {
    report(entry.place, {ProblemCode::kMissing, "this " + shown + " has no " + required, "",
                         "add " + required + " = \"...\""});
  }
}

void Loader::read_tenant(const Entry& entry) {
  TenantConfig tenant;
  tenant.host_share_ppm = config_.tenants.host_share_ppm;
  tenant.host_bytes_max = config_.tenants.host_bytes_max;
  tenant.sessions_max = config_.tenants.sessions_max;
  tenant.spaces_max = config_.tenants.spaces_max;
  read_fields(entry, "tenant", tenant_rows(),
              "tenant[" + std::to_string(config_.tenant.size()) + "]", &tenant.name, &tenant);
  config_.tenant.push_back(std::move(tenant));
}

void Loader::read_space(const Entry& entry) {
  SpaceConfig space;
  space.encode = config_.host.encode;
  space.nvme_encode = config_.nvme.encode;
  read_fields(entry, "space", space_rows(), "space[" + std::to_string(config_.space.size()) + "]",
              &space.model, &space);
  config_.space.push_back(std::move(space));
}

void Loader::read_entries(std::span<const Entry> entries, std::string_view list,
                          const auto& read_one) {
  for (size_t i = 0; i < entries.size() && i < kEntriesMax; ++i) read_one(entries[i]);
  if (entries.size() <= kEntriesMax) return;
  report(entries[kEntriesMax].place,
         {ProblemCode::kTooMany,
          "more than " + std::to_string(kEntriesMax) + " [[" + std::string(list) + "]] entries", "",
          "remove some"});
}

// Conflicts are shown where one of their options stands, and not on top of a value that was
// refused.
void Loader::check() {
  for (Conflict& conflict : check_config(config_)) {
    const bool known =
        std::none_of(conflict.names.begin(), conflict.names.end(),
                     [&](const std::string& name) { return failed_.contains(name); });
    if (!known) continue;
    Place place = {0, 0, 0, 1};
    for (const std::string& name : conflict.names) {
      const auto origin = origins_.find(name);
      if (origin == origins_.end()) continue;
      place = origin->second;
      break;
    }
    report(place, {conflict.code, std::move(conflict.message), std::move(conflict.label),
                   std::move(conflict.help)});
  }
}

ConfigOutcome Loader::finish() {
  read_entries(tenants_, "tenant", [this](const Entry& entry) { read_tenant(entry); });
  read_entries(spaces_, "space", [this](const Entry& entry) { read_space(entry); });
  if (whole_) check();
  std::stable_sort(problems_.begin(), problems_.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first.document, a.first.line, a.first.column) <
           std::tie(b.first.document, b.first.line, b.first.column);
  });
  ConfigOutcome outcome;
  for (auto& [place, problem] : problems_) {
    if (outcome.problems.size() == kProblemsMax) {
      ConfigProblem& last = outcome.problems.back();
      last.help = "and " + std::to_string(problems_.size() - kProblemsMax) + " more problems";
      break;
    }
    outcome.problems.push_back(std::move(problem));
  }
  outcome.config = std::move(config_);
  return outcome;
}

}  // namespace

ConfigOutcome load_config_file(const std::string& path) {
  Loader loader;
  const auto add = [&loader](const std::string& file) {
    FileText text = read_text_file(file, kConfigBytesMax);
    if (text.problem) {
      loader.add_unreadable(file, *text.problem);
    } else {
      loader.add(file, text.text);
    }
  };
  add(path);
  FolderFiles drop_ins = list_files(path + ".d", ".toml", kDropInsMax);
  if (drop_ins.problem) loader.add_unreadable(path + ".d", *drop_ins.problem);
  for (const std::string& file : drop_ins.paths) add(file);
  return loader.finish();
}

ConfigOutcome parse_config_text(std::string_view text, const std::string& name) {
  Loader loader;
  loader.add(name, text);
  return loader.finish();
}

}  // namespace kvtier::daemon
