// The nvme tier on simulated disks: restarts, faults, budgets, several devices. The check of bytes
// that the core makes is made here by check().
#include "daemon/tiers/nvme_tier.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <random>

#include "tests/daemon/tiers/simulated_machine.hpp"

namespace kvtier::daemon {
namespace {

using wire::KiB;
using wire::MiB;

TEST(NvmeTier, ARestartKeepsEverything) {
  Machine machine(2);
  machine.start();
  std::map<uint64_t, TierPlace> places;
  for (uint64_t i = 0; i < 30; ++i) {
    const Stored stored = make_chunk(i, 64 * KiB);
    places[i + 1] = machine.write(stored, i % 2);
    ASSERT_NE(places[i + 1], 0u);
  }
  machine.run(10'000'000);
  const uint64_t used = machine.tier().capacity().used_bytes;
  machine.crash(CrashKind::kKill);
  machine.start();
  EXPECT_EQ(machine.tier().recovered_tenants().size(), 2u);
  const auto found = machine.recover();
  ASSERT_EQ(found.size(), 30u);
  EXPECT_EQ(machine.tier().capacity().used_bytes, used);
  for (const auto& [key, record] : found) {
    EXPECT_EQ(record.tenant, (key - 1) % 2);
    EXPECT_TRUE(machine.reads_back(record.place, make_chunk(key - 1, 64 * KiB).chunk));
  }
}

TEST(NvmeTier, WhatWasForgottenStaysForgotten) {
  Machine machine(1);
  machine.start();
  const TierPlace one = machine.write(make_chunk(1, 64 * KiB));
  machine.write(make_chunk(2, 64 * KiB));
  machine.tier().forget(one);
  machine.run(10'000'000);
  machine.crash(CrashKind::kKill);
  machine.start();
  const auto found = machine.recover();
  EXPECT_EQ(found.size(), 1u);
  EXPECT_TRUE(found.contains(3));
}

// Every way in which a write can go wrong unseen is seen by whoever reads.
TEST(NvmeTier, WrongBytesOnTheDiskAreFoundByTheReader) {
  for (const DiskFault fault :
       {DiskFault::kTornWrite, DiskFault::kMisdirectedWrite, DiskFault::kBitFlip}) {
    Machine machine(1);
    machine.start();
    machine.recover();
    const Stored first = make_chunk(1, 64 * KiB);
    ASSERT_NE(machine.write(first), 0u);  // the segment's descriptor is written with it
    machine.disks_[0]->inject(DiskOperation::kWrite, fault);
    const Stored stored = make_chunk(2, 64 * KiB - 8);
    const TierPlace place = machine.write(stored);
    ASSERT_NE(place, 0u) << "the disk says that it went well";
    PageBytes target(stored.chunk.bytes());
    ASSERT_EQ(machine.read(place, target), Code::kOk);
    // A flipped bit in the padding is no damage to what is served.
    if (target != stored.bytes) {
      EXPECT_TRUE(!check(stored.chunk, target) || fault == DiskFault::kBitFlip);
    } else {
      EXPECT_EQ(fault, DiskFault::kMisdirectedWrite) << "may have hit its own place";
    }
  }
}

TEST(NvmeTier, AStaleSlotIsFoundByTheReader) {
  Machine machine(1);
  machine.start();
  const Stored old = make_chunk(1, 64 * KiB);
  const TierPlace place = machine.write(old);
  machine.tier().forget(place);
  machine.run(10'000'000);
  // The next write of the slot is lost, its record is not.
  machine.disks_[0]->faults().lost_at_power_cut = 1;
  const Stored stored = make_chunk(2, 64 * KiB);
  ASSERT_EQ(machine.write(stored), place);
  machine.run(10'000'000);
  machine.disks_[0]->crash(CrashKind::kPowerCut);
  machine.metadata_->crash(0);
  machine.tier_.reset();
  machine.start();
  const auto found = machine.recover();
  for (const auto& [key, record] : found) {
    EXPECT_FALSE(machine.reads_back(record.place, record.chunk)) << key;
  }
}

TEST(NvmeTier, LostMetadataIsRebuiltFromHeaders) {
  Machine machine(2);
  machine.start();
  for (uint64_t i = 0; i < 20; ++i) ASSERT_NE(machine.write(make_chunk(i, 64 * KiB), i % 2), 0u);
  machine.run(10'000'000);
  machine.crash(CrashKind::kKill);
  machine.records_->records.clear();
  machine.start();
  const auto found = machine.recover();
  ASSERT_EQ(found.size(), 20u);
  for (const auto& [key, record] : found) {
    EXPECT_EQ(record.tenant, (key - 1) % 2);
    EXPECT_TRUE(machine.reads_back(record.place, make_chunk(key - 1, 64 * KiB).chunk));
  }
  EXPECT_FALSE(machine.tier().take_notices().empty());
  machine.run(10'000'000);
  machine.crash(CrashKind::kKill);
  machine.start();
  EXPECT_EQ(machine.recover().size(), 20u) << "the rebuilt records are recorded";
}

TEST(NvmeTier, AFailedMetadataStoreServesOn) {
  Machine machine(1);
  machine.start();
  machine.metadata_->fail();
  const Stored stored = make_chunk(1, 64 * KiB);
  const TierPlace place = machine.write(stored);
  EXPECT_TRUE(machine.reads_back(place, stored.chunk));
  machine.tier().forget(place);
  const uint64_t settles = machine.tier().settle();
  machine.run(10'000'000);
  EXPECT_EQ(machine.tier().capacity().used_bytes, 0u);
  EXPECT_FALSE(machine.tier().settled(settles)) << "an older record may still name the chunk";
}

// A segment of another tenant proves nothing by its headers.
TEST(NvmeTier, HeadersOfAnotherTenantsChunksAreNotTaken) {
  Machine machine(1, MiB, 1);
  machine.start();
  for (uint64_t i = 0; i < 10; ++i) ASSERT_NE(machine.write(make_chunk(i, 64 * KiB), 0), 0u);
  const Stored other = make_chunk(100, 64 * KiB);
  TierPlace places[64];
  const size_t count = machine.tier().make_room(1, other.chunk.bytes(), places);
  ASSERT_EQ(count, 10u);
  for (size_t i = 0; i < count; ++i) machine.tier().forget(places[i]);
  ASSERT_NE(machine.write(other, 1), 0u);
  machine.run(10'000'000);
  machine.crash(CrashKind::kKill);
  machine.records_->records.clear();
  machine.start();
  EXPECT_TRUE(machine.recover().empty());
}

TEST(NvmeTier, SizesFrom64KiBTo128MiBAtOnce) {
  Machine machine(1, 160 * MiB, 5);
  machine.disk_options_.bandwidth_bytes_per_s = 4e9;
  machine.start();
  std::vector<std::pair<Stored, TierPlace>> all;
  for (const uint64_t bytes : {64 * KiB, 512 * KiB, 2 * MiB, 32 * MiB, 128 * MiB}) {
    Stored stored = make_chunk(bytes, bytes);
    const TierPlace place = machine.write(stored);
    ASSERT_NE(place, 0u) << bytes;
    all.emplace_back(std::move(stored), place);
  }
  for (const auto& [stored, place] : all) EXPECT_TRUE(machine.reads_back(place, stored.chunk));
  const TierDevice device = machine.tier().devices()[0];
  uint64_t payload = 0;
  for (const auto& [stored, place] : all) payload += stored.chunk.bytes();
  EXPECT_EQ(device.write_bytes, payload + 5 * nvme::kPage) << "chunks and five descriptors";
}

TEST(NvmeTier, CapacityIsNeverExceeded) {
  Machine machine(1, MiB, 4);
  machine.start();
  const uint64_t capacity = machine.tier().capacity().capacity_bytes;
  EXPECT_EQ(capacity, 4 * MiB);
  uint64_t written = 0;
  while (machine.write(make_chunk(written, 64 * KiB)) != 0) ++written;
  EXPECT_EQ(written, 4 * (MiB / (72 * KiB)));
  EXPECT_LE(machine.tier().capacity().used_bytes, capacity);
  machine.run(10'000'000);
  const uint64_t used = machine.tier().capacity().used_bytes;
  machine.crash(CrashKind::kKill);
  machine.start();
  machine.recover();
  EXPECT_EQ(machine.tier().capacity().used_bytes, used);
  const Stored one_more = make_chunk(1000, 64 * KiB);
  EXPECT_EQ(machine.tier().begin_write({1, 0, one_more.chunk, one_more.bytes}).code(), Code::kFull);
}

TEST(NvmeTier, DevicesAreUsedEvenly) {
  Machine machine(4);
  machine.start();
  for (uint64_t i = 0; i < 40; ++i) ASSERT_NE(machine.write(make_chunk(i, 64 * KiB)), 0u);
  for (const TierDevice& device : machine.tier().devices()) EXPECT_EQ(device.writes, 10u);
}

TEST(NvmeTier, ADeadDeviceIsOutAndComesBack) {
  Machine machine(2);
  machine.start();
  machine.recover();
  std::vector<std::pair<TierPlace, TierChunk>> all;
  for (uint64_t i = 0; i < 10; ++i) {
    const Stored stored = make_chunk(i, 64 * KiB);
    all.emplace_back(machine.write(stored), stored.chunk);
  }
  machine.disks_[0]->fail(EIO);
  uint32_t failed = 0;
  for (int round = 0; round < 2; ++round) {
    for (const auto& [place, chunk] : all) failed += machine.reads_back(place, chunk) ? 0u : 1u;
  }
  EXPECT_EQ(failed, 10u) << "half of the chunks, twice";
  EXPECT_EQ(machine.tier().devices()[0].state, "out_of_service");
  EXPECT_TRUE(machine.tier().capacity().in_service) << "the other one serves";
  ASSERT_NE(machine.write(make_chunk(50, 64 * KiB)), 0u);
  machine.disks_[0]->fail(0);
  machine.run(10'000'000'000);
  EXPECT_EQ(machine.tier().devices()[0].state, "ok");
  for (const auto& [place, chunk] : all) EXPECT_TRUE(machine.reads_back(place, chunk));
}

// Else the core would wait for slots that nobody can write.
TEST(NvmeTier, RoomOnADeadDeviceIsNoRoom) {
  Machine machine(2);
  machine.start();
  const uint64_t both = machine.tier().room(0, 64 * KiB);
  machine.recover();
  machine.disks_[0]->fail(EIO);
  for (uint64_t i = 0; i < 12; ++i) machine.write(make_chunk(i, 64 * KiB));
  ASSERT_EQ(machine.tier().devices()[0].state, "out_of_service");
  EXPECT_LE(machine.tier().room(0, 64 * KiB), both / 2);
  EXPECT_FALSE(machine.tier().serves(0));
  EXPECT_TRUE(machine.tier().serves(1));
}

TEST(NvmeTier, AHangingDeviceIsOutWithinTwoSecondsAndItsMemoryComesBackLater) {
  Machine machine(1);
  machine.start();
  machine.recover();
  const Stored stored = make_chunk(1, 64 * KiB);
  const TierPlace place = machine.write(stored);
  machine.disks_[0]->hang();
  PageBytes target(stored.chunk.bytes(), std::byte{0x5a});
  ASSERT_TRUE(machine.tier().begin_read({1000, place, target}).ok());
  const uint64_t begun = machine.clock_.now_ns();
  const TierCompletion given_up = machine.wait(1000);
  EXPECT_LE(machine.clock_.now_ns() - begun, 2'000'000'000u);
  EXPECT_EQ(given_up.code, Code::kSystem);
  EXPECT_TRUE(given_up.memory_in_use);
  EXPECT_FALSE(machine.tier().capacity().in_service);
  EXPECT_EQ(machine.tier().begin_read({1001, place, target}).code(), Code::kUnavailable);
  EXPECT_EQ(target[0], std::byte{0x5a});
  machine.disks_[0]->release();
  const TierCompletion returned = machine.wait(1000);
  EXPECT_FALSE(returned.memory_in_use);
  EXPECT_NE(returned.code, Code::kOk) << "late is not a result";
  machine.run(10'000'000'000);
  EXPECT_TRUE(machine.tier().capacity().in_service);
  EXPECT_TRUE(machine.reads_back(place, stored.chunk));
}

TEST(NvmeTier, ADiskAHundredTimesSlowerIsOutWithinTwoSeconds) {
  Machine machine(1, 16 * MiB, 4);
  machine.disk_options_.bandwidth_bytes_per_s = 2e9;
  machine.start();
  machine.recover();
  std::vector<std::pair<TierPlace, Stored>> all;
  for (uint64_t i = 0; i < 8; ++i) {
    Stored stored = make_chunk(i, 2 * MiB);
    const TierPlace place = machine.write(stored);
    ASSERT_NE(place, 0u);
    all.emplace_back(place, std::move(stored));
  }
  // Keeps the disk busy, fast and then slow.
  std::vector<PageBytes> targets(8, PageBytes(all[0].second.chunk.bytes()));
  std::vector<uint64_t> busy(8, 0);
  uint64_t slow_since = 0;
  for (int i = 0; i < 60000 && machine.tier().capacity().in_service; ++i) {
    if (i == 20000) {
      machine.disks_[0]->set_bandwidth(2e7);
      slow_since = machine.clock_.now_ns();
    }
    for (size_t t = 0; t < targets.size(); ++t) {
      if (busy[t] != 0) continue;
      busy[t] = 5000 + t;
      if (!machine.tier().begin_read({busy[t], all[t].first, targets[t]}).ok()) busy[t] = 0;
    }
    machine.step();
    for (const TierCompletion& done : machine.completions_) busy[done.ticket - 5000] = 0;
    machine.completions_.clear();
  }
  ASSERT_NE(slow_since, 0u) << "out while it was fast";
  EXPECT_FALSE(machine.tier().capacity().in_service);
  EXPECT_LE(machine.clock_.now_ns() - slow_since, 2'000'000'000u);
  machine.disks_[0]->set_bandwidth(2e9);
  machine.run(20'000'000'000);
  EXPECT_TRUE(machine.tier().capacity().in_service);
}

TEST(NvmeTier, AWriteErrorLeavesNothingBehind) {
  Machine machine(1);
  machine.start();
  ASSERT_NE(machine.write(make_chunk(1, 64 * KiB)), 0u);
  machine.disks_[0]->inject(DiskOperation::kWrite, DiskFault::kError);
  EXPECT_EQ(machine.write(make_chunk(2, 64 * KiB)), 0u);
  machine.run(10'000'000);
  EXPECT_EQ(machine.tier().capacity().used_bytes, 72 * KiB);
  machine.crash(CrashKind::kKill);
  machine.start();
  EXPECT_EQ(machine.recover().size(), 1u);
}

TEST(NvmeTier, LoadsGoBeforeStores) {
  Machine machine(1, 16 * MiB, 4);
  machine.options_.device.depth = 2;
  machine.start();
  machine.recover();
  const Stored stored = make_chunk(1, 2 * MiB);
  const TierPlace place = machine.write(stored);
  std::vector<Stored> stores;
  for (uint64_t i = 0; i < 6; ++i) stores.push_back(make_chunk(10 + i, 2 * MiB));
  for (uint64_t i = 0; i < 6; ++i) {
    ASSERT_TRUE(machine.tier().begin_write({100 + i, 0, stores[i].chunk, stores[i].bytes}).ok());
  }
  machine.tier().submit();
  PageBytes target(stored.chunk.bytes());
  ASSERT_TRUE(machine.tier().begin_read({200, place, target}).ok());
  machine.completions_.clear();
  machine.wait(200);
  size_t before = 0;
  for (const TierCompletion& done : machine.completions_) before += done.ticket < 200 ? 1 : 0;
  EXPECT_LE(before, 3u) << "only stores that the disk already had";
}

TEST(NvmeTier, BesideLoadsUnderWayStoresGetFewPlaces) {
  Machine machine(1, 64 * MiB, 4);
  machine.options_.device.depth = 32;
  machine.start();
  machine.recover();
  const Stored stored = make_chunk(1, 64 * KiB);
  const TierPlace place = machine.write(stored);
  std::vector<Stored> stores;
  for (uint64_t i = 0; i < 12; ++i) stores.push_back(make_chunk(10 + i, 64 * KiB));
  std::vector<PageBytes> targets(16, PageBytes(stored.chunk.bytes()));
  for (uint64_t i = 0; i < targets.size(); ++i) {
    ASSERT_TRUE(machine.tier().begin_read({200 + i, place, targets[i]}).ok());
  }
  machine.tier().submit();
  for (uint64_t i = 0; i < stores.size(); ++i) {
    ASSERT_TRUE(machine.tier().begin_write({100 + i, 0, stores[i].chunk, stores[i].bytes}).ok());
  }
  machine.tier().submit();
  EXPECT_EQ(machine.tier().devices().front().in_flight, targets.size() + 2) << "an eighth as many";
  for (uint64_t i = 0; i < targets.size(); ++i) machine.wait(200 + i);
  for (uint64_t i = 0; i < stores.size(); ++i) machine.wait(100 + i);
}

TEST(NvmeTier, ANewerVersionIsRefusedAndNotTouched) {
  Machine machine(1);
  machine.start();
  machine.write(make_chunk(1, 64 * KiB));
  machine.crash(CrashKind::kKill);
  const uint32_t newer = 2;
  machine.media_[0]->write(8, std::as_bytes(std::span(&newer, 1)));
  PageBytes before(machine.media_[0]->size_bytes()), after(before.size());
  machine.media_[0]->read(0, before);
  machine.start();
  EXPECT_FALSE(machine.tier().capacity().in_service);
  const Stored stored = make_chunk(2, 64 * KiB);
  EXPECT_EQ(machine.tier().begin_write({1, 0, stored.chunk, stored.bytes}).code(),
            Code::kUnavailable);
  const TierDevice device = machine.tier().devices()[0];
  EXPECT_EQ(device.state, "failed");
  EXPECT_NE(device.reason.find("newer version"), std::string::npos) << device.reason;
  machine.run(1'000'000'000);
  machine.media_[0]->read(0, after);
  EXPECT_EQ(before, after);
}

TEST(NvmeTier, WhatIsNotASlabIsRefusedAndNotTouched) {
  Machine machine(1);
  const std::string text = "somebody's partition table";
  machine.media_[0]->write(0, std::as_bytes(std::span(text)));
  machine.start();
  EXPECT_EQ(machine.tier().devices()[0].state, "failed");
  std::string after(text.size(), ' ');
  machine.media_[0]->read(0, std::as_writable_bytes(std::span(after)));
  EXPECT_EQ(after, text);
}

TEST(NvmeTier, OneDamagedSuperblockIsWrittenAgainFromTheOther) {
  Machine machine(1);
  machine.start();
  ASSERT_NE(machine.write(make_chunk(1, 64 * KiB)), 0u);
  machine.run(10'000'000);
  machine.crash(CrashKind::kKill);
  machine.media_[0]->flip_bit(100, 3);
  machine.start();
  EXPECT_EQ(machine.recover().size(), 1u);
  machine.crash(CrashKind::kKill);
  machine.media_[0]->flip_bit(nvme::kPage + 100, 3);
  machine.start();
  EXPECT_EQ(machine.recover().size(), 1u) << "the first copy is whole again";
}

TEST(NvmeTier, PreparingWritesEverySegmentOnceAndOnlyOnce) {
  Machine machine(1);
  machine.options_.prepare = true;
  machine.start();
  machine.run(1'000'000'000);
  TierDevice device = machine.tier().devices()[0];
  EXPECT_EQ(device.prepared_bytes, 4 * MiB);
  EXPECT_EQ(device.prepare_bytes, 4 * MiB);
  machine.crash(CrashKind::kKill);
  machine.start();
  machine.run(1'000'000'000);
  device = machine.tier().devices()[0];
  EXPECT_EQ(device.prepared_bytes, 4 * MiB);
  EXPECT_EQ(device.write_bytes, 0u);
}

// Whatever is asked for, no window of a second or a day gets more than its budget, restarts and
// all. Seeds are printed; the windows begin at every write.
TEST(NvmeTier, TheWriteBudgetIsKeptInEveryWindow) {
  const uint64_t seed = 20261122;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  Machine machine(1, MiB, 8);
  machine.options_.device.write_bytes_per_second = 2 * MiB;
  machine.options_.device.write_bytes_per_day = 40 * MiB;
  machine.start();
  machine.recover();
  std::vector<std::pair<uint64_t, uint64_t>> log;  // when, bytes written in all before
  uint64_t base = 0, last = 0;
  std::vector<TierPlace> places;
  const Stored stored = make_chunk(1, 64 * KiB);
  uint64_t ticket = 0;
  for (int i = 0; i < 60000; ++i) {
    const Status begun = machine.tier().begin_write({++ticket, 0, stored.chunk, stored.bytes});
    if (begun.code() == Code::kFull && !places.empty()) {
      machine.tier().forget(places[random() % places.size()]);
    }
    // Mostly small steps, now and then hours.
    const bool is_long = random() % 3000 == 0;
    machine.step(is_long ? 1'800'000'000'000 * (1 + random() % 8) : 1'000'000 * (random() % 20));
    for (const TierCompletion& done : machine.completions_) {
      if (done.code == Code::kOk) places.push_back(done.place);
    }
    machine.completions_.clear();
    const uint64_t written = base + machine.tier().devices()[0].write_bytes;
    if (written != last) log.emplace_back(machine.clock_.now_ns(), written - last);
    last = written;
    if (i % 20000 == 19999) {
      base = written;
      machine.crash(CrashKind::kKill);
      machine.start();
      places.clear();
      for (const auto& [key, record] : machine.recover()) places.push_back(record.place);
      machine.completions_.clear();
    }
  }
  ASSERT_GT(log.size(), 500u);
  const auto most_in = [&](uint64_t window) {
    uint64_t most = 0, sum = 0;
    for (size_t first = 0, end = 0; first < log.size(); ++first) {
      while (end < log.size() && log[end].first - log[first].first < window)
        sum += log[end++].second;
      most = std::max(most, sum);
      sum -= log[first].second;
    }
    return most;
  };
  // A write is seen when it ends, up to a step of 20 ms after it was given to the disk.
  EXPECT_LE(most_in(980'000'000), 2 * MiB);
  EXPECT_LE(most_in(24ull * 3600 * 1'000'000'000 - 20'000'000), 40 * MiB);
  EXPECT_GE(most_in(24ull * 3600 * 1'000'000'000), 20 * MiB) << "the budget is there to be used";
}

}  // namespace
}  // namespace kvtier::daemon
