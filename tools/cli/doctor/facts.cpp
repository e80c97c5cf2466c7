// Gathers what kvtier doctor judges; see facts.hpp.
#include "tools/cli/doctor/facts.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "daemon/config/load.hpp"
#include "daemon/config/options.hpp"
#include "tools/admin/admin_client.hpp"
#include "tools/cli/socket_path.hpp"

namespace kvtier::tools {
namespace {

constexpr const char* kSystemFile = "/etc/kvtier/kvtier.toml";
constexpr std::chrono::milliseconds kDaemonTimeout{3000};

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::optional<int64_t> read_number(const std::string& path) {
  std::istringstream text(read_file(path));
  int64_t number = 0;
  if (text >> number) return number;
  return {};
}

// "Name:   123 kB" lines.
uint64_t field_of(const std::string& text, const std::string& name, uint64_t unit) {
  const size_t at = ("\n" + text).find("\n" + name + ":");
  if (at == std::string::npos) return 0;
  return std::strtoull(text.c_str() + at + name.size() + 1, nullptr, 10) * unit;
}

// The soft limit, in /proc/PID/limits.
uint64_t limit_of(const std::string& limits, const std::string& name) {
  const size_t at = limits.find(name);
  if (at == std::string::npos) return 0;
  std::istringstream rest(limits.substr(at + name.size()));
  std::string soft;
  rest >> soft;
  return soft == "unlimited" ? kNoLimit : std::strtoull(soft.c_str(), nullptr, 10);
}

PathFacts look_at(const std::string& path) {
  PathFacts facts;
  facts.path = path;
  struct stat found;
  if (stat(path.c_str(), &found) != 0) return facts;
  facts.exists = true;
  facts.folder = S_ISDIR(found.st_mode);
  facts.socket = S_ISSOCK(found.st_mode);
  facts.uid = found.st_uid;
  facts.gid = found.st_gid;
  facts.mode = found.st_mode & 07777u;
  return facts;
}

struct Attached {
  int error = 0;
  pid_t daemon = 0;
};
Attached try_attach_socket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return {ENAMETOOLONG, 0};
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return {errno, 0};
  Attached result;
  ucred peer{};
  socklen_t bytes = sizeof peer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    result.error = errno;
  } else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0) {
    result.daemon = peer.pid;
  }
  close(fd);
  return result;
}

int try_memfd() {
  const int fd = memfd_create("kvtier-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return errno;
  int error = 0;
  if (ftruncate(fd, 4096) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    error = errno;
  }
  close(fd);
  return error;
}

int try_pidfd() {
  const auto fd = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
  if (fd < 0) return errno;
  close(fd);
  return 0;
}

void gather_machine(const std::string& root, Facts& facts) {
  const std::string memory = read_file(root + "proc/meminfo");
  facts.memory_total_bytes = field_of(memory, "MemTotal", 1024);
  facts.memory_available_bytes = field_of(memory, "MemAvailable", 1024);
  facts.swap_total_bytes = field_of(memory, "SwapTotal", 1024);
  const std::string pages = root + "sys/kernel/mm/hugepages/hugepages-2048kB/";
  facts.huge_pages_total = static_cast<uint64_t>(read_number(pages + "nr_hugepages").value_or(0));
  facts.huge_pages_free = static_cast<uint64_t>(read_number(pages + "free_hugepages").value_or(0));
  const std::string shmem = read_file(root + "sys/kernel/mm/transparent_hugepage/shmem_enabled");
  const size_t open = shmem.find('['), close = shmem.find(']');
  if (open < close && close != std::string::npos) {
    facts.shmem_huge = shmem.substr(open + 1, close - open - 1);
  }
  facts.io_uring_disabled = read_number(root + "proc/sys/kernel/io_uring_disabled");
  facts.overcommit_memory = read_number(root + "proc/sys/vm/overcommit_memory");
  facts.memfd_noexec = read_number(root + "proc/sys/vm/memfd_noexec");
  facts.memfd_error = try_memfd();
  facts.pidfd_error = try_pidfd();
  facts.io_uring_error = try_io_uring();
  __builtin_cpu_init();
  facts.cpu_baseline = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
  facts.cpu_avx2 = __builtin_cpu_supports("avx2");
}

void gather_process(const std::string& root, const std::string& pid, Facts& facts) {
  const std::string folder = root + "proc/" + pid + "/";
  const std::string limits = read_file(folder + "limits");
  facts.memlock_bytes = limit_of(limits, "Max locked memory");
  facts.open_files_max = limit_of(limits, "Max open files");
  const std::string status = read_file(folder + "status");
  const size_t at = status.find("CapEff:");
  constexpr unsigned kCapIpcLock = 14;
  if (at != std::string::npos) {
    const uint64_t capabilities = std::strtoull(status.c_str() + at + 7, nullptr, 16);
    facts.can_lock_any = (capabilities >> kCapIpcLock & 1) != 0;
  }
  const CgroupLimit limit = cgroup_memory_limit(root, read_file(folder + "cgroup"));
  facts.cgroup_memory_bytes = limit.bytes;
  facts.cgroup_path = limit.path;
}

// Where the tier lies: as configured, or as a running daemon tells of its devices.
void gather_disks(const daemon::Config& config, const std::string& root, Facts& facts) {
  if (config.nvme.capacity_bytes == 0) return;
  std::vector<std::string> paths = config.nvme.paths;
  if (paths.empty() && facts.status) {
    for (const Json& tier : list_of(*facts.status, "tiers")) {
      for (const Json& device : list_of(tier, "devices")) {
        std::string path = text_of(device, "name");
        if (path.ends_with("/slab")) path.resize(path.size() - 5);
        paths.push_back(std::move(path));
      }
    }
  }
  for (const std::string& path : paths) {
    facts.disks.push_back(look_at_disk(path, config.nvme.capacity_bytes, root));
  }
}

// Whether the daemon's service has a descriptor store, as the daemon itself finds out.
std::optional<bool> manager_keeps(const std::string& environment) {
  if (environment.empty()) return {};
  const std::string text = std::string(1, '\0') + environment + std::string(1, '\0');
  const auto has = [&text](const std::string& word) {
    return text.find(std::string(1, '\0') + word) != std::string::npos;
  };
  if (!has("NOTIFY_SOCKET=")) return false;
  return (has("FDSTORE=") && !has("FDSTORE=0")) ||
         has(std::string("KVTIER_KEEP=service-manager") + '\0');
}

void gather_config(const CommandContext& context, const std::string& root, Facts& facts) {
  daemon::Config config;
  if (!facts.status && look_at(kSystemFile).exists) {
    daemon::ConfigOutcome loaded = daemon::load_config_file(kSystemFile);
    if (loaded.ok()) config = loaded.config;
  }
  if (facts.status) {
    const std::optional<Json> shown = ask_quietly(context, "/v1/config", kDaemonTimeout);
    if (shown) {
      daemon::ConfigOutcome parsed = daemon::parse_config_text(text_of(*shown, "toml"), "config");
      if (parsed.ok()) config = parsed.config;
    }
  }
  const auto word = [&config](const char* name) {
    const daemon::OptionRow* row = daemon::find_option(daemon::option_rows(), name);
    return row == nullptr ? std::string("auto") : daemon::option_text(*row, &config);
  };
  facts.huge_pages_wanted = word("host.huge_pages");
  facts.lock_wanted = word("host.lock");
  facts.capacity_bytes = config.host.capacity_bytes;
  facts.keep_wanted = word("daemon.keep");
  facts.nvme_capacity_bytes = config.nvme.capacity_bytes;
  gather_disks(config, root, facts);
  if (!facts.status) return;
  for (const Json& tier : list_of(*facts.status, "tiers")) {
    if (text_of(tier, "name") == "host") facts.capacity_bytes = count_of(tier, "capacity_bytes");
  }
}

void gather_daemon(const CommandContext& context, const std::string& root, Facts& facts) {
  const auto reply = ask_admin(
      {.socket = facts.admin_socket.path, .target = "/v1/status", .timeout = kDaemonTimeout});
  if (!reply) {
    facts.daemon_error = reply.error().message();
  } else {
    Json json = Json::parse(reply->body, nullptr, false);
    if (reply->status == 200 && json.is_object()) {
      facts.status = std::move(json);
    } else {
      const bool told = json.is_object() && json.contains("error");
      facts.daemon_error =
          told ? text_of(json["error"], "message") : "HTTP status " + std::to_string(reply->status);
    }
  }
  gather_config(context, root, facts);
}

std::optional<gid_t> number_of_group(const char* name) {
  const group* found = getgrnam(name);
  return found == nullptr ? std::nullopt : std::optional<gid_t>(found->gr_gid);
}

}  // namespace

CgroupLimit cgroup_memory_limit(const std::string& root, const std::string& cgroup_text) {
  CgroupLimit limit;
  const auto walk = [&](const std::string& mount, std::string group, const char* file) {
    for (;;) {
      const std::string path = root + mount + group + (group.ends_with("/") ? "" : "/") + file;
      std::istringstream text(read_file(path));
      uint64_t bytes = 0;
      // "max", or for version 1 a number near 2^63, is no limit.
      if (text >> bytes && bytes < limit.bytes && bytes < (uint64_t{1} << 62)) {
        limit = {bytes, path};
      }
      if (group.size() <= 1) return;
      group.resize(std::max<size_t>(group.rfind('/'), 1));
    }
  };
  std::istringstream lines(cgroup_text);
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string group = line.substr(second + 1);
    if (controllers == ",,") walk("sys/fs/cgroup", group, "memory.max");
    if (controllers.find(",memory,") != std::string::npos) {
      walk("sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
    }
  }
  return limit;
}

Facts gather_facts(const CommandContext& context, const std::string& root) {
  Facts facts;
  facts.uid = geteuid();
  gather_machine(root, facts);
  facts.socket = look_at(context.socket);
  facts.socket_folder = look_at(folder_of(context.socket));
  facts.admin_socket = look_at(admin_socket_beside(context.socket));
  facts.holder_socket = look_at(context.socket + ".keep");
  facts.admin_group = number_of_group("kvtier");
  const Attached attached = try_attach_socket(context.socket);
  facts.attach_error = attached.error;
  gather_daemon(context, root, facts);
  facts.daemon_pid = attached.daemon;
  const std::string limits =
      attached.daemon > 0 ? root + "proc/" + std::to_string(attached.daemon) + "/limits" : "";
  facts.of_daemon = !limits.empty() && !read_file(limits).empty();
  if (facts.of_daemon) {
    facts.manager_keeps =
        manager_keeps(read_file(root + "proc/" + std::to_string(attached.daemon) + "/environ"));
  }
  gather_process(root, facts.of_daemon ? std::to_string(attached.daemon) : "self", facts);
  return facts;
}

}  // namespace kvtier::tools
