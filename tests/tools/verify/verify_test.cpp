// kvtier verify against slabs that a real tier wrote to files of this machine: sound ones, ones
// with a byte turned, without metadata, without superblocks, and ones in use. After a repair the
// tier itself must find what the slots hold.
#include "tools/verify/verify.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "daemon/tiers/make_nvme_tier.hpp"
#include "daemon/tiers/nvme_format.hpp"
#include "tests/daemon/tiers/simulated_machine.hpp"
#include "tests/tools/cli/run_cli.hpp"

namespace kvtier::tools {
namespace {

using daemon::Stored;
using daemon::TierPlace;
using wire::KiB;
using wire::MiB;

constexpr uint64_t kChunks = 12;
constexpr uint64_t kPayload = 64 * KiB;

class Verify : public testing::Test {
 protected:
  Verify() {
    config_.nvme.capacity_bytes = 8 * MiB;
    config_.nvme.segment_bytes = MiB;
    config_.nvme.prepare = daemon::Switch::kOff;
    config_.nvme.io_timeout_ns = 60'000'000'000;
    config_.nvme.slow_below = 0;
    open_tier();
    for (uint64_t i = 0; i < kChunks; ++i) {
      chunks_.push_back(daemon::make_chunk(i, kPayload));
      const Stored& stored = chunks_.back();
      EXPECT_TRUE(tier_->begin_write({i, 0, stored.chunk, stored.bytes}).ok());
      daemon::TierCompletion done;
      while (tier_->poll({&done, 1}) == 0) pass();
      EXPECT_EQ(done.code, Code::kOk);
      places_[stored.chunk.key.lo ^ stored.chunk.key.hi] = done.place;
    }
  }
  void open_tier() {
    auto tier = daemon::make_nvme_tier(config_, folder_.path(), clock_);
    ASSERT_TRUE(tier.ok()) << tier.error().message();
    tier_ = std::move(tier.value());
    tier_->know_tenant(0, "one");
    found_.clear();
    daemon::TierRecord records[16];
    while (tier_->recovering()) {
      const size_t count = tier_->recovered(records);
      for (size_t i = 0; i < count; ++i) found_.push_back(records[i]);
      daemon::TierCompletion none;
      EXPECT_EQ(tier_->poll({&none, 1}), 0u);
      if (count == 0) pass();
    }
  }
  void pass() {
    tier_->tick();
    pollfd ready = {tier_->completion_fd(), POLLIN, 0};
    ::poll(&ready, 1, 5);
  }
  void close_tier() { tier_.reset(); }
  VerifyReport verify(bool repair = false) {
    const auto report = verify_slab({.path = folder_.path() + "/nvme",
                                     .metadata = folder_.path() + "/nvme/metadata",
                                     .repair = repair});
    EXPECT_TRUE(report.ok()) << report.error().message();
    return report.ok() ? *report : VerifyReport();
  }
  Code refused() {
    const auto report = verify_slab(
        {.path = folder_.path() + "/nvme", .metadata = folder_.path() + "/nvme/metadata"});
    return report.ok() ? Code::kOk : report.code();
  }
  // Turns a bit of every byte from `offset` on.
  void damage(uint64_t offset, uint64_t bytes = 1) {
    const daemon::Fd file(::open((folder_.path() + "/nvme/slab").c_str(), O_RDWR | O_CLOEXEC));
    for (uint64_t at = offset; at < offset + bytes; ++at) {
      char byte = 0;
      ASSERT_EQ(::pread(file.get(), &byte, 1, static_cast<off_t>(at)), 1);
      byte = static_cast<char>(byte ^ 4);
      ASSERT_EQ(::pwrite(file.get(), &byte, 1, static_cast<off_t>(at)), 1);
    }
  }
  // Where the chunk's slot begins: its payload is looked for in the file.
  uint64_t offset_of(size_t chunk) {
    const daemon::Fd file(::open((folder_.path() + "/nvme/slab").c_str(), O_RDONLY | O_CLOEXEC));
    std::vector<std::byte> page(wire::kPageBytes);
    const auto& bytes = chunks_[chunk].bytes;
    for (uint64_t at = 0; at < config_.nvme.capacity_bytes; at += page.size()) {
      if (::pread(file.get(), page.data(), page.size(), static_cast<off_t>(at)) !=
          static_cast<ssize_t>(page.size())) {
        break;
      }
      if (std::equal(page.begin(), page.end(), bytes.begin())) return at;
    }
    ADD_FAILURE() << "the chunk is not on the slab";
    return 0;
  }
  CliRun run(std::vector<std::string> more = {}) {
    std::vector<std::string> words = {"verify", "--state", folder_.path()};
    words.insert(words.end(), more.begin(), more.end());
    return run_cli(words);
  }

  daemon::SystemClock clock_;
  daemon::TemporaryFolder folder_;
  daemon::Config config_;
  std::unique_ptr<daemon::Tier> tier_;
  std::vector<Stored> chunks_;
  std::map<uint64_t, TierPlace> places_;
  std::vector<daemon::TierRecord> found_;
};

TEST_F(Verify, WhatATierWroteIsGood) {
  close_tier();
  const VerifyReport report = verify();
  EXPECT_TRUE(report.good()) << (report.findings.empty() ? "" : report.findings[0]);
  EXPECT_EQ(report.chunks, kChunks);
  EXPECT_EQ(report.records, kChunks);
  EXPECT_EQ(report.damaged, 0u);
  EXPECT_EQ(report.unrecorded, 0u);
  EXPECT_GE(report.bytes_read, kChunks * kPayload);
  const CliRun text = run();
  EXPECT_EQ(text.status, kExitOk) << text.err;
  EXPECT_NE(text.out.find("12 whole chunks, 0 damaged"), std::string::npos) << text.out;
}

// Name, size and content of every file.
std::map<std::string, std::string> files_in(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    files[entry.path()] = std::string(std::istreambuf_iterator<char>(file), {});
  }
  return files;
}

TEST_F(Verify, LookingChangesNothingOnTheDisk) {
  close_tier();
  damage(offset_of(3));
  const auto before = files_in(folder_.path());
  const VerifyReport report = verify();
  EXPECT_EQ(report.damaged, 1u);
  EXPECT_EQ(report.chunks, kChunks - 1);
  const auto after = files_in(folder_.path());
  ASSERT_EQ(after.size(), before.size());
  for (const auto& [name, content] : before) {
    ASSERT_EQ(after.count(name), 1u) << name;
    EXPECT_TRUE(after.at(name) == content) << name << " has changed";
  }
}

// Only --repair may move a damaged database aside.
TEST_F(Verify, ADamagedDatabaseIsReportedAndLeftAlone) {
  close_tier();
  std::ofstream(folder_.path() + "/nvme/metadata/CURRENT") << "nothing of a database\n";
  const auto before = files_in(folder_.path());
  EXPECT_EQ(refused(), Code::kCorrupt);
  EXPECT_TRUE(files_in(folder_.path()) == before);
}

TEST_F(Verify, ASlabInUseIsRefused) {
  EXPECT_EQ(refused(), Code::kUnavailable);
  EXPECT_EQ(run().status, kExitFailed);
  close_tier();
  EXPECT_EQ(refused(), Code::kOk);
}

TEST_F(Verify, ATurnedBitIsFoundInHeaderAndPayloadAndRepairMakesItAMiss) {
  close_tier();
  damage(offset_of(3) + 8);                          // in the header
  damage(offset_of(7) + wire::kPageBytes + 40'000);  // in the payload
  const VerifyReport before = verify();
  EXPECT_FALSE(before.good());
  EXPECT_EQ(before.damaged, 2u);
  EXPECT_EQ(before.chunks, kChunks - 2);
  EXPECT_EQ(before.findings.size(), 2u);
  EXPECT_EQ(before.repaired, 0u);
  const CliRun text = run({"--json"});
  EXPECT_EQ(text.status, kExitDegraded);
  EXPECT_NE(text.out.find("\"damaged\": 2"), std::string::npos) << text.out;

  EXPECT_EQ(verify(true).repaired, 2u);
  const VerifyReport after = verify();
  EXPECT_TRUE(after.good());
  EXPECT_EQ(after.records, kChunks - 2);
  open_tier();
  EXPECT_EQ(found_.size(), kChunks - 2);
  for (const daemon::TierRecord& record : found_) {
    EXPECT_NE(record.chunk.key, chunks_[3].chunk.key);
    EXPECT_NE(record.chunk.key, chunks_[7].chunk.key);
  }
}

TEST_F(Verify, LostMetadataIsRebuiltFromSlotHeaders) {
  close_tier();
  std::filesystem::remove_all(folder_.path() + "/nvme/metadata");
  const VerifyReport lost = verify();
  EXPECT_FALSE(lost.good());
  EXPECT_EQ(lost.unrecorded, kChunks);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() + "/nvme/metadata"));
  EXPECT_EQ(verify(true).repaired, kChunks);
  const VerifyReport after = verify();
  EXPECT_TRUE(after.good());
  EXPECT_EQ(after.chunks, kChunks);
  open_tier();
  EXPECT_EQ(found_.size(), kChunks);
  for (const daemon::TierRecord& record : found_) {
    const auto place = places_.find(record.chunk.key.lo ^ record.chunk.key.hi);
    ASSERT_NE(place, places_.end());
    EXPECT_EQ(record.place, place->second);
  }
}

// The next start goes by what was repaired, not by the headers again.
TEST_F(Verify, WhatWasRemovedAfterARebuildDoesNotComeBack) {
  close_tier();
  std::filesystem::remove_all(folder_.path() + "/nvme/metadata");
  EXPECT_EQ(verify(true).repaired, kChunks);
  damage(offset_of(0) + 6000);
  EXPECT_EQ(verify(true).damaged, 1u);
  open_tier();
  EXPECT_EQ(found_.size(), kChunks - 1);
  for (const daemon::TierNotice& notice : tier_->take_notices()) {
    EXPECT_FALSE(notice.is_warning) << notice.text;
  }
}

TEST_F(Verify, OneSuperblockIsEnoughAndNoneIsAnError) {
  close_tier();
  damage(100);
  const VerifyReport one = verify();
  EXPECT_FALSE(one.good());
  EXPECT_EQ(one.chunks, kChunks);
  EXPECT_NE(one.findings[0].find("superblock 0"), std::string::npos) << one.findings[0];
  damage(wire::kPageBytes + 100);
  EXPECT_EQ(refused(), Code::kCorrupt);
}

TEST_F(Verify, ADamagedDescriptorIsNamedAndTheRestGoesOn) {
  close_tier();
  damage(2 * wire::kPageBytes + 16);
  const VerifyReport report = verify();
  EXPECT_FALSE(report.good());
  EXPECT_LT(report.chunks, kChunks);
  EXPECT_NE(report.findings[0].find("descriptor of segment 0"), std::string::npos);
}

TEST_F(Verify, AStrangeFileAndNoFileAreRefused) {
  close_tier();
  std::filesystem::remove(folder_.path() + "/nvme/slab");
  EXPECT_EQ(refused(), Code::kNotFound);
  EXPECT_EQ(run().status, kExitUsage);
  const daemon::Fd file(
      ::open((folder_.path() + "/nvme/slab").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::ftruncate(file.get(), 1 << 20), 0);
  EXPECT_EQ(refused(), Code::kCorrupt);
}

}  // namespace
}  // namespace kvtier::tools
