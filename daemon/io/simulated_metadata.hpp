// Metadata in memory, for tests and simulation: deterministic, records what was queued when told
// to, and loses its tail at a power cut. One thread. The store outlives the object, as files do.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "daemon/io/metadata.hpp"
#include "daemon/memory/clock.hpp"

namespace kvtier::daemon {

// What the next process finds.
struct SimulatedRecords {
  std::map<std::string, std::string> records;
  std::deque<MetadataRecord> unsynced;  // what a power cut may still take back, oldest first:
  std::deque<bool> unsynced_existed;    // the value before, and whether there was one
};

class SimulatedMetadata final : public Metadata {
 public:
  // An operation is recorded `delay_ns` after it was queued.
  SimulatedMetadata(std::shared_ptr<SimulatedRecords> records, const Clock& clock,
                    uint64_t delay_ns = 200'000)
      : records_(std::move(records)), clock_(clock), delay_ns_(delay_ns) {}

  MetadataState state() const override {
    return failed_ ? MetadataState::kFailed : MetadataState::kReady;
  }
  std::string take_message() override { return std::exchange(message_, {}); }
  uint64_t memory_bytes() const override { return 0; }
  uint64_t put(std::string key, std::string value) override;
  uint64_t remove(std::string key) override;
  uint64_t sync() override;
  uint64_t recorded() const override;
  void begin_scan(const std::string& prefix) override;
  bool scanning() const override { return !found_.empty(); }
  size_t scanned(std::span<MetadataRecord> out) override;

  // As if the disk of the state directory were full: nothing is kept from here on.
  void fail();
  // The process ends: what is due is kept, the rest is not. A power cut takes back the newest
  // `lost` records as well.
  void crash(size_t lost);

 private:
  struct Operation {
    std::string key;
    std::string value;
    bool is_put;
    uint64_t due_ns;
    bool is_sync = false;
  };
  static constexpr size_t kUnsyncedMax = 1024;
  uint64_t queue(Operation operation);
  void apply_due() const;

  std::shared_ptr<SimulatedRecords> records_;
  const Clock& clock_;
  uint64_t delay_ns_;
  mutable std::deque<Operation> queue_;
  mutable uint64_t recorded_ = 0;
  uint64_t queued_ = 0;
  std::deque<MetadataRecord> found_;
  std::string message_;
  bool failed_ = false;
};

}  // namespace kvtier::daemon
