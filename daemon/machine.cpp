// See machine.hpp.
#include "daemon/machine.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>

namespace kvtier::daemon {
namespace {

std::optional<uint64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  if (!(file >> text)) return std::nullopt;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;  // "max"
  return value;
}

uint64_t system_available(const std::string& root) {
  std::ifstream file(root + "/proc/meminfo");
  std::string name;
  uint64_t kib = 0;
  std::string rest;
  while (file >> name >> kib) {
    if (name == "MemAvailable:") return kib * 1024;
    std::getline(file, rest);
  }
  return 0;
}

struct GroupFiles {
  const char* folder;  // where the hierarchy is mounted
  const char* limit;
  const char* used;
  const char* reclaimable;  // a line of its memory.stat
};

// Pages of files that nobody used for long: the kernel takes them back before it ends a process.
uint64_t reclaimable_bytes(const std::string& folder, const char* name) {
  std::ifstream file(folder + "memory.stat");
  std::string found;
  for (uint64_t bytes = 0; file >> found >> bytes;) {
    if (found == name) return bytes;
  }
  return 0;
}

// What a group and all groups above it leave.
uint64_t left_by_groups(const std::string& root, std::string group, const GroupFiles& files) {
  uint64_t left = UINT64_MAX;
  for (;;) {
    const std::string folder = root + files.folder + group + "/";
    const auto limit = number_in(folder + files.limit);
    const auto used = number_in(folder + files.used);
    if (limit && used) {
      const uint64_t held = *used - std::min(*used, reclaimable_bytes(folder, files.reclaimable));
      left = std::min(left, *limit - std::min(held, *limit));
    }
    const size_t slash = group.rfind('/');
    if (slash == std::string::npos || group.empty()) return left;
    group.resize(slash);
  }
}

uint64_t groups_available(const std::string& root) {
  constexpr GroupFiles kUnified = {"/sys/fs/cgroup", "memory.max", "memory.current",
                                   "inactive_file"};
  constexpr GroupFiles kLegacy = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                  "memory.usage_in_bytes", "total_inactive_file"};
  uint64_t left = UINT64_MAX;
  std::ifstream file(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {  // number:controllers:/group
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1) == "/" ? "" : line.substr(second + 1);
    if (controllers.empty()) left = std::min(left, left_by_groups(root, group, kUnified));
    std::istringstream names(controllers);
    for (std::string name; std::getline(names, name, ',');) {
      if (name == "memory") left = std::min(left, left_by_groups(root, group, kLegacy));
    }
  }
  return left;
}

}  // namespace

uint64_t available_memory_bytes() {
  return available_memory_bytes("");
}

uint64_t available_memory_bytes(const std::string& root) {
  return std::min(system_available(root), groups_available(root));
}

uint64_t raise_open_files_limit() {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

}  // namespace kvtier::daemon
