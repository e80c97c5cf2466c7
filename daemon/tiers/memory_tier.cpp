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
  transfers_.push_back(std::move(transfer));
}

Status MemoryTier::begin_write(const TierWrite& write) {
  Status admitted = admit();
  if (!admitted.ok()) return admitted;
  if (used_bytes_ + write.data.size() > options_.capacity_bytes) {
    return Error(Code::kFull, "the tier is full");
  }
  if (free_.empty() && next_place_ > options_.slots_max) {
    return Error(Code::kFull, "the tier has no slot left");
  }
  Transfer transfer = {};
  transfer.tenant = tenants_.at(write.tenant);
  transfer.chunk = write.chunk;
  transfer.completion.ticket = write.ticket;
  transfer.completion.place = take_place();
  transfer.completion.bytes = write.data.size();
  transfer.source = write.data;
  used_bytes_ += write.data.size();
  queue(std::move(transfer));
  return {};
}

Status MemoryTier::begin_read(const TierRead& read) {
  Status admitted = admit();
  if (!admitted.ok()) return admitted;
  const auto place = places_.find(read.place);
  if (place == places_.end()) return Error(Code::kNotFound, "the place holds nothing");
  if (place->second.bytes.size() != read.target.size()) {
    return Error::format(Code::kInvalidArgument, "the place holds %zu bytes, not %zu",
                         place->second.bytes.size(), read.target.size());
  }
  Transfer transfer = {};
  transfer.completion.ticket = read.ticket;
  transfer.completion.bytes = read.target.size();
  transfer.completion.place = read.place;
  transfer.target = read.target;
  queue(std::move(transfer));
  return {};
}

void MemoryTier::forget(TierPlace place) {
  const auto found = places_.find(place);
  if (found == places_.end()) return;
  used_bytes_ -= found->second.bytes.size();
  places_.erase(found);
  free_.push_back(place);
}

uint32_t MemoryTier::slots_max() const {
  return options_.slots_max;
}

void MemoryTier::know_tenant(uint32_t number, const std::string& name) {
  tenants_[number] = name;
}

TierPlace MemoryTier::take_place() {
  if (free_.empty()) return next_place_++;
  const TierPlace place = free_.back();
  free_.pop_back();
  return place;
}

// Places are not tied to a tenant or a size here.
uint64_t MemoryTier::room(uint32_t, uint64_t chunk_bytes) const {
  return used_bytes_ > options_.capacity_bytes
             ? 0
             : (options_.capacity_bytes - used_bytes_) / chunk_bytes;
}

size_t MemoryTier::make_room(uint32_t, uint64_t chunk_bytes, std::span<TierPlace> out) {
  uint64_t bytes = 0;
  size_t count = 0;
  for (const auto& [place, stored] : places_) {
    if (count == out.size() || bytes >= chunk_bytes) break;
    bytes += stored.bytes.size();
    out[count++] = place;
  }
  return count;
}

void MemoryTier::restart() {
  tenants_.clear();
  unrecovered_.clear();
  for (const auto& [place, stored] : places_) unrecovered_.push_back(place);
}

std::vector<std::string> MemoryTier::recovered_tenants() {
  std::vector<std::string> names;
  for (const TierPlace place : unrecovered_) {
    const std::string& name = places_.at(place).tenant;
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

size_t MemoryTier::recovered(std::span<TierRecord> out) {
  size_t count = 0;
  while (count < out.size() && !unrecovered_.empty()) {
    const TierPlace place = unrecovered_.back();
    unrecovered_.pop_back();
    const auto stored = places_.find(place);
    if (stored == places_.end()) continue;
    for (const auto& [number, name] : tenants_) {
      if (name == stored->second.tenant) out[count++] = {place, number, stored->second.chunk};
    }
  }
  return count;
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
      places_[completion.place] = {
          transfer.tenant, transfer.chunk, {transfer.source.begin(), transfer.source.end()}};
    } else {
      const auto place = places_.find(completion.place);
      if (place == places_.end()) {
        completion.code = Code::kNotFound;
      } else {
        std::memcpy(transfer.target.data(), place->second.bytes.data(), transfer.target.size());
      }
    }
    out[count++] = completion;
    transfers_.pop_front();
  }
  return count;
}

Status MemoryTier::register_memory(std::span<std::byte> memory) {
  if (registered_bytes() + memory.size() > registered_max_) {
    return Error(Code::kSystem, "no more memory may be registered");
  }
  registered_[memory.data()] = memory.size();
  return {};
}

void MemoryTier::unregister_memory(std::span<std::byte> memory) {
  registered_.erase(registered_.lower_bound(memory.data()),
                    registered_.lower_bound(memory.data() + memory.size()));
}

uint64_t MemoryTier::registered_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [begin, size] : registered_) bytes += size;
  return bytes;
}

}  // namespace kvtier::daemon
