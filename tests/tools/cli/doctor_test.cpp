// The judgements of kvtier doctor over made-up facts, and how limits of control groups are read.
#include "tools/cli/doctor/checks.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "kvtier/kvtier.hpp"

namespace kvtier::tools {
namespace {

constexpr uint64_t kGiB = 1ull << 30;

// A machine and a daemon with nothing to say against.
Facts good_facts() {
  Facts facts;
  facts.memlock_bytes = kNoLimit;
  facts.open_files_max = 65536;
  facts.memory_total_bytes = 64 * kGiB;
  facts.memory_available_bytes = 60 * kGiB;
  facts.capacity_bytes = 16 * kGiB;
  facts.huge_pages_total = facts.huge_pages_free = 9000;
  facts.cpu_avx2 = true;
  facts.socket_folder = {.path = "/run/kvtier", .exists = true, .folder = true, .mode = 0755};
  facts.socket = {.path = "/run/kvtier/kvtier.sock", .exists = true, .socket = true, .mode = 0660};
  facts.admin_socket = {
      .path = "/run/kvtier/admin.sock", .exists = true, .socket = true, .mode = 0660};
  facts.admin_group = 123;
  facts.manager_keeps = true;
  facts.nvme_capacity_bytes = 100 * kGiB;
  facts.disks = {{.path = "/mnt/nvme0",
                  .file_system = "ext4",
                  .is_rotational = false,
                  .has_slab = true,
                  .tried_direct = true,
                  .capacity_bytes = 100 * kGiB,
                  .slab_bytes = 100 * kGiB,
                  .available_bytes = kGiB}};
  facts.status = Json{{"version", version()},
                      {"protocol_min", protocol_version_min()},
                      {"protocol_max", protocol_version_max()},
                      {"health", "good"},
                      {"problems", Json::array()},
                      {"tiers", Json::array()}};
  return facts;
}

Finding judge(std::string_view name, const Facts& facts) {
  for (const CheckRow& row : check_rows()) {
    if (row.name == name) return row.judge(facts);
  }
  ADD_FAILURE() << "no check " << name;
  return {};
}

TEST(Doctor, AGoodMachineIsGoodInEveryRow) {
  std::set<std::string_view> names;
  for (const CheckRow& row : check_rows()) {
    EXPECT_TRUE(names.insert(row.name).second);
    const Finding finding = row.judge(good_facts());
    EXPECT_EQ(finding.verdict, Verdict::kOk) << row.name << ": " << finding.found;
  }
}

TEST(Doctor, AStoppedDaemonIsNotToBeStarted) {
  Facts facts = good_facts();
  facts.status.reset();
  facts.daemon_error = "the daemon did not answer in time";
  facts.daemon_pid = 4711;
  for (const int error : {0, EAGAIN}) {
    facts.attach_error = error;
    const Finding finding = judge("daemon", facts);
    EXPECT_EQ(finding.verdict, Verdict::kDegraded);
    EXPECT_NE(finding.found.find("does not answer (stopped?)"), std::string::npos) << finding.found;
    EXPECT_NE(finding.remedy.find("4711"), std::string::npos) << finding.remedy;
    EXPECT_EQ(finding.remedy.find("start it (run"), std::string::npos);
  }
  facts.attach_error = ENOENT;
  EXPECT_NE(judge("daemon", facts).remedy.find("run kvtierd"), std::string::npos);
}

struct Case {
  const char* check;
  Verdict verdict;
  void (*change)(Facts&);
};

class DoctorCase : public ::testing::TestWithParam<Case> {};

TEST_P(DoctorCase, IsFoundWithARemedy) {
  Facts facts = good_facts();
  GetParam().change(facts);
  const Finding finding = judge(GetParam().check, facts);
  EXPECT_EQ(finding.verdict, GetParam().verdict) << finding.found;
  EXPECT_FALSE(finding.found.empty());
  EXPECT_TRUE(finding.verdict != Verdict::kDegraded || !finding.remedy.empty());
}

constexpr Verdict kBad = Verdict::kDegraded;
INSTANTIATE_TEST_SUITE_P(
    Faults, DoctorCase,
    ::testing::Values(
        Case{"daemon", kBad, [](Facts& f) { f.status.reset(); }},
        Case{"daemon", kBad, [](Facts& f) { (*f.status)["health"] = "degraded"; }},
        Case{"version", kBad, [](Facts& f) { (*f.status)["protocol_min"] = 99u; }},
        Case{"version", Verdict::kNote, [](Facts& f) { (*f.status)["version"] = "9.9"; }},
        Case{"attach_socket", kBad, [](Facts& f) { f.attach_error = ENOENT; }},
        Case{"attach_socket", kBad, [](Facts& f) { f.attach_error = ECONNREFUSED; }},
        Case{"attach_socket", kBad, [](Facts& f) { f.attach_error = EACCES; }},
        Case{"attach_socket", kBad, [](Facts& f) { f.attach_error = EAGAIN; }},
        Case{"socket_folder", kBad, [](Facts& f) { f.socket_folder.mode = 0777; }},
        Case{"socket_folder", kBad, [](Facts& f) { f.socket_folder.uid = 4242; }},
        Case{"admin_socket", kBad, [](Facts& f) { f.admin_socket.mode = 0666; }},
        Case{"admin_socket", kBad, [](Facts& f) { f.admin_socket.exists = false; }},
        Case{"admin_group", Verdict::kNote, [](Facts& f) { f.admin_group.reset(); }},
        Case{"memlock", kBad, [](Facts& f) { f.memlock_bytes = 8 << 20; }},
        Case{"memlock", kBad,
             [](Facts& f) {
               (*f.status)["tiers"] = Json{{{"unlocked_bytes", 4096u}}};
             }},
        Case{"memlock", Verdict::kOk, [](Facts& f) { f.memlock_bytes = 0, f.can_lock_any = true; }},
        Case{"memlock", Verdict::kOk,
             [](Facts& f) { f.memlock_bytes = 0, f.lock_wanted = "never"; }},
        Case{"huge_pages", Verdict::kNote, [](Facts& f) { f.huge_pages_free = 0; }},
        Case{"huge_pages", kBad,
             [](Facts& f) { f.huge_pages_free = 0, f.huge_pages_wanted = "require"; }},
        Case{"memory", kBad, [](Facts& f) { f.capacity_bytes = 65 * kGiB; }},
        Case{"cgroup_memory", kBad, [](Facts& f) { f.cgroup_memory_bytes = 16 * kGiB; }},
        Case{"cgroup_memory", Verdict::kOk, [](Facts& f) { f.cgroup_memory_bytes = 17 * kGiB; }},
        Case{"swap", Verdict::kNote,
             [](Facts& f) { f.swap_total_bytes = kGiB, f.lock_wanted = "never"; }},
        Case{"memfd", kBad, [](Facts& f) { f.memfd_error = EACCES, f.memfd_noexec = 2; }},
        Case{"pidfd", kBad, [](Facts& f) { f.pidfd_error = ENOSYS; }},
        Case{"overcommit", Verdict::kNote, [](Facts& f) { f.overcommit_memory = 2; }},
        Case{"open_files", kBad, [](Facts& f) { f.open_files_max = 256, f.of_daemon = true; }},
        Case{"io_uring", Verdict::kNote, [](Facts& f) { f.io_uring_disabled = 1; }},
        Case{"io_uring", kBad, [](Facts& f) { f.io_uring_error = EPERM; }},
        Case{"io_uring", Verdict::kNote,
             [](Facts& f) { f.io_uring_error = ENOSYS, f.nvme_capacity_bytes = 0; }},
        Case{"disks", kBad, [](Facts& f) { f.disks[0].direct_error = EINVAL; }},
        Case{"disks", kBad, [](Facts& f) { f.disks[0].error = EACCES; }},
        Case{"disks", kBad, [](Facts& f) { f.disks[0].slab_bytes = 98 * kGiB; }},
        Case{"disks", kBad, [](Facts& f) { f.disks[0].file_system = "tmpfs"; }},
        Case{"disks", kBad,
             [](Facts& f) { f.disks[0].is_block_device = true, f.disks[0].slab_bytes = 0; }},
        Case{"disks", Verdict::kNote, [](Facts& f) { f.disks[0].is_rotational = true; }},
        Case{"disks", Verdict::kNote, [](Facts& f) { f.disks[0].updates_access = true; }},
        Case{"disks", kBad, [](Facts& f) { f.disks[0].error = ENOENT; }},
        Case{"keeper", Verdict::kNote, [](Facts& f) { f.keep_wanted = "off"; }},
        Case{"keeper", kBad, [](Facts& f) { f.manager_keeps = false; }},
        Case{"keeper", kBad,
             [](Facts& f) {  // its socket is still there
               f.manager_keeps = false, f.holder_socket.exists = true;
               (*f.status)["keeper"] = Json{{"kind", "holder"}, {"trouble", "it has ended"}};
             }},
        Case{"keeper", kBad,
             [](Facts& f) {
               f.keep_wanted = "service-manager", f.manager_keeps = false;
               f.holder_socket.exists = true;
             }},
        Case{"cpu", kBad, [](Facts& f) { f.cpu_baseline = false; }},
        Case{"cpu", Verdict::kNote, [](Facts& f) { f.cpu_avx2 = false; }}));

class CgroupTree : public ::testing::Test {
 protected:
  CgroupTree() {
    char name[] = "/tmp/kvtier-cgroup-test-XXXXXX";
    root = std::string(mkdtemp(name)) + "/";
  }
  ~CgroupTree() override { std::filesystem::remove_all(root); }
  void put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root + path).parent_path());
    std::ofstream(root + path) << text;
  }
  std::string root;
};

TEST_F(CgroupTree, TheSmallestLimitOnTheWayUpCounts) {
  put("sys/fs/cgroup/a/memory.max", "1000\n");
  put("sys/fs/cgroup/a/b/memory.max", "max\n");
  put("sys/fs/cgroup/a/b/c/memory.max", "5000\n");
  const CgroupLimit limit = cgroup_memory_limit(root, "0::/a/b/c\n");
  EXPECT_EQ(limit.bytes, 1000u);
  EXPECT_EQ(limit.path, root + "sys/fs/cgroup/a/memory.max");
}

TEST_F(CgroupTree, VersionOneIsReadTooAndItsHugeNumberIsNoLimit) {
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(cgroup_memory_limit(root, "7:cpu,memory:/x\n").bytes, kNoLimit);
  put("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "4096\n");
  EXPECT_EQ(cgroup_memory_limit(root, "7:cpu,memory:/x\n0::/x\n").bytes, 4096u);
}

// As a link of /sys shows where a disk hangs.
TEST_F(CgroupTree, AVirtualDiskIsNotSaidToRotate) {
  struct stat found = {};
  ASSERT_EQ(::stat(root.c_str(), &found), 0);
  const std::string number =
      std::to_string(major(found.st_dev)) + ":" + std::to_string(minor(found.st_dev));
  std::filesystem::create_directories(root + "sys/dev/block");
  const auto rotates = [&](const std::string& place) {
    put(place + "/queue/rotational", "1\n");
    std::filesystem::remove(root + "sys/dev/block/" + number);
    std::filesystem::create_directory_symlink(root + place, root + "sys/dev/block/" + number);
    return look_at_disk(root, kGiB, root).is_rotational;
  };
  EXPECT_EQ(rotates("sys/devices/pci0000:00/ata1/block/sda"), true);
  EXPECT_EQ(rotates("sys/devices/pci0000:00/virtio1/block/vda"), std::nullopt);
  EXPECT_EQ(rotates("sys/devices/vbd-768/block/xvda"), std::nullopt);
}

TEST_F(CgroupTree, NothingIsNoLimit) {
  EXPECT_EQ(cgroup_memory_limit(root, "").bytes, kNoLimit);
  EXPECT_EQ(cgroup_memory_limit(root, "garbage\n0::\n").bytes, kNoLimit);
}

TEST(Facts, OfThisMachineAreGathered) {
  std::ostringstream out, err;
  CommandContext context{.out = out, .err = err};
  context.socket = "/nonexistent/kvtier.sock";
  const Facts facts = gather_facts(context);
  EXPECT_GT(facts.memory_total_bytes, 1u << 20);
  EXPECT_GT(facts.open_files_max, 0u);
  EXPECT_EQ(facts.memfd_error, 0);
  EXPECT_EQ(facts.attach_error, ENOENT);
  EXPECT_FALSE(facts.status.has_value());
  EXPECT_FALSE(facts.daemon_error.empty());
}

TEST(Doctor, AHolderIsAKeeper) {
  Facts facts = good_facts();
  facts.manager_keeps = false;
  facts.holder_socket.exists = true;
  EXPECT_EQ(judge("keeper", facts).verdict, Verdict::kOk);
}

TEST(Doctor, TheWorstDiskIsTheVerdictAndEachIsNamed) {
  Facts facts = good_facts();
  facts.disks.push_back(facts.disks[0]);
  facts.disks[1].path = "/mnt/nvme1";
  facts.disks[1].direct_error = EINVAL;
  const Finding finding = judge("disks", facts);
  EXPECT_EQ(finding.verdict, Verdict::kDegraded);
  EXPECT_NE(finding.found.find("/mnt/nvme0: ext4"), std::string::npos) << finding.found;
  EXPECT_NE(finding.found.find("/mnt/nvme1: direct I/O"), std::string::npos) << finding.found;
}

TEST(Doctor, MountsAreFoundByTheirDevice) {
  const std::string mounts =
      "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
      "30 22 0:27 / /tmp rw,nosuid - tmpfs tmpfs rw\n"
      "31 22 259:3 / /mnt/a\\040b rw,noatime shared:9 master:1 - xfs /dev/nvme0n1p3 rw\n";
  ASSERT_TRUE(mount_of(mounts, "259:3"));
  EXPECT_EQ(mount_of(mounts, "259:3")->file_system, "xfs");
  EXPECT_EQ(mount_of(mounts, "259:3")->options, "rw,noatime");
  EXPECT_EQ(mount_of(mounts, "0:27")->file_system, "tmpfs");
  EXPECT_FALSE(mount_of(mounts, "9:9"));
}

TEST(Doctor, ADiskOfThisMachineIsLookedAt) {
  const DiskFacts here = look_at_disk(".", kGiB, "/");
  EXPECT_EQ(here.error, 0);
  EXPECT_FALSE(here.file_system.empty());
  EXPECT_GT(here.available_bytes, 0u);
  EXPECT_TRUE(here.tried_direct);
  EXPECT_FALSE(here.has_slab);
  EXPECT_EQ(look_at_disk("/nonexistent/nvme", kGiB, "/").error, ENOENT);
}

}  // namespace
}  // namespace kvtier::tools
