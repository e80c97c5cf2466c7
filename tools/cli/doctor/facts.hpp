// What kvtier doctor looks at: facts of the machine, of the daemon and of their sockets, gathered
// first and judged later. Reading only. One thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/cli/daemon_link.hpp"
#include "tools/cli/doctor/disk_facts.hpp"

namespace kvtier::tools {

struct PathFacts {
  std::string path;
  bool exists = false;
  bool folder = false;
  bool socket = false;
  uid_t uid = 0;
  gid_t gid = 0;
  mode_t mode = 0;  // permission bits
};

inline constexpr uint64_t kNoLimit = UINT64_MAX;

struct Facts {
  uid_t uid = 0;
  // Of the process that serves or would serve: the daemon's if it answers, else this one's.
  bool of_daemon = false;
  pid_t daemon_pid = 0;  // 0: not known
  uint64_t memlock_bytes = 0;
  uint64_t open_files_max = 0;
  uint64_t cgroup_memory_bytes = kNoLimit;  // the smallest limit on its way to the root
  std::string cgroup_path;                  // where that limit is set
  bool can_lock_any = false;                // CAP_IPC_LOCK

  uint64_t memory_total_bytes = 0;
  uint64_t memory_available_bytes = 0;
  uint64_t swap_total_bytes = 0;
  uint64_t huge_pages_free = 0;  // of 2 MiB
  uint64_t huge_pages_total = 0;
  std::string shmem_huge;  // "[never]": the bracketed word of shmem_enabled
  std::optional<int64_t> io_uring_disabled;
  std::optional<int64_t> overcommit_memory;
  std::optional<int64_t> memfd_noexec;
  int memfd_error = 0;  // errno of making a sealed memfd here; 0: it works
  int pidfd_error = 0;
  bool cpu_baseline = true;  // x86-64-v2
  bool cpu_avx2 = false;

  PathFacts socket_folder, socket, admin_socket;
  std::optional<gid_t> admin_group;  // of the group kvtier
  int attach_error = 0;              // errno of connecting to the attach socket

  std::optional<Json> status;         // of the daemon
  std::string daemon_error;           // why there is none
  uint64_t capacity_bytes = 0;        // of the host tier: running, or by default; kNoLimit: "auto"
  int io_uring_error = 0;             // errno of making an io_uring here; 0: it works
  uint64_t nvme_capacity_bytes = 0;   // of each path; 0: there is no such tier
  std::vector<DiskFacts> disks;       // of nvme.paths
  std::string keep_wanted = "auto";   // daemon.keep
  std::optional<bool> manager_keeps;  // the daemon's environment says so; none: not readable
  PathFacts holder_socket;
  std::string huge_pages_wanted = "auto", lock_wanted = "auto";  // auto, never, require
};

// `root`: "/" but in tests.
Facts gather_facts(const CommandContext& context, const std::string& root = "/");

// Of /proc/PID/cgroup text: the smallest memory limit of all groups on the way up.
struct CgroupLimit {
  uint64_t bytes = kNoLimit;
  std::string path;
};
CgroupLimit cgroup_memory_limit(const std::string& root, const std::string& cgroup_text);

}  // namespace kvtier::tools
