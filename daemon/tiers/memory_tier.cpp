// Transfers of the memory tier: queued in order, finished when the clock says so. Core thread.
#include "daemon/tiers/memory_tier.hpp"

#include <algorithm>
#include <cstring>

namespace kvtier::daemon {

MemoryTier::MemoryTier(const MemoryTierOptions& options, const Clock& clock)
    : options_(options), clock_(clock) {}

TierCapacity MemoryTier::capacity() const {
  return {options_.capacity_bytes, used_bytes_, queued_bytes_, in_service_};
}

Status MemoryTier::admit() const {
  if (!in_service_) return Error(Code::kUnavailable, "the tier is out of service");
  if (transfers_.size() >= options_.queue_max) {
    return Error(Code::kUnavailable, "the tier's queue is full");
  }
  return {};
}

void MemoryTier::queue(Transfer transfer) {
  const uint64_t now = clock_.now_ns();
  const double seconds =
      static_cast<double>(transfer.completion.bytes) / options_.bandwidth_bytes_per_s;
  link_free_ns_ = std::max(link_free_ns_, now) + static_cast<uint64_t>(seconds * 1e9);
  transfer.begun_ns = now;
  transfer.due_ns = link_free_ns_ + static_cast<uint64_t>(options_.latency_s * 1e9);
  queued_bytes_ += transfer.completion.bytes;
  transfers_.push_back(transfer);
}

Status MemoryTier::begin_write(const TierWrite& write) {
  Status admitted = admit();
  if (!admitted.ok()) return admitted;
  if (used_bytes_ + write.slot.size() > options_.capacity_bytes) {
    return Error(Code::kFull, "the tier is full");
  }
  Transfer transfer = {};
  transfer.completion.ticket = write.ticket;
  transfer.completion.place = next_place_++;
  transfer.completion.bytes = write.slot.size();
  transfer.source = write.slot;
  used_bytes_ += write.slot.size();
  queue(transfer);
  return {};
}

Status MemoryTier::begin_read(const TierRead& read) {
  Status admitted = admit();
  if (!admitted.ok()) return admitted;
  const auto place = places_.find(read.place);
  if (place == places_.end()) return Error(Code::kNotFound, "the place holds nothing");
  if (place->second.size() != read.slot.size()) {
    return Error::format(Code::kInvalidArgument, "the place holds %zu bytes, not %zu",
                         place->second.size(), read.slot.size());
  }
  Transfer transfer = {};
  transfer.completion.ticket = read.ticket;
  transfer.completion.bytes = read.slot.size();
  transfer.completion.place = read.place;
  transfer.target = read.slot;
  queue(transfer);
  return {};
}

void MemoryTier::forget(TierPlace place) {
  const auto found = places_.find(place);
  if (found == places_.end()) return;
  used_bytes_ -= found->second.size();
  places_.erase(found);
}

size_t MemoryTier::poll(std::span<TierCompletion> out) {
  size_t count = 0;
  const uint64_t now = clock_.now_ns();
  while (count < out.size() && !transfers_.empty() && transfers_.front().due_ns <= now) {
    Transfer& transfer = transfers_.front();
    TierCompletion& completion = transfer.completion;
    completion.seconds = static_cast<double>(now - transfer.begun_ns) * 1e-9;
    queued_bytes_ -= completion.bytes;
    if (!transfer.source.empty()) {
      places_[completion.place].assign(transfer.source.begin(), transfer.source.end());
    } else {
      const auto place = places_.find(completion.place);
      if (place == places_.end()) {
        completion.code = Code::kNotFound;
      } else {
        std::memcpy(transfer.target.data(), place->second.data(), transfer.target.size());
      }
    }
    out[count++] = completion;
    transfers_.pop_front();
  }
  return count;
}

}  // namespace kvtier::daemon
