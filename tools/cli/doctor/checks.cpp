// The rows of kvtier doctor; see checks.hpp.
#include "tools/cli/doctor/checks.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "kvtier/kvtier.hpp"
#include "tools/cli/doctor/disk_checks.hpp"
#include "tools/cli/output.hpp"

namespace kvtier::tools {
namespace {

constexpr uint64_t kHugePageBytes = 2u << 20;
// What the daemon needs besides the pool: index, program, sessions.
constexpr uint64_t kBesidesBytes = 64u << 20;
constexpr uint64_t kOpenFilesAdvised = 4096;

Finding ok(std::string found) {
  return {Verdict::kOk, std::move(found), {}};
}
Finding note(std::string found, std::string remedy = {}) {
  return {Verdict::kNote, std::move(found), std::move(remedy)};
}
Finding degraded(std::string found, std::string remedy) {
  return {Verdict::kDegraded, std::move(found), std::move(remedy)};
}

std::string bytes(uint64_t count) {
  return count == kNoLimit ? "unlimited" : show_bytes(static_cast<double>(count));
}
std::string octal(mode_t mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%04o", mode);
  return text;
}
std::string whose(const Facts& facts) {
  return facts.of_daemon ? "the daemon" : "a daemon started from here";
}
bool capacity_known(const Facts& facts) {
  return facts.capacity_bytes != kNoLimit;
}

Finding judge_daemon(const Facts& facts) {
  // Somebody listens: starting another one would not help.
  const bool listens = facts.attach_error == 0 || facts.attach_error == EAGAIN;
  if (!facts.status && listens && facts.admin_socket.exists) {
    return degraded("kvtierd does not answer (stopped?): " + facts.daemon_error,
                    facts.daemon_pid > 0
                        ? "look at process " + std::to_string(facts.daemon_pid) +
                              ": kill -CONT it if it is stopped; restart it if it stays so"
                        : "look at its log; restart it if it stays so");
  }
  if (!facts.status) {
    return degraded("no answer: " + facts.daemon_error,
                    "start it (run kvtierd); with another socket, give "
                    "--socket or $KVTIER_SOCKET");
  }
  const std::string health = text_of(*facts.status, "health");
  if (health == "good") return ok("answers, good");
  std::string problems;
  for (const Json& problem : list_of(*facts.status, "problems")) {
    if (problem.is_string())
      problems += (problems.empty() ? "" : "\n") + problem.get<std::string>();
  }
  return degraded(health, problems.empty() ? "kvtier status says more" : problems);
}

Finding judge_version(const Facts& facts) {
  const std::string own = std::string(version()) + ", protocol " +
                          std::to_string(protocol_version_min()) + " to " +
                          std::to_string(protocol_version_max());
  if (!facts.status) return ok("this program is " + own);
  const uint64_t low = count_of(*facts.status, "protocol_min");
  const uint64_t high = count_of(*facts.status, "protocol_max");
  const std::string daemon = text_of(*facts.status, "version");
  if (low > protocol_version_max() || high < protocol_version_min()) {
    return degraded("the daemon is " + daemon + " with protocol " + std::to_string(low) + " to " +
                        std::to_string(high) + ", this is " + own,
                    "install the same version of libkvtier and kvtierd");
  }
  if (daemon != version()) {
    return note("the daemon is " + daemon + ", this is " + own + "; their protocols fit");
  }
  return ok(own);
}

Finding judge_attach(const Facts& facts) {
  const std::string& path = facts.socket.path;
  switch (facts.attach_error) {
    case 0:
      return ok(path);
    case ENOENT:
      return degraded("there is no " + path, "start kvtierd, or name its socket with --socket");
    case ECONNREFUSED:
      return degraded("nobody answers at " + path, "start kvtierd: it replaces this left-over");
    case EACCES:
    case EPERM:
      return degraded("you may not open " + path + " (mode " + octal(facts.socket.mode) + ", uid " +
                          std::to_string(facts.socket.uid) + ", gid " +
                          std::to_string(facts.socket.gid) + ")",
                      "join that group, or set daemon.socket_group and daemon.socket_mode");
    case EAGAIN:
      return degraded(path + " does not accept connections",
                      "the daemon is stopped or stuck: look at its log, restart it");
    default:
      return degraded(path + ": " + std::strerror(facts.attach_error), "look at the daemon's log");
  }
}

Finding judge_socket_folder(const Facts& facts) {
  const PathFacts& folder = facts.socket_folder;
  if (!folder.exists) return note(folder.path + " does not exist; the daemon makes it");
  if (!folder.folder) return degraded(folder.path + " is not a folder", "remove it");
  const bool shared = (folder.mode & 0022) != 0 && (folder.mode & 01000) == 0;
  if (shared) {
    return degraded("others may write into " + folder.path + " (mode " + octal(folder.mode) + ")",
                    "chmod go-w " + folder.path);
  }
  if (folder.uid != 0 && folder.uid != facts.uid && folder.uid != facts.socket.uid) {
    return degraded(folder.path + " belongs to uid " + std::to_string(folder.uid),
                    "name a folder of root's or of your own with --socket");
  }
  return ok(folder.path + ", mode " + octal(folder.mode));
}

Finding judge_admin_socket(const Facts& facts) {
  const PathFacts& socket = facts.admin_socket;
  if (!socket.exists) {
    return facts.attach_error == 0
               ? degraded("there is no " + socket.path,
                          "daemon.admin_socket may name another place; look at the daemon's log")
               : note("there is no " + socket.path);
  }
  if (!socket.socket) return degraded(socket.path + " is not a socket", "remove it");
  if ((socket.mode & 0007) != 0) {
    return degraded("everybody may open " + socket.path + " (mode " + octal(socket.mode) + ")",
                    "chmod o-rwx " + socket.path + " (the daemon refuses strangers all the same)");
  }
  return ok(socket.path + ", mode " + octal(socket.mode));
}

Finding judge_group(const Facts& facts) {
  if (facts.admin_group)
    return ok("group kvtier may look (" + std::to_string(*facts.admin_group) + ")");
  return note("there is no group kvtier: only root and the daemon's user may look",
              "groupadd --system kvtier, then restart the daemon");
}

Finding judge_memlock(const Facts& facts) {
  const std::string limit = bytes(facts.memlock_bytes);
  if (facts.lock_wanted == "never") return ok("host.lock is never");
  if (facts.status) {
    double unlocked = 0;
    for (const Json& tier : list_of(*facts.status, "tiers")) {
      unlocked += number_of(tier, "unlocked_bytes");
    }
    if (unlocked > 0) {
      return degraded(show_bytes(unlocked) + " of the tiers are not locked (limit " + limit + ")",
                      "LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited before kvtierd");
    }
  }
  if (facts.can_lock_any || facts.memlock_bytes == kNoLimit) return ok("no limit");
  if (capacity_known(facts) && facts.memlock_bytes >= facts.capacity_bytes) return ok(limit);
  const std::string found =
      whose(facts) + " may lock " + limit + " of memory" +
      (capacity_known(facts) ? ", the host tier has " + bytes(facts.capacity_bytes)
                             : std::string());
  return degraded(found,
                  "LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited before "
                  "kvtierd; or host.lock = \"never\"");
}

Finding judge_huge_pages(const Facts& facts) {
  const std::string have = show_count(facts.huge_pages_total) + " huge pages of 2 MiB, " +
                           show_count(facts.huge_pages_free) + " free";
  if (facts.huge_pages_wanted == "never") return ok("host.huge_pages is never");
  const uint64_t pages =
      capacity_known(facts) ? (facts.capacity_bytes + kHugePageBytes - 1) / kHugePageBytes : 1;
  const std::string remedy = "sysctl vm.nr_hugepages=" + std::to_string(pages + pages / 50 + 16) +
                             " (or hugepages= at boot): look-ups and copies get faster";
  if (facts.status) {
    for (const Json& tier : list_of(*facts.status, "tiers")) {
      if (flag_of(tier, "huge_pages")) return ok("in use; " + have);
    }
  }
  if (facts.huge_pages_free >= pages) return ok(have);
  if (facts.huge_pages_wanted == "require") return degraded("required, but " + have, remedy);
  return note(have + "; 4 KiB pages are used", remedy);
}

Finding judge_memory(const Facts& facts) {
  if (!capacity_known(facts)) {
    return ok(bytes(facts.memory_available_bytes) + " available; the capacity follows it");
  }
  const std::string found = "the host tier may take " + bytes(facts.capacity_bytes) + " of " +
                            bytes(facts.memory_total_bytes);
  if (facts.capacity_bytes + kBesidesBytes > facts.memory_total_bytes) {
    return degraded(found, "set host.capacity lower");
  }
  return ok(found + ", " + bytes(facts.memory_available_bytes) + " available now");
}

Finding judge_cgroup(const Facts& facts) {
  if (facts.cgroup_memory_bytes == kNoLimit) return ok("no limit");
  const std::string found = bytes(facts.cgroup_memory_bytes) + " in " + facts.cgroup_path;
  if (capacity_known(facts) && facts.capacity_bytes + kBesidesBytes > facts.cgroup_memory_bytes) {
    return degraded(found + ", the host tier may take " + bytes(facts.capacity_bytes),
                    "raise the limit (MemoryMax= in the unit), or set host.capacity lower: else "
                    "the daemon is killed when it fills");
  }
  return ok(found);
}

Finding judge_swap(const Facts& facts) {
  if (facts.swap_total_bytes == 0) return ok("none");
  if (facts.lock_wanted == "never") {
    return note(bytes(facts.swap_total_bytes) +
                " of swap, and host.lock is never: chunks may be "
                "swapped out");
  }
  return ok(bytes(facts.swap_total_bytes) + "; the tier is locked");
}

Finding judge_memfd(const Facts& facts) {
  if (facts.memfd_error == 0) return ok("sealed memfds work");
  const bool refused = facts.memfd_noexec.value_or(0) == 2;
  return degraded(std::string("a sealed memfd cannot be made: ") + std::strerror(facts.memfd_error),
                  refused ? "sysctl vm.memfd_noexec=1"
                          : "a sandbox or container forbids memfd_create: allow it");
}

Finding judge_pidfd(const Facts& facts) {
  if (facts.pidfd_error == 0) return ok("pidfds work");
  return degraded(std::string("pidfd_open does not work: ") + std::strerror(facts.pidfd_error),
                  "Linux 5.3 or later is needed, and a container must allow pidfd_open");
}

Finding judge_overcommit(const Facts& facts) {
  const int64_t mode = facts.overcommit_memory.value_or(0);
  if (mode != 2) return ok("vm.overcommit_memory is " + std::to_string(mode));
  return note("vm.overcommit_memory is 2: segments may fail to be made though memory is free",
              "sysctl vm.overcommit_memory=0, or leave room in vm.overcommit_ratio");
}

Finding judge_open_files(const Facts& facts) {
  const std::string found =
      whose(facts) + " may open " +
      (facts.open_files_max == kNoLimit ? "any number of" : show_count(facts.open_files_max)) +
      " files";
  if (facts.open_files_max >= kOpenFilesAdvised) return ok(found);
  return facts.of_daemon
             ? degraded(found, "LimitNOFILE=65536 in the unit: each client needs several")
             : note(found + "; it raises the limit as far as it may");
}

Finding judge_cpu(const Facts& facts) {
  if (!facts.cpu_baseline) {
    return degraded("this processor lacks SSE4.2 or POPCNT", "x86-64-v2 is needed");
  }
  if (!facts.cpu_avx2) return note("no AVX2: copies and checksums are slower");
  return ok("x86-64-v2 and AVX2");
}

constexpr std::array kRows = {
    CheckRow{"daemon", judge_daemon},
    CheckRow{"version", judge_version},
    CheckRow{"attach_socket", judge_attach},
    CheckRow{"socket_folder", judge_socket_folder},
    CheckRow{"admin_socket", judge_admin_socket},
    CheckRow{"admin_group", judge_group},
    CheckRow{"memlock", judge_memlock},
    CheckRow{"huge_pages", judge_huge_pages},
    CheckRow{"memory", judge_memory},
    CheckRow{"cgroup_memory", judge_cgroup},
    CheckRow{"swap", judge_swap},
    CheckRow{"memfd", judge_memfd},
    CheckRow{"pidfd", judge_pidfd},
    CheckRow{"overcommit", judge_overcommit},
    CheckRow{"open_files", judge_open_files},
    CheckRow{"io_uring", judge_io_uring},
    CheckRow{"disks", judge_disks},
    CheckRow{"keeper", judge_keeper},
    CheckRow{"cpu", judge_cpu},
};

}  // namespace

const char* verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kNote:
      return "note";
    case Verdict::kDegraded:
      return "degraded";
  }
  return "unknown";
}

std::span<const CheckRow> check_rows() {
  return kRows;
}

}  // namespace kvtier::tools
