#include "daemon/io/simulated_metadata.hpp"

#include <utility>

namespace kvtier::daemon {

uint64_t SimulatedMetadata::queue(Operation operation) {
  ++queued_;
  if (failed_) {
    recorded_ = queued_;
    return queued_;
  }
  queue_.push_back(std::move(operation));
  return queued_;
}

uint64_t SimulatedMetadata::put(std::string key, std::string value) {
  return queue({std::move(key), std::move(value), true, clock_.now_ns() + delay_ns_, false});
}

uint64_t SimulatedMetadata::remove(std::string key) {
  return queue({std::move(key), {}, false, clock_.now_ns() + delay_ns_, false});
}

uint64_t SimulatedMetadata::sync() {
  return queue({{}, {}, false, clock_.now_ns() + delay_ns_, true});
}

void SimulatedMetadata::apply_due() const {
  const uint64_t now = clock_.now_ns();
  while (!queue_.empty() && queue_.front().due_ns <= now) {
    Operation& operation = queue_.front();
    if (operation.is_sync) {
      records_->unsynced.clear();
      records_->unsynced_existed.clear();
      queue_.pop_front();
      ++recorded_;
      continue;
    }
    const auto before = records_->records.find(operation.key);
    const bool existed = before != records_->records.end();
    records_->unsynced.push_back({operation.key, existed ? before->second : std::string()});
    records_->unsynced_existed.push_back(existed);
    if (records_->unsynced.size() > kUnsyncedMax) {
      records_->unsynced.pop_front();
      records_->unsynced_existed.pop_front();
    }
    if (operation.is_put) {
      records_->records[operation.key] = operation.value;
    } else {
      records_->records.erase(operation.key);
    }
    queue_.pop_front();
    ++recorded_;
  }
}

uint64_t SimulatedMetadata::recorded() const {
  apply_due();
  return recorded_;
}

void SimulatedMetadata::begin_scan(const std::string& prefix) {
  apply_due();
  found_.clear();
  if (failed_) return;
  for (auto record = records_->records.lower_bound(prefix);
       record != records_->records.end() && record->first.starts_with(prefix); ++record) {
    found_.push_back({record->first, record->second});
  }
}

size_t SimulatedMetadata::scanned(std::span<MetadataRecord> out) {
  size_t count = 0;
  while (count < out.size() && !found_.empty()) {
    out[count++] = std::move(found_.front());
    found_.pop_front();
  }
  return count;
}

void SimulatedMetadata::fail() {
  failed_ = true;
  message_ = "simulated metadata failed";
  queue_.clear();
  recorded_ = queued_;
}

void SimulatedMetadata::crash(size_t lost) {
  apply_due();
  queue_.clear();
  for (; lost > 0 && !records_->unsynced.empty(); --lost) {
    const MetadataRecord& before = records_->unsynced.back();
    if (records_->unsynced_existed.back()) {
      records_->records[before.key] = before.value;
    } else {
      records_->records.erase(before.key);
    }
    records_->unsynced.pop_back();
    records_->unsynced_existed.pop_back();
  }
}

}  // namespace kvtier::daemon
