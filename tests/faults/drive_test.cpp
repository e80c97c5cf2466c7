// Faults of the drive below host memory, with the real daemon on real files and devices: what lies
// there is damaged under it, the file system is shut down, the device is a hundred times slower,
// memory runs out. Misses and counters; never wrong bytes, never a hang, and host memory serves on.
#include <gtest/gtest.h>
#include <linux/types.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/faults/fault_client.hpp"
#include "tests/faults/fault_daemon.hpp"
#include "tests/support/block_device.hpp"
#include "tests/support/temporary_folder.hpp"

namespace kvtier::faults {
namespace {

using daemon::Fd;
using daemon::LoopDevice;
using daemon::Mounted;
using std::chrono::milliseconds;
using std::chrono::seconds;
using wire::KiB;
using wire::MiB;

constexpr size_t kChunks = 8;      // of a prompt
constexpr uint64_t kPrompts = 24;  // three times what host memory holds
constexpr uint64_t kChunkBytes = 64 * KiB;

std::string tiers(const std::string& path, const char* more = "") {
  return small_pool("4MiB") + "[nvme]\ncapacity = '64MiB'\nprepare = 'off'\npaths = ['" + path +
         "']\n" + more;
}

class FaultsOfTheDrive : public testing::Test {
 protected:
  void start(const std::string& config, Keep keep = Keep::kNo) {
    daemon_ = std::make_unique<FaultDaemon>(config, keep);
    daemon_->start();
    client_ = std::make_unique<FaultClient>(ClientOptions{.socket = daemon_->socket()});
    ASSERT_TRUE(client_->wait_attached());
  }
  // Until the first prompts lie below only.
  void fill() {
    for (uint64_t prompt = 0; prompt < kPrompts; ++prompt) {
      ASSERT_TRUE(client_->store_all(prompt, kChunks)) << prompt;
    }
    ASSERT_TRUE(eventually(seconds(10), [&] {
      const auto found = client_->match(0, kChunks);
      return found.ok() && found->chunks() == 0 && found->chunks_lower() == kChunks;
    }));
  }
  std::string slab() const { return folder_.path() + "/drive/slab"; }
  std::string drive() const { return folder_.path() + "/drive"; }
  // Where the payload of a chunk lies in the slab.
  uint64_t offset_of(uint64_t prompt, size_t chunk) const {
    const std::vector<std::byte> due = client_->bytes_of(prompt, chunk);
    const Fd file(::open(slab().c_str(), O_RDONLY | O_CLOEXEC));
    std::vector<std::byte> page(4096);
    for (uint64_t at = 0; ::pread(file.get(), page.data(), page.size(), static_cast<off_t>(at)) ==
                          static_cast<ssize_t>(page.size());
         at += page.size()) {
      if (std::memcmp(page.data(), due.data(), page.size()) == 0) return at;
    }
    ADD_FAILURE() << "the chunk is not in the slab";
    return 0;
  }
  std::vector<std::byte> peek(uint64_t offset, size_t bytes) const {
    std::vector<std::byte> found(bytes);
    const Fd file(::open(slab().c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(::pread(file.get(), found.data(), bytes, static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes));
    return found;
  }
  void poke(uint64_t offset, const std::vector<std::byte>& bytes) const {
    const Fd file(::open(slab().c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(::pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes.size()));
    EXPECT_EQ(::fdatasync(file.get()), 0);
  }
  std::string drive_state() const {
    return daemon_->ask("/v1/tiers/nvme").at("devices").at(0).at("state");
  }
  uint64_t corrupt() const {
    return daemon_->counter("corrupt_nvme_header") + daemon_->counter("corrupt_nvme_checksum");
  }
  // Chunk 3 of prompt 0 is bad: its head comes, the rest is recomputed, and it is gone for good.
  void expect_one_bad_chunk(const char* counter) {
    const uint64_t before = daemon_->counter(counter);
    const ReadBack first = client_->read_prefix(0, kChunks);
    EXPECT_FALSE(first.failed);
    EXPECT_EQ(first.loaded, 3u);
    EXPECT_EQ(first.wrong_bytes, 0u);
    EXPECT_EQ(daemon_->counter(counter), before + 1);
    EXPECT_TRUE(daemon_->logged("KV3201"));
    const ReadBack again = client_->read_prefix(0, kChunks);
    EXPECT_EQ(again.loaded, 3u);
    EXPECT_EQ(daemon_->counter(counter), before + 1) << "not tried again";
    EXPECT_TRUE(client_->store_all(0, kChunks)) << "it can be stored again";
    EXPECT_EQ(client_->read_prefix(0, kChunks).loaded, kChunks);
    const ReadBack other = client_->read_prefix(1, kChunks);
    EXPECT_EQ(other.loaded, kChunks);
    EXPECT_EQ(other.wrong_bytes, 0u);
  }

  daemon::TemporaryFolder folder_;
  std::unique_ptr<FaultDaemon> daemon_;
  std::unique_ptr<FaultClient> client_;
};

class DamagedSlab : public FaultsOfTheDrive {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(drive());
    start(tiers(drive()));
    fill();
  }
};

TEST_F(DamagedSlab, APrefixBelowComesBackWhole) {
  for (uint64_t prompt = 0; prompt < kPrompts; ++prompt) {
    const ReadBack back = client_->read_prefix(prompt, kChunks);
    EXPECT_EQ(back.loaded, kChunks) << prompt;
    EXPECT_EQ(back.wrong_bytes, 0u);
  }
  EXPECT_GT(daemon_->counter("promoted"), 0u);
  EXPECT_EQ(corrupt(), 0u);
}

TEST_F(DamagedSlab, ABitFlipIsAMiss) {
  const uint64_t at = offset_of(0, 3) + 33'333;
  std::vector<std::byte> byte = peek(at, 1);
  byte[0] ^= std::byte{4};
  poke(at, byte);
  expect_one_bad_chunk("corrupt_nvme_checksum");
}

TEST_F(DamagedSlab, ABitFlipInAHeaderIsAMiss) {
  const uint64_t at = offset_of(0, 3) - 4096 + 8;
  std::vector<std::byte> byte = peek(at, 1);
  byte[0] ^= std::byte{1};
  poke(at, byte);
  expect_one_bad_chunk("corrupt_nvme_header");
}

TEST_F(DamagedSlab, ATornWriteIsAMiss) {
  const uint64_t at = offset_of(0, 3) + 512 * 77;
  poke(at, std::vector<std::byte>(kChunkBytes - 512 * 77));  // what lay there before
  expect_one_bad_chunk("corrupt_nvme_checksum");
}

TEST_F(DamagedSlab, AMisdirectedWriteIsAMiss) {
  const std::vector<std::byte> other = peek(offset_of(1, 5) - 4096, 4096 + kChunkBytes);
  poke(offset_of(0, 3) - 4096, other);
  expect_one_bad_chunk("corrupt_nvme_header");
}

TEST_F(DamagedSlab, ALostWriteLeavesAStaleSlotWhichIsAMiss) {
  poke(offset_of(0, 3) - 4096, std::vector<std::byte>(4096 + kChunkBytes));
  expect_one_bad_chunk("corrupt_nvme_header");
}

TEST_F(DamagedSlab, ScrubbingFindsWhatNobodyAskedFor) {
  const uint64_t at = offset_of(0, 3) + 33'333;
  std::vector<std::byte> byte = peek(at, 1);
  byte[0] ^= std::byte{4};
  poke(at, byte);
  const std::string verify = std::string(KVTIER_PROGRAM_DIR) + "/kvtier --socket " +
                             daemon_->socket() + " verify --online --rate 1GiB >/dev/null 2>&1";
  const int first = std::system(verify.c_str());
  EXPECT_EQ(WEXITSTATUS(first), 4) << "degraded";
  const nlohmann::json scrub = daemon_->ask("/v1/tiers/nvme").at("scrub");
  EXPECT_EQ(scrub.at("bad"), 1);
  EXPECT_GE(scrub.at("checked"), kChunks * (kPrompts / 2));
  EXPECT_EQ(corrupt(), 1u);
  EXPECT_EQ(client_->read_prefix(0, kChunks).loaded, 3u);
  EXPECT_EQ(corrupt(), 1u) << "the reader met a miss";
  const int second = std::system(verify.c_str());
  EXPECT_EQ(WEXITSTATUS(second), 0) << "good";
  const nlohmann::json again = daemon_->ask("/v1/tiers/nvme").at("scrub");
  EXPECT_EQ(again.at("passes"), 2) << "it waited for its own pass";
  EXPECT_GE(again.at("checked"), kChunks * (kPrompts / 2));
  EXPECT_EQ(again.at("bad"), 0);
}

// --- Devices

// A control group that slows one device down for the processes in it.
class Throttle {
 public:
  explicit Throttle(const std::string& device) : device_(device) {
    for (const bool is_legacy : {true, false}) {
      folder_ = is_legacy ? "/sys/fs/cgroup/blkio/kvtier-test-" : "/sys/fs/cgroup/kvtier-test-";
      folder_ += std::to_string(::getpid());
      if (::mkdir(folder_.c_str(), 0755) != 0) continue;
      is_legacy_ = is_legacy;
      if (set(UINT64_MAX)) return;
      ::rmdir(folder_.c_str());
    }
    folder_.clear();
  }
  ~Throttle() {
    if (!folder_.empty()) ::rmdir(folder_.c_str());
  }
  bool ok() const { return !folder_.empty(); }
  bool add(int process) const { return write("cgroup.procs", std::to_string(process)); }
  bool set(uint64_t bytes_per_second) const {
    const bool is_off = bytes_per_second == UINT64_MAX;
    const std::string rate = std::to_string(is_off ? 0 : bytes_per_second);
    if (is_legacy_) {
      return write("blkio.throttle.read_bps_device", device_ + " " + rate) &&
             write("blkio.throttle.write_bps_device", device_ + " " + rate);
    }
    const std::string text = is_off ? "max" : rate;
    return write("io.max", device_ + " rbps=" + text + " wbps=" + text);
  }

 private:
  bool write(const char* name, const std::string& text) const {
    std::ofstream file(folder_ + "/" + name);
    file << text << std::flush;
    return file.good();
  }
  std::string device_;
  std::string folder_;
  bool is_legacy_ = false;
};

TEST_F(FaultsOfTheDrive, ADiskAHundredTimesSlowerIsOutWithinTwoSecondsAndComesBack) {
  const LoopDevice loop(folder_.path() + "/backing", 80 * MiB);
  if (!loop.ok()) GTEST_SKIP() << "no loop device for this user";
  const Throttle throttle(loop.number());
  if (!throttle.ok()) GTEST_SKIP() << "no control group that slows a device down";
  start(tiers(loop.path(), "slow_below = '8MiB/s'\n"));
  ASSERT_TRUE(throttle.add(daemon_->process().pid()));
  fill();
  EXPECT_EQ(client_->read_prefix(1, kChunks).loaded, kChunks);
  const uint64_t resident = kPrompts - 1;  // stored last
  ASSERT_EQ(client_->read(resident, kChunks).loaded, kChunks);

  ASSERT_TRUE(throttle.set(512 * KiB));
  FaultClient asker({.socket = daemon_->socket()});
  ASSERT_TRUE(asker.wait_attached());
  std::atomic<bool> stop{false};
  std::thread below([&] {  // what lies below is asked for all the time
    for (uint64_t i = 2; !stop; ++i) {
      const ReadBack back = asker.read_prefix(2 + i % 8, kChunks, milliseconds(500));
      EXPECT_EQ(back.wrong_bytes, 0u);
    }
  });
  const auto began = Clock::now();
  double longest = 0;
  const auto is_down = [&] {
    const auto before = Clock::now();
    const ReadBack back = client_->read(resident, kChunks);
    EXPECT_EQ(back.loaded, kChunks);
    EXPECT_EQ(back.wrong_bytes, 0u);
    longest = std::max(longest, std::chrono::duration<double>(Clock::now() - before).count());
    return drive_state() != "ok";
  };
  EXPECT_TRUE(eventually(seconds(10), is_down));
  const double took = std::chrono::duration<double>(Clock::now() - began).count();
  EXPECT_LT(took, 2.5) << "within 2 s of the first slow transfer";
  EXPECT_LT(longest, 0.25) << "a hit in host memory waited for the disk";

  ASSERT_TRUE(throttle.set(UINT64_MAX));
  EXPECT_TRUE(eventually(seconds(30), [&] { return drive_state() == "ok"; }))
      << "it is probed, and serves again";
  stop = true;
  below.join();
  std::printf("out of service after %.2f s; hits in host memory took %.1f ms at most\n", took,
              longest * 1e3);
  EXPECT_TRUE(eventually(seconds(10), [&] {
    const ReadBack back = client_->read_prefix(1, kChunks);
    return back.loaded == kChunks && back.wrong_bytes == 0;
  }));
}

TEST_F(FaultsOfTheDrive, AFileSystemThatIsShutDownLosesOnlyWhatWasNotOnIt) {
  const LoopDevice loop(folder_.path() + "/backing", 160 * MiB);
  if (!loop.ok()) GTEST_SKIP() << "no loop device for this user";
  const std::string make = "mkfs.ext4 -q -F " + loop.path() + " 2>/dev/null";
  if (std::system(make.c_str()) != 0) GTEST_SKIP() << "no mkfs.ext4";
  {
    const Mounted mounted(drive(), "ext4", loop.path().c_str(), "");
    ASSERT_TRUE(mounted.ok());
    start(tiers(drive()), Keep::kYes);
    fill();
    const Fd directory(::open(drive().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    constexpr __u32 kNoLogFlush = 2;
    ASSERT_EQ(::ioctl(directory.get(), _IOR('X', 125, __u32), &kNoLogFlush), 0);
    for (uint64_t prompt = 0; prompt < kPrompts; ++prompt) {
      const ReadBack back = client_->read_prefix(prompt, kChunks, milliseconds(2000));
      EXPECT_FALSE(back.failed);
      EXPECT_EQ(back.wrong_bytes, 0u);
    }
    EXPECT_EQ(client_->read(kPrompts - 1, kChunks).loaded, kChunks) << "host memory serves on";
    daemon_->kill();
  }
  const Mounted again(drive(), "ext4", loop.path().c_str(), "");
  ASSERT_TRUE(again.ok());
  daemon_->start();
  ASSERT_TRUE(client_->wait_attached());
  size_t loaded = 0;
  for (uint64_t prompt = 0; prompt < kPrompts; ++prompt) {
    const ReadBack back = client_->read_prefix(prompt, kChunks);
    EXPECT_EQ(back.wrong_bytes, 0u);
    loaded += back.loaded;
  }
  std::printf("%zu of %llu chunks are back\n", loaded,
              static_cast<unsigned long long>(kPrompts * kChunks));
  EXPECT_TRUE(client_->store_all(100, kChunks));
  EXPECT_EQ(client_->read(100, kChunks).loaded, kChunks);
}

// --- Memory

TEST_F(FaultsOfTheDrive, AtTheLimitOfItsControlGroupTheTierStopsGrowing) {
  const std::string unified = "/sys/fs/cgroup/memory.stat";
  const bool is_legacy = !std::filesystem::exists(unified);
  const std::string folder = std::string("/sys/fs/cgroup/") + (is_legacy ? "memory/" : "") +
                             "kvtier-test-" + std::to_string(::getpid());
  if (::mkdir(folder.c_str(), 0755) != 0) GTEST_SKIP() << "no memory control group for this user";
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream file(folder + "/" + name);
    file << text << std::flush;
    return file.good();
  };
  const bool is_limited =
      write(is_legacy ? "memory.limit_in_bytes" : "memory.max", std::to_string(160 * MiB));
  if (!is_limited) {
    ::rmdir(folder.c_str());
    GTEST_SKIP() << "no memory control group that limits";
  }
  start("[host]\ncapacity = '512MiB'\nlock = 'never'\n");
  ASSERT_TRUE(write("cgroup.procs", std::to_string(daemon_->process().pid())));
  for (uint64_t prompt = 0; prompt < 600; ++prompt) {  // 300 MiB
    client_->store(prompt, kChunks, seconds(2));
    ASSERT_TRUE(daemon_->running()) << prompt;
  }
  EXPECT_TRUE(daemon_->logged("KV3003"));
  EXPECT_LT(daemon_->host("allocated_bytes"), 160 * MiB);
  EXPECT_GT(daemon_->host("allocated_bytes"), 32 * MiB);
  EXPECT_GT(daemon_->host("evictions"), 0u) << "what is there is used";
  const ReadBack back = client_->read(599, kChunks);
  EXPECT_EQ(back.loaded, kChunks);
  EXPECT_EQ(back.wrong_bytes, 0u);
  client_.reset();
  daemon_->stop();
  ::rmdir(folder.c_str());
}

}  // namespace
}  // namespace kvtier::faults
