// What both bodies of Metadata must do, and what the database does when it is damaged or taken.
#include "daemon/io/metadata.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "daemon/io/rocksdb_metadata.hpp"
#include "daemon/io/simulated_metadata.hpp"
#include "tests/daemon/tiers/nvme_fixture.hpp"
#include "tests/support/block_device.hpp"

namespace kvtier::daemon {
namespace {

class MetadataContract : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override { open(); }
  void open() {
    metadata_.reset();
    if (GetParam()) {
      Result<std::unique_ptr<Metadata>> made =
          make_rocksdb_metadata({.directory = folder_.path() + "/metadata"});
      ASSERT_TRUE(made.ok()) << made.error().message();
      metadata_ = std::move(made.value());
    } else {
      metadata_ = std::make_unique<SimulatedMetadata>(records_, clock_);
    }
  }
  // Lets the database's thread, or the simulated time, go on.
  void pass() {
    clock_.advance_ns(1'000'000);
    std::this_thread::yield();
  }
  void wait_recorded(uint64_t number) {
    while (metadata_->recorded() < number) pass();
  }
  std::vector<MetadataRecord> scan(const std::string& prefix) {
    while (metadata_->state() == MetadataState::kOpening) pass();
    metadata_->begin_scan(prefix);
    std::vector<MetadataRecord> all;
    MetadataRecord some[7];
    while (metadata_->scanning()) {
      const size_t count = metadata_->scanned(some);
      for (size_t i = 0; i < count; ++i) all.push_back(some[i]);
      if (count == 0) pass();
    }
    return all;
  }

  VirtualClock clock_;
  TemporaryFolder folder_;
  std::shared_ptr<SimulatedRecords> records_ = std::make_shared<SimulatedRecords>();
  std::unique_ptr<Metadata> metadata_;
};

TEST_P(MetadataContract, WhatIsRecordedIsThereAfterARestart) {
  uint64_t last = 0;
  for (int i = 0; i < 20000; ++i) last = metadata_->put("a" + std::to_string(i), std::to_string(i));
  metadata_->put("b1", "other");
  last = metadata_->remove("a77");
  wait_recorded(last);
  open();
  const std::vector<MetadataRecord> found = scan("a");
  ASSERT_EQ(found.size(), 19999u);
  for (const MetadataRecord& record : found) EXPECT_EQ("a" + record.value, record.key);
  EXPECT_TRUE(std::is_sorted(found.begin(), found.end(),
                             [](const auto& a, const auto& b) { return a.key < b.key; }));
  EXPECT_EQ(scan("b").size(), 1u);
  EXPECT_TRUE(scan("c").empty());
}

TEST_P(MetadataContract, OperationsAreRecordedInOrder) {
  metadata_->put("k", "1");
  metadata_->remove("k");
  metadata_->put("k", "2");
  const uint64_t last = metadata_->put("l", "3");
  wait_recorded(last);
  const auto found = scan("");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].value, "2");
}

TEST_P(MetadataContract, ASyncIsRecordedLikeAnyOther) {
  const uint64_t put = metadata_->put("k", "1");
  const uint64_t sync = metadata_->sync();
  EXPECT_GT(sync, put);
  wait_recorded(sync);
  wait_recorded(metadata_->sync());  // with nothing before it
  ASSERT_EQ(scan("k").size(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Metadata, MetadataContract, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& is_real) {
                           return std::string(is_real.param ? "rocksdb" : "simulated");
                         });

TEST(SimulatedMetadata, APowerCutTakesBackNothingThatWasSynced) {
  VirtualClock clock;
  const auto records = std::make_shared<SimulatedRecords>();
  SimulatedMetadata metadata(records, clock);
  metadata.put("a", "1");
  metadata.put("b", "1");
  metadata.remove("a");
  metadata.sync();
  metadata.put("c", "1");
  clock.advance_ns(1'000'000);
  metadata.crash(100);
  ASSERT_EQ(records->records.size(), 1u);
  EXPECT_EQ(records->records.begin()->first, "b");
}

// The file system forgets what it had not written.
TEST(RocksdbMetadata, APowerCutTakesBackNothingThatWasSynced) {
  TemporaryFolder folder;
  const LoopDevice loop(folder.path() + "/backing", 64 * wire::MiB);
  if (!loop.ok()) GTEST_SKIP() << "no loop device for this user";
  const std::string make = "mkfs.ext4 -q -F " + loop.path() + " 2>/dev/null";
  if (std::system(make.c_str()) != 0) GTEST_SKIP() << "no mkfs.ext4";
  const std::string place = folder.path() + "/mounted";
  const auto open = [&] {
    auto made = make_rocksdb_metadata({.directory = place + "/metadata"});
    EXPECT_TRUE(made.ok()) << made.error().message();
    while ((*made)->state() == MetadataState::kOpening) std::this_thread::yield();
    return std::move(*made);
  };
  {
    const Mounted mounted(place, "ext4", loop.path().c_str(), "");
    ASSERT_TRUE(mounted.ok());
    auto metadata = open();
    for (int i = 0; i < 100; ++i) metadata->put("k" + std::to_string(i), "v");
    for (int i = 0; i < 50; ++i) metadata->remove("k" + std::to_string(i));
    const uint64_t synced = metadata->sync();
    while (metadata->recorded() < synced) std::this_thread::yield();
    const Fd directory(::open(place.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    constexpr uint32_t kNoLogFlush = 2;
    ASSERT_EQ(::ioctl(directory.get(), _IOR('X', 125, uint32_t), &kNoLogFlush), 0);
  }
  const Mounted again(place, "ext4", loop.path().c_str(), "");
  ASSERT_TRUE(again.ok());
  auto metadata = open();
  metadata->begin_scan("k");
  size_t found = 0;
  MetadataRecord some[16];
  while (metadata->scanning()) found += metadata->scanned(some);
  EXPECT_EQ(found, 50u);
}

// Served on without, never the end of the process.
TEST(RocksdbMetadata, AFullFileSystemEndsTheRecordsNotTheProcess) {
  TemporaryFolder folder;
  const std::string place = folder.path() + "/mounted";
  const Mounted mounted(place, "tmpfs", "tmpfs", "size=8m");
  if (!mounted.ok()) GTEST_SKIP() << "no mounting for this user";
  auto made = make_rocksdb_metadata({.directory = place + "/metadata"});
  ASSERT_TRUE(made.ok()) << made.error().message();
  Metadata& metadata = **made;
  while (metadata.state() == MetadataState::kOpening) std::this_thread::yield();
  uint64_t last = 0;
  for (int i = 0; i < 40'000 && metadata.state() == MetadataState::kReady; ++i) {
    last = metadata.put("k" + std::to_string(i), std::string(1000, 'v'));
    if (i % 100 == 0) {
      while (metadata.recorded() < last) std::this_thread::yield();
    }
  }
  EXPECT_EQ(metadata.state(), MetadataState::kFailed);
  EXPECT_NE(metadata.take_message().find("metadata cannot be written"), std::string::npos);
  EXPECT_GE(metadata.recorded(), metadata.sync()) << "nobody waits for ever";
}

class Database : public testing::Test {
 protected:
  std::unique_ptr<Metadata> open() {
    Result<std::unique_ptr<Metadata>> made = make_rocksdb_metadata({.directory = directory_});
    EXPECT_TRUE(made.ok()) << made.error().message();
    while ((*made)->state() == MetadataState::kOpening) std::this_thread::yield();
    return std::move(made.value());
  }
  TemporaryFolder folder_;
  std::string directory_ = folder_.path() + "/metadata";
};

TEST_F(Database, ADamagedOneIsMovedAsideNotDeleted) {
  {
    auto metadata = open();
    const uint64_t last = metadata->put("k", "v");
    while (metadata->recorded() < last) std::this_thread::yield();
  }
  std::ofstream(directory_ + "/CURRENT", std::ios::trunc) << "MANIFEST-nonsense\n";
  auto metadata = open();
  EXPECT_EQ(metadata->state(), MetadataState::kReady);
  EXPECT_NE(metadata->take_message().find("moved to"), std::string::npos);
  EXPECT_TRUE(metadata->take_message().empty()) << "told once";
  EXPECT_TRUE(std::filesystem::exists(directory_ + ".damaged-1/CURRENT"));
}

TEST_F(Database, ASecondProcessIsRefused) {
  auto metadata = open();
  const auto second = make_rocksdb_metadata({.directory = directory_});
  EXPECT_EQ(second.code(), Code::kUnavailable);
  EXPECT_NE(std::string(second.error().message()).find("another kvtierd"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(directory_ + "/CURRENT")) << "not taken for damage";
}

TEST_F(Database, OneThatCannotBeMadeSaysSoAndKeepsNothing) {
  std::ofstream(directory_) << "a file where the folder should be";
  auto metadata = open();
  EXPECT_EQ(metadata->state(), MetadataState::kFailed);
  EXPECT_NE(metadata->take_message().find("no metadata database"), std::string::npos);
  const uint64_t last = metadata->put("k", "v");
  EXPECT_GE(metadata->recorded(), last) << "nobody waits for ever";
}

}  // namespace
}  // namespace kvtier::daemon
