// What an operator of a daemon with an nvme tier is told and promised: paths that cannot be used,
// slabs that are gone, keepers that end, chunks too large, flushes, online checks, even use of two
// devices after a restart. The real daemon, the real command line.
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "daemon/keep/holder_keeper.hpp"
#include "tests/faults/fault_client.hpp"
#include "tests/faults/fault_daemon.hpp"
#include "tests/support/block_device.hpp"
#include "tests/support/temporary_folder.hpp"

namespace kvtier::faults {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using wire::KiB;
using wire::MiB;

constexpr size_t kChunks = 8;

struct Said {
  int status = -1;
  std::string text;
};

class Operations : public testing::Test {
 protected:
  std::string path(const char* name) {
    std::filesystem::create_directories(folder_.path() + "/" + name);
    return folder_.path() + "/" + name;
  }
  static std::string nvme(const std::vector<std::string>& paths, const char* capacity,
                          const char* more = "") {
    std::string list;
    for (const std::string& one : paths) list += (list.empty() ? "'" : ", '") + one + "'";
    return std::string("[nvme]\nprepare = 'off'\ncapacity = '") + capacity + "'\npaths = [" + list +
           "]\n" + more;
  }
  void start(const std::string& config, Keep keep = Keep::kNo) {
    daemon_ = std::make_unique<FaultDaemon>(config, keep);
    daemon_->start();
    client_ = std::make_unique<FaultClient>(ClientOptions{.socket = daemon_->socket()});
    ASSERT_TRUE(client_->wait_attached());
  }
  void fill(uint64_t first, uint64_t prompts) {
    for (uint64_t prompt = first; prompt < first + prompts; ++prompt) {
      ASSERT_TRUE(client_->store_all(prompt, kChunks)) << prompt;
    }
  }
  Said kvtier(const std::string& words) const {
    const std::string line = std::string(KVTIER_PROGRAM_DIR) + "/kvtier --socket " +
                             daemon_->socket() + " " + words + " 2>&1";
    Said said;
    FILE* pipe = ::popen(line.c_str(), "r");
    if (pipe == nullptr) return said;
    std::array<char, 4096> part;
    while (const size_t count = std::fread(part.data(), 1, part.size(), pipe)) {
      said.text.append(part.data(), count);
    }
    said.status = WEXITSTATUS(::pclose(pipe));
    return said;
  }
  std::string problems() const {
    std::string all;
    const nlohmann::json status = daemon_->status();
    for (const nlohmann::json& problem : status.at("problems")) {
      all += problem.get<std::string>() + "\n";
    }
    return all;
  }

  daemon::TemporaryFolder folder_;
  std::unique_ptr<FaultDaemon> daemon_;
  std::unique_ptr<FaultClient> client_;
};

void expect_in(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "not '" << part << "' in: " << text;
}

TEST_F(Operations, AFailedPathBesideAGoodOneIsAProblemInStatusAndDoctor) {
  start(small_pool("4MiB") + nvme({path("good"), folder_.path() + "/absent"}, "32MiB"));
  EXPECT_EQ(daemon_->ask("/v1/tiers/nvme").at("state"), "on") << "the other one serves";
  EXPECT_EQ(daemon_->status().at("health"), "degraded");
  expect_in(problems(), folder_.path() + "/absent cannot be used: ");
  const Said status = kvtier("status");
  EXPECT_EQ(status.status, 4) << "degraded";
  expect_in(status.text, "/absent cannot be used");
  expect_in(kvtier("doctor").text, "/absent cannot be used");
}

TEST_F(Operations, AMissingSlabIsSaidToBeLostInLogAndEvents) {
  const std::string drive = path("drive");
  start(small_pool("2MiB") + nvme({drive}, "32MiB"));
  fill(0, 16);
  ASSERT_TRUE(eventually(seconds(10), [&] { return daemon_->counter("demoted") > 20; }));
  daemon_->stop();
  ASSERT_EQ(::unlink((drive + "/slab").c_str()), 0);
  daemon_->start();
  EXPECT_TRUE(daemon_->logged("KV3205"));
  const Said events = kvtier("events");
  expect_in(events.text, "a slab is gone, and ");
  expect_in(events.text, drive + "/slab");
  EXPECT_EQ(events.text.find(" 0 chunks with it"), std::string::npos);
}

TEST_F(Operations, AHolderThatDiesIsLoggedAndDoctorSaysSo) {
  start(small_pool("2MiB"), Keep::kYes);
  EXPECT_EQ(daemon_->status().at("keeper").at("kind"), "holder");
  EXPECT_EQ(kvtier("doctor").text.find("holder process has ended"), std::string::npos);
  const std::string holder = daemon::holder_path(daemon_->socket());
  int killed = 0;
  for (const auto& process : std::filesystem::directory_iterator("/proc")) {
    const int pid = std::atoi(process.path().filename().c_str());
    if (pid == 0) continue;
    std::ifstream file(process.path() / "cmdline");
    const std::string words(std::istreambuf_iterator<char>(file), {});
    if (words.find("--hold") == std::string::npos || words.find(holder) == std::string::npos) {
      continue;
    }
    killed += ::kill(pid, SIGKILL) == 0;
  }
  ASSERT_EQ(killed, 1);
  EXPECT_TRUE(daemon_->logged("KV1022"));
  ASSERT_TRUE(std::filesystem::exists(holder)) << "its socket is still there";
  expect_in(problems(), "holder process has ended");
  const Said doctor = kvtier("doctor");
  expect_in(doctor.text, "keeper");
  expect_in(doctor.text, "holder process has ended");
  EXPECT_TRUE(client_->store_all(1, kChunks)) << "the daemon goes on";
}

// What is found after a restart is found device by device; evictions must not go so.
TEST_F(Operations, TwoDevicesAreWrittenEvenlyAfterARestart) {
  const std::string config =
      small_pool("2MiB") + nvme({path("a"), path("b")}, "17MiB", "segment_size = '1MiB'\n");
  start(config);
  fill(0, 96);  // about twice what host memory and both devices hold
  const auto written = [&](size_t device) {
    return daemon_->ask("/v1/tiers/nvme")
        .at("devices")
        .at(device)
        .at("write_bytes")
        .get<uint64_t>();
  };
  EXPECT_GT(daemon_->counter("lower_evicted"), 0u) << "both are full";
  daemon_->stop();
  daemon_->start();
  ASSERT_TRUE(client_->wait_attached());
  ASSERT_TRUE(daemon_->logged("KV3206"));
  EXPECT_GT(daemon_->counter("lower_recovered"), 300u);
  const uint64_t before[] = {written(0), written(1)};
  fill(1000, 24);
  ASSERT_TRUE(eventually(seconds(10), [&] { return daemon_->counter("demoted") > 100; }));
  const auto first = static_cast<double>(written(0) - before[0]);
  const auto second = static_cast<double>(written(1) - before[1]);
  const double share = first / (first + second);
  std::printf("%.3f of what was written went to the first device\n", share);
  EXPECT_GT(share, 0.4);
  EXPECT_LT(share, 0.6);
}

TEST_F(Operations, ChunksLargerThanASegmentAreNamedWithTheRemedyAndCounted) {
  start(small_pool("64MiB") + nvme({path("drive")}, "32MiB", "segment_size = '1MiB'\n"));
  FaultClient large({.socket = daemon_->socket(), .model = "large", .chunk_bytes = 2 * MiB});
  ASSERT_TRUE(large.wait_attached());
  for (uint64_t prompt = 0; prompt < 8; ++prompt) {
    EXPECT_TRUE(large.store_all(prompt, 8)) << "host memory takes them";
  }
  EXPECT_TRUE(daemon_->logged("KV3205"));
  expect_in(problems(), "chunks of large need slots of ");
  expect_in(problems(), "nvme.segment_size");
  EXPECT_GT(daemon_->counter("dropped_too_large"), 0u);
  EXPECT_EQ(daemon_->counter("dropped_write_failed"), 0u);
  EXPECT_EQ(daemon_->counter("demoted"), 0u);
}

// The smallest and the largest chunk there are, at once, down and up and over a restart.
TEST_F(Operations, ChunksOf64KiBAnd128MiBLiveBesideEachOther) {
  start(std::string("[host]\nhuge_pages = 'never'\nlock = 'never'\ncapacity = '1GiB'\n") +
        nvme({path("drive")}, "3GiB", "segment_size = '256MiB'\n"));
  const ClientOptions options = {
      .socket = daemon_->socket(), .model = "largest", .chunk_bytes = 128 * MiB};
  auto large = std::make_unique<FaultClient>(options);
  ASSERT_TRUE(large->wait_attached());
  for (uint64_t prompt = 0; prompt < 8; ++prompt) ASSERT_TRUE(large->store_all(prompt, 1));
  fill(0, 32);
  EXPECT_TRUE(
      eventually(seconds(20), [&] { return daemon_->counter("demoted_bytes") > 300 * MiB; }));
  EXPECT_EQ(daemon_->counter("dropped_too_large"), 0u);
  const auto expect_all = [&](int least) {
    int found = 0;
    for (uint64_t prompt = 0; prompt < 8; ++prompt) {
      const ReadBack back = large->read_prefix(prompt, 1, seconds(20));
      EXPECT_EQ(back.wrong_bytes, 0u);
      found += static_cast<int>(back.loaded);
    }
    EXPECT_GE(found, least);
    EXPECT_EQ(client_->read_prefix(31, kChunks).wrong_bytes, 0u);
  };
  expect_all(8);
  daemon_->kill();
  daemon_->start();
  ASSERT_TRUE(large->wait_attached());
  ASSERT_TRUE(daemon_->logged("KV3206"));
  expect_all(2);  // host memory was not kept here
}

// --- kvtier flush

TEST_F(Operations, WhatWasFlushedDoesNotComeBackWithAKill) {
  start(small_pool("2MiB") + nvme({path("drive")}, "64MiB"), Keep::kYes);
  for (int round = 0; round < 5; ++round) {
    fill(0, 32);
    ASSERT_EQ(daemon_->ask("/v1/flush", "POST").count("chunks"), 1u);
    daemon_->kill();
    daemon_->start();
    ASSERT_TRUE(client_->wait_attached());
    ASSERT_TRUE(daemon_->logged("KV3206"));
    for (uint64_t prompt = 0; prompt < 32; ++prompt) {
      const auto found = client_->match(prompt, kChunks);
      ASSERT_TRUE(found.ok());
      EXPECT_EQ(found->chunks() + found->chunks_lower(), 0u) << prompt;
    }
  }
}

// The answer comes after the record, never before.
TEST_F(Operations, AFlushThatIsNotRecordedIsNotAnswered) {
  daemon_ = std::make_unique<FaultDaemon>(small_pool("2MiB") + nvme({path("drive")}, "64MiB"));
  daemon_->die_at("checkpoint.batch_with_removals", 1);
  daemon_->start();
  client_ = std::make_unique<FaultClient>(ClientOptions{.socket = daemon_->socket()});
  ASSERT_TRUE(client_->wait_attached());
  fill(0, 16);
  ASSERT_TRUE(eventually(seconds(10), [&] { return daemon_->counter("demoted") > 20; }));
  EXPECT_TRUE(daemon_->ask("/v1/flush", "POST").is_null());
  EXPECT_TRUE(eventually(seconds(5), [&] { return !daemon_->running(); }));
  daemon_->kill();
}

// --- kvtier verify --online

TEST_F(Operations, VerifyOnlineSaysAllInJson) {
  start(small_pool("2MiB") + nvme({path("drive")}, "64MiB"));
  fill(0, 16);
  ASSERT_TRUE(eventually(seconds(10), [&] { return daemon_->counter("demoted") > 50; }));
  const Said said = kvtier("verify --online --json");
  EXPECT_EQ(said.status, 0) << said.text;
  const nlohmann::json json = nlohmann::json::parse(said.text, nullptr, false);
  ASSERT_TRUE(json.is_object()) << said.text;
  EXPECT_EQ(json.at("good"), true);
  EXPECT_GT(json.at("scrub").at("checked"), 50u);
  EXPECT_EQ(json.at("scrub").at("bad"), 0u);
}

TEST_F(Operations, VerifyOnlineRefusesNoRateAndNoTier) {
  start(small_pool("2MiB"));
  const Said none = kvtier("verify --online --rate 0");
  EXPECT_EQ(none.status, 2) << none.text;
  expect_in(none.text, "--rate takes more than 0");
  const Said off = kvtier("verify --online");
  EXPECT_NE(off.status, 0);
  expect_in(off.text, "there is no tier below host memory");
}

TEST_F(Operations, VerifyOnlineSaysWhenTheTierIsOrGoesOutOfService) {
  const daemon::LoopDevice loop(folder_.path() + "/backing", 96 * MiB);
  if (!loop.ok()) GTEST_SKIP() << "no loop device for this user";
  const std::string make = "mkfs.ext4 -q -F " + loop.path() + " 2>/dev/null";
  if (std::system(make.c_str()) != 0) GTEST_SKIP() << "no mkfs.ext4";
  const std::string drive = path("drive");
  const daemon::Mounted mounted(drive, "ext4", loop.path().c_str(), "");
  ASSERT_TRUE(mounted.ok());
  start(small_pool("2MiB") + nvme({drive}, "64MiB"));
  fill(0, 32);
  ASSERT_TRUE(eventually(seconds(10), [&] { return daemon_->counter("demoted") > 100; }));
  Said under_way;
  std::thread verify([&] { under_way = kvtier("verify --online --rate 1MiB"); });
  EXPECT_TRUE(eventually(seconds(10), [&] {
    return daemon_->ask("/v1/tiers/nvme").at("scrub").at("running") == true;
  }));
  const daemon::Fd directory(::open(drive.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  constexpr uint32_t kNoLogFlush = 2;
  ASSERT_EQ(::ioctl(directory.get(), _IOR('X', 125, uint32_t), &kNoLogFlush), 0);
  verify.join();
  EXPECT_EQ(under_way.status, 4) << under_way.text;
  expect_in(under_way.text, "the nvme tier is degraded: out of service");
  const Said after = kvtier("verify --online");
  EXPECT_EQ(after.status, 4) << after.text;
  expect_in(after.text, "out of service");
  client_.reset();
  daemon_->kill();
}

}  // namespace
}  // namespace kvtier::faults
