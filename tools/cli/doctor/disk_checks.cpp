// See disk_checks.hpp.
#include "tools/cli/doctor/disk_checks.hpp"

#include <cerrno>
#include <cstring>

#include "tools/cli/output.hpp"

namespace kvtier::tools {
namespace {

// What keeps one disk from serving well; empty: nothing.
struct DiskJudgement {
  Verdict verdict = Verdict::kOk;
  std::string found, remedy;
  void say(Verdict how_bad, const std::string& what, const std::string& help) {
    verdict = std::max(verdict, how_bad);
    found += (found.empty() ? "" : ", ") + what;
    if (!help.empty()) remedy += (remedy.empty() ? "" : "\n") + help;
  }
};

std::string bytes(uint64_t count) {
  return show_bytes(static_cast<double>(count));
}

DiskJudgement judge_disk(const DiskFacts& disk) {
  DiskJudgement judged;
  if (disk.error == ENOENT && !disk.is_block_device) {
    judged.say(Verdict::kDegraded, "does not exist: no chunk lies there",
               "mount the disk there or make the folder (kvtierd does not), for the daemon's user");
    return judged;
  }
  if (disk.error != 0) {
    judged.say(Verdict::kDegraded, std::strerror(disk.error),
               "nvme.paths names " + disk.path + ": make it readable for the daemon's user");
    return judged;
  }
  if (disk.tried_direct && disk.direct_error != 0) {
    judged.say(Verdict::kDegraded,
               std::string("direct I/O does not work there: ") + std::strerror(disk.direct_error),
               "put " + disk.path + " on ext4 or XFS on a disk");
  }
  if (disk.file_system == "tmpfs" || disk.file_system == "ramfs") {
    judged.say(Verdict::kDegraded, disk.file_system + " is memory, not a disk",
               "give that memory to host.capacity");
  }
  const uint64_t needed =
      disk.capacity_bytes > disk.slab_bytes ? disk.capacity_bytes - disk.slab_bytes : 0;
  const uint64_t room = disk.available_bytes;
  if (disk.is_block_device ? room != 0 && room < disk.capacity_bytes : room < needed) {
    judged.say(Verdict::kDegraded,
               "has " + bytes(room) + ", needs " +
                   bytes(disk.is_block_device ? disk.capacity_bytes : needed),
               "set nvme.capacity lower, or make room");
  }
  if (disk.is_rotational.value_or(false)) {
    judged.say(Verdict::kNote, "says that it rotates",
               "chunks on a disk that seeks are hardly faster than recomputing them");
  }
  if (disk.updates_access) {
    judged.say(Verdict::kNote, "mounted with strict access times",
               "mount with noatime: each read costs a write there");
  }
  if (judged.found.empty()) {
    judged.found = disk.is_block_device       ? "block device"
                   : disk.file_system.empty() ? "folder"
                                              : disk.file_system;
    judged.found += disk.tried_direct ? ", direct I/O works" : "";
    judged.found += disk.is_block_device ? "" : ", " + bytes(room) + " available";
  }
  return judged;
}

}  // namespace

Finding judge_io_uring(const Facts& facts) {
  const bool needed = facts.nvme_capacity_bytes != 0;
  const int64_t mode = facts.io_uring_disabled.value_or(0);
  if (facts.io_uring_error == 0) {
    if (mode == 0) return {Verdict::kOk, "works", {}};
    // 1: for members of a group only. Whoever asks may be one, the daemon's user perhaps not.
    return {needed ? Verdict::kNote : Verdict::kOk,
            "works here; kernel.io_uring_disabled is " + std::to_string(mode),
            needed
                ? "sysctl kernel.io_uring_disabled=0, or put the daemon's user into the group of "
                  "kernel.io_uring_group"
                : ""};
  }
  const std::string found =
      std::string("an io_uring cannot be made: ") + std::strerror(facts.io_uring_error) +
      (mode == 0 ? "" : "; kernel.io_uring_disabled is " + std::to_string(mode));
  const std::string remedy =
      mode == 0 ? "a container or sandbox forbids io_uring_setup: allow it (seccomp profile)"
                : "sysctl kernel.io_uring_disabled=0";
  return {needed ? Verdict::kDegraded : Verdict::kNote,
          found + (needed ? ": the nvme tier does not work without" : "; an nvme tier needs it"),
          remedy};
}

Finding judge_disks(const Facts& facts) {
  if (facts.nvme_capacity_bytes == 0) {
    return {Verdict::kOk, "no nvme tier is configured (nvme.capacity)", {}};
  }
  Finding all;
  for (const DiskFacts& disk : facts.disks) {
    const DiskJudgement judged = judge_disk(disk);
    all.verdict = std::max(all.verdict, judged.verdict);
    all.found += (all.found.empty() ? "" : "; ") + disk.path + ": " + judged.found;
    if (judged.remedy.empty()) continue;
    all.remedy += (all.remedy.empty() ? "" : "\n") + judged.remedy;
  }
  if (facts.disks.empty()) {
    return {Verdict::kNote, "where the nvme tier lies is known to the running daemon only", {}};
  }
  return all;
}

Finding judge_keeper(const Facts& facts) {
  if (facts.keep_wanted == "off") {
    return {Verdict::kNote, "daemon.keep is off: every restart loses host memory",
            "daemon.keep = \"auto\""};
  }
  if (facts.keep_wanted != "holder" && facts.manager_keeps.value_or(false)) {
    return {Verdict::kOk, "the service manager keeps host memory over a restart", {}};
  }
  if (facts.keep_wanted == "service-manager" && facts.manager_keeps) {
    return {Verdict::kDegraded,
            "daemon.keep is service-manager, and the daemon's service has no descriptor store",
            "FileDescriptorStoreMax=4096 and Environment=KVTIER_KEEP=service-manager in the unit, "
            "or daemon.keep = \"auto\""};
  }
  if (!facts.status) return {Verdict::kOk, "daemon.keep is " + facts.keep_wanted, {}};
  const auto keeper = facts.status->find("keeper");
  if (keeper != facts.status->end() && !text_of(*keeper, "trouble").empty()) {
    return {Verdict::kDegraded, text_of(*keeper, "trouble"),
            "restart the daemon when the loss of host memory suits"};
  }
  if (facts.holder_socket.exists) {
    return {Verdict::kOk, "a holder keeps host memory over a restart", {}};
  }
  if (!facts.manager_keeps && facts.keep_wanted != "holder") {
    return {Verdict::kOk,
            "daemon.keep is " + facts.keep_wanted + "; who keeps it is for its own user to see",
            {}};
  }
  return {
      Verdict::kDegraded,
      "there is no holder at " + facts.holder_socket.path + ": the next restart loses host memory",
      "'kvtier events' says why (KV1022); restart the daemon"};
}

}  // namespace kvtier::tools
