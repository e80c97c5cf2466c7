// Transfers: where a chunk goes, what its end means for its slot. Upkeep is in nvme_upkeep.cpp,
// what happens after a restart in nvme_recovery.cpp.
#include "daemon/tiers/nvme_tier.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "daemon/memory/kill_point.hpp"
#include "daemon/tiers/nvme_cookie.hpp"

namespace kvtier::daemon {

using nvme::IoKind;
using nvme::SlotState;

void NvmeTier::FreeMemory::operator()(std::byte* memory) const {
  std::free(memory);
}

NvmeTier::Memory NvmeTier::page_memory(uint64_t bytes) {
  Memory memory(static_cast<std::byte*>(std::aligned_alloc(nvme::kPage, bytes)));
  if (memory != nullptr) std::memset(memory.get(), 0, bytes);
  return memory;
}

NvmeTier::NvmeTier(std::vector<nvme::Slab> slabs, std::unique_ptr<Metadata> metadata,
                   const NvmeTierOptions& options, const Clock& clock, Fd wake)
    : options_(options),
      clock_(clock),
      wake_(std::move(wake)),
      metadata_(std::move(metadata)),
      slabs_(std::move(slabs)) {
  for (nvme::Slab& slab : slabs_) {
    slots_.add_device(slab.superblock, std::move(slab.descriptors));
    for (const std::string& warning : slab.warnings) notices_.push_back({true, warning});
    if (slab.disk == nullptr) {
      notices_.push_back({true, slab.failure});
      devices_.push_back(std::make_unique<nvme::Device>(slab.name, slab.failure, clock_));
    } else {
      devices_.push_back(std::make_unique<nvme::Device>(slab.name, std::move(slab.disk),
                                                        slab.superblock, options_.device, clock_));
    }
  }
  upkeep_.resize(devices_.size());
  has_record_.resize(devices_.size());
}

NvmeTier::~NvmeTier() {
  for (uint32_t i = 0; i < devices_.size(); ++i) {
    if (has_record_[i] && !devices_[i]->is_failed()) save_budget(i, false);
  }
  devices_.clear();  // ends what is under way, while its memory is still there
}

uint64_t NvmeTier::put(std::string key, std::string value) {
  return metadata_ == nullptr ? 0 : metadata_->put(std::move(key), std::move(value));
}

uint64_t NvmeTier::remove(std::string key) {
  return metadata_ == nullptr ? 0 : metadata_->remove(std::move(key));
}

TierCapacity NvmeTier::capacity() const {
  TierCapacity capacity;
  capacity.in_service = false;
  for (const auto& device : devices_) {
    const TierDevice counters = device->counters();
    capacity.capacity_bytes += counters.capacity_bytes;
    capacity.in_service = capacity.in_service || device->in_service();
  }
  capacity.used_bytes = slots_.used_bytes();
  capacity.queued_bytes = queued_bytes_;
  return capacity;
}

uint32_t NvmeTier::slots_max() const {
  return static_cast<uint32_t>(std::min<uint64_t>(slots_.slots_max(), UINT32_MAX - 1));
}

void NvmeTier::know_tenant(uint32_t number, const std::string& name) {
  if (tenants_.size() <= number) tenants_.resize(number + 1, UINT32_MAX);
  tenants_[number] = slots_.intern_tenant(name);
}

uint32_t NvmeTier::find_tenant(uint32_t number) const {
  return number < tenants_.size() ? tenants_[number] : UINT32_MAX;
}

uint64_t NvmeTier::room(uint32_t tenant, uint64_t chunk_bytes) const {
  uint64_t room = 0;
  for (uint32_t i = 0; i < devices_.size(); ++i) {
    if (!devices_[i]->in_service()) continue;
    room += slots_.room(i, find_tenant(tenant), wire::slot_bytes_for(chunk_bytes));
  }
  return room;
}

// Of the devices that could be opened.
uint64_t NvmeTier::slot_bytes_max() const {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < devices_.size(); ++i) {
    if (!devices_[i]->is_failed()) bytes = std::max(bytes, slabs_[i].superblock.segment_bytes);
  }
  return bytes == 0 ? UINT64_MAX : bytes;
}

size_t NvmeTier::make_room(uint32_t tenant, uint64_t chunk_bytes, std::span<TierPlace> out) {
  const uint32_t index = find_tenant(tenant);
  if (index == UINT32_MAX) return 0;
  return slots_.make_room(index, wire::slot_bytes_for(chunk_bytes), out);
}

// The device with the shortest queue that has a slot; in turn where they are equally short, so that
// all are used evenly and a slower one gets less.
TierPlace NvmeTier::place_for(uint32_t tenant, uint64_t slot_bytes, uint32_t& chosen, Status& why) {
  const auto count = static_cast<uint32_t>(devices_.size());
  std::array<bool, 256> tried = {};
  why = Error(Code::kUnavailable, "no device of the nvme tier is in service");
  for (uint32_t attempt = 0; attempt < count; ++attempt) {
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t number = (next_device_ + i) % count;
      nvme::Device& device = *devices_[number];
      if (tried[number] || !device.in_service()) continue;
      if (best != UINT32_MAX && device.queued_bytes() >= devices_[best]->queued_bytes()) continue;
      best = number;
    }
    if (best == UINT32_MAX) break;
    tried[best] = true;
    nvme::Device& device = *devices_[best];
    if (!device.has_room()) {
      why = Error(Code::kUnavailable, "the queue of the nvme tier is full");
    } else if (!device.may_store()) {
      if (why.code() != Code::kFull) {
        why = Error(Code::kDeadline, "the write budget of the nvme tier is used up for now");
      }
    } else if (const TierPlace place = slots_.take(best, tenant, slot_bytes); place != 0) {
      next_device_ = (best + 1) % count;
      chosen = best;
      return place;
    } else {
      why = Error(Code::kFull, "the nvme tier has no free slot of this tenant and size");
    }
  }
  return 0;
}

uint32_t NvmeTier::new_transfer() {
  if (free_transfers_.empty()) {
    free_transfers_.push_back(static_cast<uint32_t>(transfers_.size()));
    transfers_.emplace_back();
  }
  const uint32_t number = free_transfers_.back();
  free_transfers_.pop_back();
  return number;
}

Status NvmeTier::begin_write(const TierWrite& write) {
  const uint32_t tenant = find_tenant(write.tenant);
  if (tenant == UINT32_MAX) {
    return Error::format(Code::kInvalidArgument, "tenant %u is not known to the nvme tier",
                         write.tenant);
  }
  const uint64_t bytes = write.chunk.bytes();
  if (write.data.size() != bytes) {
    return Error::format(Code::kInvalidArgument, "the chunk has %llu bytes, not %zu",
                         static_cast<unsigned long long>(bytes), write.data.size());
  }
  const uint64_t slot_bytes = wire::slot_bytes_for(bytes);
  if (slot_bytes > slot_bytes_max()) {
    return Error::format(Code::kInvalidArgument,
                         "a chunk of %llu bytes does not fit a segment: raise nvme.segment_size",
                         static_cast<unsigned long long>(bytes));
  }
  uint32_t device = 0;
  Status why;
  const TierPlace place = place_for(tenant, slot_bytes, device, why);
  if (place == 0) return why;
  kill_point("demote.slot_claimed");
  const uint32_t segment = slots_.slot(place).segment;
  if (slots_.segment(segment).is_dirty) write_descriptor(segment);
  const uint32_t number = new_transfer();
  transfers_[number] = {true, true, write.ticket, place, device, write.chunk, bytes};
  queued_bytes_ += bytes;
  nvme::Io io;
  io.cookie = nvme::make_cookie(nvme::CookieKind::kTransfer, number);
  io.kind = IoKind::kStore;
  io.operation = DiskOperation::kWrite;
  io.offset = slots_.offset_of(place);
  // The disk reads it; the interface of a disk has one pointer for both directions.
  io.data = const_cast<std::byte*>(write.data.data());
  io.bytes = bytes;
  devices_[device]->begin(io);
  kill_point("demote.queued");
  return {};
}

Status NvmeTier::begin_read(const TierRead& read) {
  if (!slots_.is_place(read.place) || slots_.slot(read.place).state != SlotState::kValid) {
    return Error(Code::kNotFound, "the place holds nothing");
  }
  nvme::Slot& slot = slots_.slot(read.place);
  const uint64_t bytes = slot.value * nvme::kPage;
  if (bytes != read.target.size()) {
    return Error::format(Code::kInvalidArgument, "the place holds %llu bytes, not %zu",
                         static_cast<unsigned long long>(bytes), read.target.size());
  }
  const uint32_t device = slots_.segment_of(read.place).device;
  if (!devices_[device]->in_service()) {
    return Error::format(Code::kUnavailable, "%s is out of service",
                         devices_[device]->name().c_str());
  }
  if (!devices_[device]->has_room() || slot.readers == UINT8_MAX) {
    return Error(Code::kUnavailable, "the queue of the nvme tier is full");
  }
  ++slot.readers;
  const uint32_t number = new_transfer();
  transfers_[number] = {true, false, read.ticket, read.place, device, {}, bytes};
  queued_bytes_ += bytes;
  nvme::Io io;
  io.cookie = nvme::make_cookie(nvme::CookieKind::kTransfer, number);
  io.kind = IoKind::kLoad;
  io.operation = DiskOperation::kRead;
  io.offset = slots_.offset_of(read.place);
  io.data = read.target.data();
  io.bytes = bytes;
  devices_[device]->begin(io);
  return {};
}

void NvmeTier::submit() {
  for (const auto& device : devices_) device->pump();
  kill_point("nvme.submitted");
}

void NvmeTier::forget(TierPlace place) {
  if (!slots_.is_place(place) || slots_.slot(place).state != SlotState::kValid) return;
  const nvme::Segment& segment = slots_.segment_of(place);
  slots_.set_state(place, SlotState::kForgetting);
  kill_point("delete.forgetting");
  const uint64_t number = remove(nvme::record_key(uuid(segment.device), segment.descriptor.segment,
                                                  slots_.slot_in_segment(place)));
  removals_.push_back({number, place});
  kill_point("delete.removal_queued");
}

// Slots whose removal is recorded are free, once nobody reads them.
void NvmeTier::free_removed() {
  if (removals_.empty()) return;
  const uint64_t recorded = metadata_ == nullptr ? UINT64_MAX : metadata_->recorded();
  while (!removals_.empty() && removals_.front().number <= recorded) {
    const TierPlace place = removals_.front().place;
    removals_.pop_front();
    if (slots_.slot(place).readers > 0) {
      slots_.set_state(place, SlotState::kForgotten);
    } else {
      slots_.free(place);
    }
    kill_point("reuse.freed");
  }
}

void NvmeTier::release_reader(TierPlace place) {
  nvme::Slot& slot = slots_.slot(place);
  if (--slot.readers == 0 && slot.state == SlotState::kForgotten) slots_.free(place);
}

void NvmeTier::end_write(Transfer& transfer, const nvme::IoResult& result,
                         TierCompletion& completion) {
  const TierPlace place = transfer.place;
  if (result.memory_in_use) return;  // the slot stays taken until the disk lets go
  if (result.error != 0 || result.is_late) {
    slots_.free(place);  // nothing was recorded of it
    return;
  }
  kill_point("demote.data_written");
  nvme::Slot& slot = slots_.slot(place);
  slot.value = static_cast<uint32_t>(transfer.bytes / nvme::kPage);
  slots_.set_state(place, SlotState::kValid);
  const nvme::Segment& segment = slots_.segment_of(place);
  const nvme::ChunkRecord record = {segment.descriptor.segment, slots_.slot_in_segment(place),
                                    segment.descriptor.sequence, transfer.chunk};
  put(nvme::record_key(uuid(transfer.device), record.segment, record.slot),
      nvme::encode(record, uuid(transfer.device)));
  kill_point("demote.record_queued");
  devices_[transfer.device]->count_chunk_write(transfer.chunk.header_bytes +
                                               transfer.chunk.payload_bytes);
  completion.place = place;
}

void NvmeTier::end_read(Transfer& transfer, const nvme::IoResult& result,
                        TierCompletion& completion) {
  completion.place = transfer.place;
  if (result.memory_in_use) return;
  // A sector that cannot be read may not be written again by this process.
  if (result.error == EIO && !result.is_late) slots_.slot(transfer.place).is_bad = true;
  release_reader(transfer.place);
}

void NvmeTier::end_transfer(uint32_t number, const nvme::IoResult& result) {
  Transfer& transfer = transfers_[number];
  TierCompletion completion;
  completion.ticket = transfer.ticket;
  completion.bytes = transfer.bytes;
  completion.seconds = result.seconds;
  completion.memory_in_use = result.memory_in_use;
  if (result.error != 0 || result.is_late) completion.code = Code::kSystem;
  if (transfer.is_write) {
    end_write(transfer, result, completion);
  } else {
    end_read(transfer, result, completion);
  }
  done_.push_back(completion);
  if (!result.is_late) queued_bytes_ -= transfer.bytes;
  if (result.memory_in_use) return;
  transfer.is_used = false;
  free_transfers_.push_back(number);
}

void NvmeTier::end_io(uint32_t device, const nvme::IoResult& result) {
  const auto number = static_cast<uint32_t>(nvme::cookie_number(result.cookie));
  switch (nvme::cookie_kind(result.cookie)) {
    case nvme::CookieKind::kTransfer:
      end_transfer(number, result);
      break;
    case nvme::CookieKind::kDescriptor:
      end_descriptor(number, result);
      break;
    case nvme::CookieKind::kPrepare:
      end_prepare(device, result);
      break;
    case nvme::CookieKind::kHeader:
      end_header(number, result);
      break;
  }
}

size_t NvmeTier::poll(std::span<TierCompletion> out) {
  if (wake_) {
    uint64_t ignored = 0;
    [[maybe_unused]] const auto drained = ::read(wake_.get(), &ignored, sizeof ignored);
  }
  std::array<nvme::IoResult, 64> results;
  for (uint32_t i = 0; i < devices_.size() && done_.size() < out.size(); ++i) {
    const size_t count = devices_[i]->poll(results);
    for (size_t r = 0; r < count; ++r) end_io(i, results[r]);
    if (count == results.size() && wake_) {  // there may be more
      const uint64_t one = 1;
      [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
    }
  }
  free_removed();
  if (recovery_ != Recovery::kDone) recover();
  size_t count = 0;
  while (count < out.size() && !done_.empty()) {
    out[count++] = done_.front();
    done_.pop_front();
  }
  if (!done_.empty() && wake_) {
    const uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
  }
  return count;
}

Status NvmeTier::register_memory(std::span<std::byte> memory) {
  for (const auto& device : devices_) {
    if (device->disk() == nullptr) continue;
    if (Status registered = device->disk()->register_memory(memory); !registered) return registered;
  }
  return {};
}

void NvmeTier::unregister_memory(std::span<std::byte> memory) {
  for (const auto& device : devices_) {
    if (device->disk() != nullptr) device->disk()->unregister_memory(memory);
  }
}

std::vector<TierDevice> NvmeTier::devices() const {
  std::vector<TierDevice> all;
  for (uint32_t i = 0; i < devices_.size(); ++i) {
    TierDevice device = devices_[i]->counters();
    device.used_bytes = slots_.used_bytes(i);
    if (slabs_[i].needs_preparing && options_.prepare) {
      const uint64_t segment = slabs_[i].superblock.segment_bytes;
      device.prepared_bytes = slots_.prepared_segments(i) * segment;
      device.prepare_bytes = slots_.segment_count(i) * segment;
    }
    if (device.state == "ok" && recovery_ != Recovery::kDone && !has_record_[i]) {
      device.state = "starting";
    }
    all.push_back(std::move(device));
  }
  return all;
}

std::vector<TierNotice> NvmeTier::take_notices() {
  take_message();
  for (const auto& device : devices_) {
    for (TierNotice& notice : device->take_notices()) notices_.push_back(std::move(notice));
  }
  return std::exchange(notices_, {});
}

}  // namespace kvtier::daemon
