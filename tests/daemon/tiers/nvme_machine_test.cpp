// The nvme tier as configured, on files and devices of this machine: restarts, locks, what was cut,
// full and failing file systems. Parts that need root or loop devices say so when they are skipped.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/loop.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "daemon/tiers/make_nvme_tier.hpp"
#include "kernels/checksum.hpp"
#include "tests/daemon/tiers/nvme_fixture.hpp"
#include "tests/support/block_device.hpp"

namespace kvtier::daemon {
namespace {

using wire::KiB;
using wire::MiB;

class OnThisMachine : public testing::Test {
 protected:
  OnThisMachine() {
    config_.nvme.capacity_bytes = 16 * MiB;
    config_.nvme.segment_bytes = MiB;
    config_.nvme.prepare = Switch::kOff;
    config_.nvme.io_timeout_ns = 60'000'000'000;  // a loaded machine is no broken disk
    config_.nvme.slow_below = 0;
  }

  void open() {
    Result<std::unique_ptr<Tier>> tier = make_nvme_tier(config_, folder_.path(), clock_);
    ASSERT_TRUE(tier.ok()) << tier.error().message();
    tier_ = std::move(tier.value());
    tier_->know_tenant(0, "one");
  }
  void pass() {
    tier_->tick();
    pollfd ready = {tier_->completion_fd(), POLLIN, 0};
    ::poll(&ready, 1, 5);
  }
  TierCompletion wait() {
    TierCompletion done;
    for (int i = 0; i < 4000; ++i) {
      if (tier_->poll({&done, 1}) == 1) return done;
      pass();
    }
    ADD_FAILURE() << "the transfer never ended";
    return done;
  }
  static TierChunk chunk(uint8_t value) {
    TierChunk chunk;
    chunk.key = {value, 1};
    chunk.payload_bytes = 64 * KiB;
    chunk.header_bytes = wire::kPageBytes;
    chunk.checksum = value;
    return chunk;
  }
  TierCompletion write(uint8_t value) {
    const PageBytes bytes(chunk(value).bytes(), std::byte{value});
    const Status begun = tier_->begin_write({value, 0, chunk(value), bytes});
    if (begun.ok()) return wait();
    TierCompletion refused;
    refused.code = begun.code();
    return refused;
  }
  Code read(TierPlace place, uint8_t value) {
    PageBytes target(chunk(value).bytes());
    const Status begun = tier_->begin_read({1, place, target});
    if (!begun.ok()) return begun.code();
    const TierCompletion done = wait();
    if (done.code == Code::kOk) {
      EXPECT_EQ(target[70], std::byte{value});
    }
    return done.code;
  }
  std::map<uint64_t, TierPlace> recover() {
    std::map<uint64_t, TierPlace> all;
    TierRecord records[16];
    TierCompletion none;
    for (int i = 0; i < 4000 && tier_->recovering(); ++i) {
      const size_t count = tier_->recovered(records);
      for (size_t r = 0; r < count; ++r) all[records[r].chunk.key.lo] = records[r].place;
      EXPECT_EQ(tier_->poll({&none, 1}), 0u);
      if (count == 0) pass();
    }
    EXPECT_FALSE(tier_->recovering());
    return all;
  }
  std::string slab() const { return folder_.path() + "/nvme/slab"; }

  SystemClock clock_;
  TemporaryFolder folder_;
  Config config_;
  std::unique_ptr<Tier> tier_;
};

TEST_F(OnThisMachine, OffMeansNone) {
  config_.nvme.capacity_bytes = 0;
  const auto tier = make_nvme_tier(config_, folder_.path(), clock_);
  ASSERT_TRUE(tier.ok());
  EXPECT_EQ(tier.value(), nullptr);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() + "/nvme"));
}

TEST_F(OnThisMachine, ARestartKeepsEverything) {
  open();
  recover();
  for (uint8_t i = 1; i <= 40; ++i) ASSERT_EQ(write(i).code, Code::kOk);
  const uint64_t used = tier_->capacity().used_bytes;
  tier_.reset();
  open();
  const auto found = recover();
  ASSERT_EQ(found.size(), 40u);
  EXPECT_EQ(tier_->capacity().used_bytes, used);
  for (const auto& [value, place] : found) {
    EXPECT_EQ(read(place, static_cast<uint8_t>(value)), Code::kOk);
  }
}

TEST_F(OnThisMachine, ALostDatabaseServesOnAndADamagedOneIsMovedAside) {
  open();
  for (uint8_t i = 1; i <= 5; ++i) ASSERT_EQ(write(i).code, Code::kOk);
  tier_.reset();
  std::ofstream(folder_.path() + "/nvme/metadata/CURRENT", std::ios::trunc) << "nonsense\n";
  open();
  recover();  // these chunks have no headers to be found by
  bool told = false;
  for (const TierNotice& notice : tier_->take_notices()) {
    told = told || notice.text.find("moved to") != std::string::npos;
  }
  EXPECT_TRUE(told);
  EXPECT_EQ(write(9).code, Code::kOk);
}

TEST_F(OnThisMachine, ASecondDaemonIsRefusedAndTheFirstGoesOn) {
  open();
  ASSERT_EQ(write(1).code, Code::kOk);
  EXPECT_EQ(make_nvme_tier(config_, folder_.path(), clock_).code(), Code::kUnavailable);
  // Another state directory, the same slab.
  TemporaryFolder other;
  config_.nvme.paths = {folder_.path() + "/nvme"};
  const auto second = make_nvme_tier(config_, other.path(), clock_);
  ASSERT_TRUE(second.ok()) << second.error().message();
  EXPECT_FALSE((*second)->capacity().in_service);
  EXPECT_NE((*second)->devices()[0].reason.find("another kvtierd"), std::string::npos);
  config_.nvme.required = Switch::kOn;
  EXPECT_EQ(make_nvme_tier(config_, other.path(), clock_).code(), Code::kUnavailable);
  EXPECT_EQ(write(2).code, Code::kOk);
}

TEST_F(OnThisMachine, ACutSlabIsMissesNotAnOutage) {
  open();
  recover();
  for (uint8_t i = 1; i <= 40; ++i) ASSERT_EQ(write(i).code, Code::kOk);
  tier_.reset();
  ASSERT_EQ(::truncate(slab().c_str(), 2 * MiB), 0);
  open();
  const auto found = recover();
  EXPECT_EQ(found.size(), 40u);
  EXPECT_FALSE(tier_->take_notices().empty());
  uint32_t whole = 0;
  for (const auto& [value, place] : found) {
    PageBytes target(chunk(1).bytes());
    ASSERT_TRUE(tier_->begin_read({1, place, target}).ok());
    EXPECT_EQ(wait().code, Code::kOk);
    if (target[70] == std::byte(value))
      ++whole;
    else
      EXPECT_EQ(target[70], std::byte{0});
  }
  EXPECT_GT(whole, 10u);
  EXPECT_LT(whole, 40u);
}

TEST_F(OnThisMachine, AMissingSlabIsMadeAnew) {
  open();
  EXPECT_TRUE(recover().empty());
  ASSERT_EQ(write(1).code, Code::kOk);
  tier_.reset();
  ASSERT_EQ(::unlink(slab().c_str()), 0);
  open();
  EXPECT_TRUE(recover().empty());
  EXPECT_EQ(write(2).code, Code::kOk);
  const auto said = [this] {
    std::string all;
    for (const TierNotice& notice : tier_->take_notices()) {
      if (notice.is_warning) all += notice.text;
    }
    return all;
  };
  const std::string text = said();
  EXPECT_NE(text.find("a slab is gone, and 1 chunks with it"), std::string::npos) << text;
  EXPECT_NE(text.find(folder_.path()), std::string::npos) << text;
  tier_.reset();
  open();
  EXPECT_EQ(recover().size(), 1u);
  EXPECT_EQ(said(), "") << "once is enough";
}

TEST_F(OnThisMachine, ASlabLargerThanConfiguredIsRefused) {
  open();
  tier_.reset();
  config_.nvme.capacity_bytes = 8 * MiB;
  open();
  EXPECT_NE(tier_->devices()[0].reason.find("nvme.capacity"), std::string::npos);
  EXPECT_EQ(std::filesystem::file_size(slab()), 16 * MiB);
}

TEST_F(OnThisMachine, APathThatIsNoneTakesOutOnlyItself) {
  std::filesystem::create_directory(folder_.path() + "/good");
  config_.nvme.paths = {folder_.path() + "/absent", folder_.path() + "/good"};
  open();
  EXPECT_EQ(tier_->devices()[0].state, "failed");
  EXPECT_EQ(write(1).code, Code::kOk);
}

TEST_F(OnThisMachine, AFullFileSystemTakesOutOnlyItsDevice) {
  const std::string small = folder_.path() + "/small";
  const Mounted mounted(small, "tmpfs", "tmpfs", "size=8m");
  if (!mounted.ok()) GTEST_SKIP() << "mounting a tmpfs needs root";
  std::filesystem::create_directory(folder_.path() + "/good");
  config_.nvme.paths = {small, folder_.path() + "/good"};
  open();
  const TierDevice device = tier_->devices()[0];
  EXPECT_EQ(device.state, "failed");
  EXPECT_NE(device.reason.find("no room"), std::string::npos) << device.reason;
  EXPECT_FALSE(std::filesystem::exists(small + "/slab")) << "nothing half-made is left";
  EXPECT_EQ(write(1).code, Code::kOk);
}

TEST_F(OnThisMachine, ABlockDeviceWhoseBackingWasCutGivesErrorsAndGoesOut) {
  const std::string backing = folder_.path() + "/backing";
  const LoopDevice loop(backing, 16 * MiB);
  if (!loop.ok()) GTEST_SKIP() << "no loop device for this user";
  config_.nvme.paths = {loop.path()};
  open();
  std::vector<TierPlace> places;
  for (uint8_t i = 1; i <= 40; ++i) {
    const TierCompletion done = write(i);
    ASSERT_EQ(done.code, Code::kOk);
    places.push_back(done.place);
  }
  ASSERT_EQ(::truncate(backing.c_str(), MiB), 0);
  uint32_t errors = 0;
  for (uint8_t i = 39; i >= 30; --i)
    errors += read(places[i], static_cast<uint8_t>(i + 1)) != Code::kOk ? 1u : 0u;
  EXPECT_EQ(errors, 10u) << "misses, not wrong bytes";
  const TierDevice device = tier_->devices()[0];
  EXPECT_GE(device.read_errors, 3u);
  EXPECT_EQ(device.times_out_of_service, 1u);
}

TEST_F(OnThisMachine, ABlockDeviceWithSomethingElseOnItIsLeftAlone) {
  const std::string backing = folder_.path() + "/backing";
  std::ofstream(backing) << "somebody's file system";
  const LoopDevice loop(backing, 16 * MiB);
  if (!loop.ok()) GTEST_SKIP() << "no loop device for this user";
  config_.nvme.paths = {loop.path()};
  open();
  EXPECT_EQ(tier_->devices()[0].state, "failed");
  tier_.reset();
  std::string text(22, ' ');
  std::ifstream(backing).read(text.data(), 22);
  EXPECT_EQ(text, "somebody's file system");
}

TEST_F(OnThisMachine, ADeviceSmallerThanConfiguredIsRefused) {
  const LoopDevice loop(folder_.path() + "/backing", 4 * MiB);
  if (!loop.ok()) GTEST_SKIP() << "no loop device for this user";
  config_.nvme.paths = {loop.path()};
  open();
  EXPECT_NE(tier_->devices()[0].reason.find("lower it"), std::string::npos);
}

}  // namespace
}  // namespace kvtier::daemon
