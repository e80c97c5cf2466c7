// What both bodies of Disk must do, what a simulated crash leaves, and what the options of the real
// one say when they are refused.
#include "daemon/io/disk.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <numeric>

#include "daemon/io/simulated_disk.hpp"
#include "daemon/io/uring_disk.hpp"
#include "tests/daemon/tiers/nvme_fixture.hpp"

namespace kvtier::daemon {
namespace {

constexpr uint64_t kSize = 8 * wire::MiB;

struct Made {
  std::unique_ptr<TemporaryFolder> folder;
  std::unique_ptr<Disk> disk;
};
struct Maker {
  const char* name;
  std::function<Made(const Clock&)> make;
};

Fd make_file(const TemporaryFolder& folder, uint64_t bytes) {
  Fd file(::open((folder.path() + "/disk").c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600));
  if (!file) file = Fd(::open((folder.path() + "/disk").c_str(), O_RDWR | O_CREAT, 0600));
  EXPECT_EQ(::ftruncate(file.get(), static_cast<off_t>(bytes)), 0);
  return file;
}

Made make_uring(const Clock& clock, const UringDiskOptions& options) {
  Made made;
  made.folder = std::make_unique<TemporaryFolder>();
  Result<std::unique_ptr<Disk>> disk =
      make_uring_disk(make_file(*made.folder, kSize), options, clock);
  EXPECT_TRUE(disk.ok()) << disk.error().message();
  made.disk = std::move(disk.value());
  return made;
}

class DiskContract : public testing::TestWithParam<Maker> {
 protected:
  void SetUp() override { made_ = GetParam().make(clock_); }
  Disk& disk() { return *made_.disk; }

  DiskCompletion finish() {
    DiskCompletion done;
    for (int i = 0; i < 10000; ++i) {
      if (disk().poll({&done, 1}) == 1) return done;
      clock_.advance_ns(100'000);
      pollfd ready = {disk().completion_fd(), POLLIN, 0};
      if (ready.fd < 0 || ::poll(&ready, 1, 1) != 1) continue;
      uint64_t ignored = 0;
      EXPECT_EQ(::read(ready.fd, &ignored, sizeof ignored), ssize_t{sizeof ignored});
    }
    ADD_FAILURE() << "the request never ended";
    return done;
  }
  DiskRequest request(uint64_t ticket, DiskOperation operation, uint64_t offset, PageBytes& data) {
    return {ticket, operation, false, offset, data.data(), static_cast<uint32_t>(data.size())};
  }

  VirtualClock clock_;
  Made made_;
};

TEST_P(DiskContract, WhatWasWrittenIsRead) {
  PageBytes data(wire::MiB), target(wire::MiB);
  std::iota(reinterpret_cast<uint32_t*>(data.data()),
            reinterpret_cast<uint32_t*>(data.data() + data.size()), 7u);
  ASSERT_TRUE(disk().begin(request(1, DiskOperation::kWrite, wire::MiB, data)).ok());
  disk().submit();
  DiskCompletion done = finish();
  EXPECT_EQ(done.ticket, 1u);
  EXPECT_EQ(done.error, 0);
  EXPECT_EQ(done.bytes, data.size());
  ASSERT_TRUE(disk().begin(request(2, DiskOperation::kRead, wire::MiB, target)).ok());
  disk().submit();
  done = finish();
  EXPECT_EQ(done.ticket, 2u);
  EXPECT_EQ(done.error, 0);
  EXPECT_EQ(target, data);
  EXPECT_EQ(disk().in_flight(), 0u);
}

TEST_P(DiskContract, ManyAtOnceEndOnceEach) {
  std::vector<PageBytes> data(disk().in_flight_max(), PageBytes(kDiskUnitBytes));
  for (size_t i = 0; i < data.size(); ++i) {
    data[i][0] = std::byte(i);
    ASSERT_TRUE(disk().begin(request(i, DiskOperation::kWrite, i * kDiskUnitBytes, data[i])).ok());
  }
  PageBytes more(kDiskUnitBytes);
  EXPECT_EQ(disk().begin(request(99, DiskOperation::kRead, 0, more)).code(), Code::kUnavailable);
  disk().submit();
  std::vector<int> ended(data.size());
  for (size_t i = 0; i < data.size(); ++i) ++ended.at(finish().ticket);
  EXPECT_EQ(std::count(ended.begin(), ended.end(), 1), static_cast<ptrdiff_t>(ended.size()));
  for (size_t i = 0; i < data.size(); ++i) {
    EXPECT_EQ(disk().read_now(i * kDiskUnitBytes, more), 0);
    EXPECT_EQ(more[0], std::byte(i));
  }
}

TEST_P(DiskContract, ADurableWriteIsAWrite) {
  PageBytes data(kDiskUnitBytes, std::byte{3}), target(kDiskUnitBytes);
  DiskRequest durable = request(1, DiskOperation::kWrite, 0, data);
  durable.durable = true;
  ASSERT_TRUE(disk().begin(durable).ok());
  disk().submit();
  EXPECT_EQ(finish().error, 0);
  EXPECT_EQ(disk().read_now(0, target), 0);
  EXPECT_EQ(target, data);
}

TEST_P(DiskContract, WhatIsNotInWholePagesOrPastTheEndIsRefused) {
  PageBytes data(2 * kDiskUnitBytes);
  DiskRequest bad = request(1, DiskOperation::kRead, 512, data);
  EXPECT_EQ(disk().begin(bad).code(), Code::kInvalidArgument);
  bad.offset = 0;
  bad.bytes = 1000;
  EXPECT_EQ(disk().begin(bad).code(), Code::kInvalidArgument);
  bad.bytes = kDiskUnitBytes;
  bad.data += 512;
  EXPECT_EQ(disk().begin(bad).code(), Code::kInvalidArgument);
  EXPECT_EQ(disk().begin(request(1, DiskOperation::kRead, kSize - kDiskUnitBytes, data)).code(),
            Code::kInvalidArgument);
  EXPECT_EQ(disk().begin(request(1, DiskOperation::kRead, UINT64_MAX - 4095, data)).code(),
            Code::kInvalidArgument);
  EXPECT_EQ(disk().in_flight(), 0u);
}

// Registered memory is a shorter way, not another result.
TEST_P(DiskContract, RegisteredMemoryIsReadAndWrittenTheSame) {
  PageBytes data(wire::MiB, std::byte{9}), target(wire::MiB);
  const bool registered = disk().register_memory(data).ok() && disk().register_memory(target).ok();
  ASSERT_TRUE(disk().begin(request(1, DiskOperation::kWrite, 0, data)).ok());
  disk().submit();
  EXPECT_EQ(finish().error, 0);
  ASSERT_TRUE(disk().begin(request(2, DiskOperation::kRead, 0, target)).ok());
  disk().submit();
  EXPECT_EQ(finish().error, 0);
  EXPECT_EQ(target, data);
  if (registered) disk().unregister_memory(target);
}

INSTANTIATE_TEST_SUITE_P(
    Disks, DiskContract,
    testing::Values(Maker{"simulated",
                          [](const Clock& clock) {
                            Made made;
                            made.disk = std::make_unique<SimulatedDisk>(
                                std::make_shared<SimulatedMedium>(kSize), SimulatedDiskOptions(),
                                clock);
                            return made;
                          }},
                    Maker{"uring", [](const Clock& clock) { return make_uring(clock, {}); }},
                    Maker{"uring_registered_buffers",
                          [](const Clock& clock) {
                            UringDiskOptions options;
                            options.registered_buffers = true;
                            return make_uring(clock, options);
                          }},
                    Maker{"uring_sqpoll",
                          [](const Clock& clock) {
                            UringDiskOptions options;
                            options.sqpoll = true;
                            return make_uring(clock, options);
                          }}),
    [](const testing::TestParamInfo<Maker>& maker) { return std::string(maker.param.name); });

// What finds no room in the table goes the longer way, and room that comes back is used.
TEST(UringDisk, AFullTableOfRegisteredMemoryRefusesAndServesOn) {
  VirtualClock clock;
  TemporaryFolder folder;
  UringDiskOptions options;
  options.registered_buffers = true;
  options.buffers_max = 2;
  Result<std::unique_ptr<Disk>> made = make_uring_disk(make_file(folder, kSize), options, clock);
  ASSERT_TRUE(made.ok()) << made.error().message();
  Disk& disk = **made;
  PageBytes pieces[] = {PageBytes(wire::MiB, std::byte{1}), PageBytes(wire::MiB, std::byte{2}),
                        PageBytes(wire::MiB, std::byte{3})};
  EXPECT_TRUE(disk.register_memory(pieces[0]).ok());
  EXPECT_TRUE(disk.register_memory(pieces[1]).ok());
  const Status full = disk.register_memory(pieces[2]);
  EXPECT_EQ(full.code(), Code::kFull);
  EXPECT_NE(std::string(full.error().message()).find("2 buffers"), std::string::npos);
  const auto transfer = [&](DiskOperation operation, PageBytes& data) {
    DiskRequest request;
    request.operation = operation;
    request.data = data.data();
    request.bytes = static_cast<uint32_t>(data.size());
    EXPECT_TRUE(disk.begin(request).ok());
    disk.submit();
    DiskCompletion done;
    while (disk.poll({&done, 1}) == 0) {
    }
    EXPECT_EQ(done.error, 0);
  };
  transfer(DiskOperation::kWrite, pieces[2]);  // not registered
  transfer(DiskOperation::kRead, pieces[0]);
  EXPECT_EQ(pieces[0], pieces[2]);
  disk.unregister_memory(pieces[1]);
  EXPECT_TRUE(disk.register_memory(pieces[2]).ok());
  transfer(DiskOperation::kRead, pieces[1]);
  EXPECT_EQ(pieces[1], pieces[2]);
}

TEST(UringDisk, ARefusedOptionIsNamed) {
  VirtualClock clock;
  TemporaryFolder folder;
  UringDiskOptions options;
  options.iopoll = true;
  Fd file = make_file(folder, kSize);
  Result<std::unique_ptr<Disk>> disk = make_uring_disk(std::move(file), options, clock);
  if (disk.ok()) GTEST_SKIP() << "this machine's device has poll queues";
  EXPECT_EQ(disk.code(), Code::kUnsupported);
  EXPECT_NE(std::string(disk.error().message()).find("nvme.iopoll"), std::string::npos)
      << disk.error().message();
}

// A file that was cut behind our back: an error with how much was there, never old memory as data.
TEST(UringDisk, AReadPastWhatIsThereIsAnError) {
  VirtualClock clock;
  TemporaryFolder folder;
  Fd file = make_file(folder, kSize);
  const int again = ::dup(file.get());
  Result<std::unique_ptr<Disk>> disk = make_uring_disk(std::move(file), {}, clock);
  ASSERT_TRUE(disk.ok());
  ASSERT_EQ(::ftruncate(again, kDiskUnitBytes), 0);
  ::close(again);
  PageBytes target(2 * kDiskUnitBytes);
  ASSERT_TRUE((*disk)->begin({1, DiskOperation::kRead, false, 0, target.data(), 8192}).ok());
  (*disk)->submit();
  DiskCompletion done;
  while ((*disk)->poll({&done, 1}) == 0) {
    pollfd ready = {(*disk)->completion_fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&ready, 1, 5000), 1);
  }
  EXPECT_EQ(done.error, EIO);
  EXPECT_EQ(done.bytes, kDiskUnitBytes);
}

class SimulatedFaults : public testing::Test {
 protected:
  void start(uint64_t seed = 1) {
    SimulatedDiskOptions options;
    options.seed = seed;
    options.faults.lost_at_power_cut = rate_;
    disk_ = std::make_unique<SimulatedDisk>(medium_, options, clock_);
  }
  DiskCompletion run(DiskOperation operation, PageBytes& data, uint64_t offset = 0) {
    const auto bytes = static_cast<uint32_t>(data.size());
    EXPECT_TRUE(disk_->begin({1, operation, false, offset, data.data(), bytes}).ok());
    DiskCompletion done;
    for (int i = 0; i < 1000 && disk_->poll({&done, 1}) == 0; ++i) clock_.advance_ns(1'000'000);
    return done;
  }
  PageBytes content() {
    PageBytes all(16 * kDiskUnitBytes);
    medium_->read(0, all);
    return all;
  }

  VirtualClock clock_;
  double rate_ = 0.5;
  std::shared_ptr<SimulatedMedium> medium_ = std::make_shared<SimulatedMedium>(kSize);
  std::unique_ptr<SimulatedDisk> disk_;
};

TEST_F(SimulatedFaults, ATornWriteKeepsWholeSectors) {
  for (uint64_t seed = 1; seed < 50; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    medium_ = std::make_shared<SimulatedMedium>(kSize);
    start(seed);
    disk_->inject(DiskOperation::kWrite, DiskFault::kTornWrite);
    PageBytes data(16 * kDiskUnitBytes, std::byte{1});
    EXPECT_EQ(run(DiskOperation::kWrite, data).error, 0);
    const PageBytes found = content();
    const auto written = std::count(found.begin(), found.end(), std::byte{1});
    EXPECT_GT(written, 0);
    EXPECT_LT(written, static_cast<ptrdiff_t>(found.size()));
    EXPECT_EQ(written % static_cast<ptrdiff_t>(kDiskSectorBytes), 0);
  }
}

TEST_F(SimulatedFaults, AShortReadAndAnErrorSaySo) {
  start();
  PageBytes data(16 * kDiskUnitBytes);
  disk_->inject(DiskOperation::kRead, DiskFault::kShortRead);
  const DiskCompletion part = run(DiskOperation::kRead, data);
  EXPECT_EQ(part.error, EIO);
  EXPECT_LT(part.bytes, data.size());
  disk_->inject(DiskOperation::kRead, DiskFault::kError);
  EXPECT_EQ(run(DiskOperation::kRead, data).error, EIO);
  EXPECT_EQ(run(DiskOperation::kRead, data).error, 0);
}

TEST_F(SimulatedFaults, AHangEndsOnlyWhenReleasedAndWritesTheMemoryOnlyThen) {
  start();
  PageBytes data(kDiskUnitBytes, std::byte{7});
  disk_->inject(DiskOperation::kRead, DiskFault::kHang);
  run(DiskOperation::kRead, data);
  EXPECT_EQ(disk_->in_flight(), 1u);
  EXPECT_EQ(data[0], std::byte{7});
  disk_->release();
  DiskCompletion done;
  EXPECT_EQ(disk_->poll({&done, 1}), 1u);
  EXPECT_EQ(data[0], std::byte{0});
}

TEST_F(SimulatedFaults, AKillKeepsWhatCompletedAndAPowerCutMayNot) {
  rate_ = 1;
  for (const CrashKind kind : {CrashKind::kKill, CrashKind::kPowerCut}) {
    medium_ = std::make_shared<SimulatedMedium>(kSize);
    start();
    PageBytes data(16 * kDiskUnitBytes, std::byte{1});
    run(DiskOperation::kWrite, data);
    disk_->crash(kind);
    EXPECT_EQ(content() == data, kind == CrashKind::kKill);
  }
}

TEST_F(SimulatedFaults, OneSeedIsOneCourseOfEvents) {
  PageBytes outcomes[2];
  for (PageBytes& outcome : outcomes) {
    medium_ = std::make_shared<SimulatedMedium>(kSize);
    start(77);
    disk_->faults().torn_write = disk_->faults().bit_flip = disk_->faults().misdirected_write = 0.3;
    for (uint64_t i = 0; i < 16; ++i) {
      PageBytes data(kDiskUnitBytes, std::byte(i + 1));
      run(DiskOperation::kWrite, data, i * kDiskUnitBytes);
    }
    disk_->crash(CrashKind::kPowerCut);
    outcome = content();
  }
  EXPECT_EQ(outcomes[0], outcomes[1]);
}

}  // namespace
}  // namespace kvtier::daemon
