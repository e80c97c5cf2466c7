// After a restart: device by device, the records of its chunks; where there are none (a lost or
// damaged database, a slab from elsewhere), the headers of all slots of its segments. In pieces, as
// the caller takes them; the tier serves meanwhile, without the slots not yet known.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>

#include "daemon/tiers/nvme_cookie.hpp"
#include "daemon/tiers/nvme_tier.hpp"

namespace kvtier::daemon {

using nvme::IoKind;
using nvme::SlotState;

namespace {
constexpr size_t kFoundMax = 4096;  // chunks found and not yet taken
constexpr size_t kHeaderReads = 8;  // at once
constexpr uint64_t kHeaderBytesMax =
    wire::header_bytes_for(wire::kTokensPerChunkMax) + wire::kPageBytes;
}  // namespace

bool NvmeTier::recovering() const {
  return recovery_ != Recovery::kDone || !found_.empty();
}

std::vector<std::string> NvmeTier::recovered_tenants() {
  return slots_.tenants();
}

size_t NvmeTier::recovered(std::span<TierRecord> out) {
  if (recovery_ != Recovery::kDone) recover();
  size_t count = 0;
  while (count < out.size() && !found_.empty()) {
    const TierRecord record = found_.front();
    found_.pop_front();
    // Forgotten meanwhile, or of a tenant that nobody made known: it stays where it is.
    if (slots_.slot(record.place).state != SlotState::kValid) continue;
    const uint32_t tenant = slots_.segment_of(record.place).tenant;
    const auto number = std::find(tenants_.begin(), tenants_.end(), tenant);
    if (number == tenants_.end()) continue;
    out[count] = record;
    out[count++].tenant = static_cast<uint32_t>(number - tenants_.begin());
  }
  return count;
}

void NvmeTier::recover() {
  if (recovery_ == Recovery::kOpening) {
    if (metadata_ != nullptr && metadata_->state() == MetadataState::kOpening) return;
    if (metadata_ != nullptr) metadata_->begin_scan(std::string(nvme::kDeviceRecordPrefix));
    recovery_ = Recovery::kDevices;
  }
  if (recovery_ == Recovery::kDevices) {
    take_device_records();
    if (metadata_ != nullptr && metadata_->scanning()) return;
    recovering_device_ = 0;
    start_device();
  }
  while (recovery_ == Recovery::kRecords && take_records()) {
  }
  if (recovery_ == Recovery::kHeaders) read_headers();
  if (recovery_ == Recovery::kGone) take_gone();
}

void NvmeTier::take_device_records() {
  if (metadata_ == nullptr) return;
  std::array<MetadataRecord, 16> records;
  while (const size_t count = metadata_->scanned(records)) {
    for (size_t r = 0; r < count; ++r) {
      note_gone(records[r].key);
      for (uint32_t i = 0; i < devices_.size(); ++i) {
        nvme::DeviceRecord record;
        if (!nvme::decode(records[r].key, records[r].value, uuid(i), record)) continue;
        has_record_[i] = true;
        const uint64_t wall = options_.wall_seconds ? options_.wall_seconds()
                                                    : static_cast<uint64_t>(std::time(nullptr));
        // A clock that went back makes it newer, never forgotten.
        const uint64_t age = wall > record.wall_seconds ? (wall - record.wall_seconds) / 3600 : 0;
        devices_[i]->budget().day().restore(clock_.now_ns(), record.hours, age);
      }
    }
  }
}

void NvmeTier::start_device() {
  while (recovering_device_ < devices_.size() && devices_[recovering_device_]->is_failed()) {
    ++recovering_device_;
  }
  if (recovering_device_ == devices_.size()) return start_gone();
  const bool has_records = has_record_[recovering_device_] && metadata_ != nullptr &&
                           metadata_->state() == MetadataState::kReady;
  if (has_records) {
    recovery_ = Recovery::kRecords;
    metadata_->begin_scan(nvme::record_prefix(uuid(recovering_device_)));
    return;
  }
  recovery_ = Recovery::kHeaders;
  header_segment_ = header_slot_ = 0;
  headers_found_ = 0;
}

void NvmeTier::note_gone(const std::string& key) {
  nvme::Uuid known;
  if (key.size() != nvme::kDeviceRecordPrefix.size() + known.size()) return;
  std::memcpy(known.data(), key.data() + nvme::kDeviceRecordPrefix.size(), known.size());
  const bool is_here = std::any_of(slabs_.begin(), slabs_.end(), [&](const nvme::Slab& slab) {
    return slab.superblock.uuid == known;
  });
  if (!is_here) gone_.push_back(known);
}

// Where a slab was made anew and one that was known is nowhere, its chunks are lost. While a path
// cannot be opened, or where no slab is new, it may only be away.
void NvmeTier::start_gone() {
  const bool any_failed = std::any_of(devices_.begin(), devices_.end(),
                                      [](const auto& device) { return device->is_failed(); });
  const bool any_new =
      std::any_of(slabs_.begin(), slabs_.end(), [](const nvme::Slab& slab) { return slab.is_new; });
  if (gone_.empty() || any_failed || !any_new || metadata_->state() != MetadataState::kReady) {
    return end_recovery();
  }
  recovery_ = Recovery::kGone;
  metadata_->begin_scan(nvme::record_prefix(gone_.back()));
}

// Its records go, too; should it come back, its chunks are found by their headers.
void NvmeTier::take_gone() {
  std::array<MetadataRecord, 256> records;
  while (const size_t count = metadata_->scanned(records)) {
    gone_chunks_ += count;
    for (size_t i = 0; i < count; ++i) remove(std::move(records[i].key));
  }
  if (metadata_->scanning()) return;
  remove(nvme::device_record_key(gone_.back()));
  gone_.pop_back();
  if (!gone_.empty()) return metadata_->begin_scan(nvme::record_prefix(gone_.back()));
  std::string made;
  for (const nvme::Slab& slab : slabs_) {
    if (slab.is_new) made += (made.empty() ? "" : ", ") + slab.name;
  }
  notices_.push_back({true, "a slab is gone, and " + std::to_string(gone_chunks_) +
                                " chunks with it; made anew, empty: " + made +
                                ". Is its file system mounted?"});
  end_recovery();
}

void NvmeTier::end_recovery() {
  recovery_ = Recovery::kDone;
  const bool is_back = std::none_of(header_reads_.begin(), header_reads_.end(),
                                    [](const HeaderRead& read) { return read.is_out; });
  if (is_back) header_memory_.reset();
  if (is_back) header_reads_.clear();
}

void NvmeTier::end_device(bool is_complete) {
  const uint32_t device = recovering_device_;
  slots_.end_recovery(device);
  if (!has_record_[device]) {
    if (headers_found_ > 0) {
      notices_.push_back({true, devices_[device]->name() + ": " + std::to_string(headers_found_) +
                                    " chunks were found by their headers; the metadata had none"});
    }
    if (is_complete) {
      has_record_[device] = true;
      save_budget(device, true);
    } else {
      notices_.push_back({true, devices_[device]->name() +
                                    " went out of service while its chunks were looked for; the "
                                    "next start looks again"});
    }
  }
  ++recovering_device_;
  start_device();
}

// Whether the record is of a slot that waits for it.
bool NvmeTier::find(uint32_t device, const nvme::ChunkRecord& record) {
  const TierPlace place = slots_.recovering_place(device, record.segment, record.slot);
  if (place == 0) return false;
  const nvme::SegmentDescriptor& descriptor = slots_.segment_of(place).descriptor;
  if (descriptor.sequence != record.sequence ||
      wire::slot_bytes_for(record.chunk.bytes()) != descriptor.slot_bytes) {
    return false;
  }
  slots_.set_state(place, SlotState::kValid);
  slots_.slot(place).value = static_cast<uint32_t>(record.chunk.bytes() / nvme::kPage);
  found_.push_back({place, 0, record.chunk});
  return true;
}

// Some records. False: none for now.
bool NvmeTier::take_records() {
  if (found_.size() >= kFoundMax) return false;
  const uint32_t device = recovering_device_;
  std::array<MetadataRecord, 256> records;
  const size_t count = metadata_->scanned(records);
  for (size_t i = 0; i < count; ++i) {
    nvme::ChunkRecord record;
    // What cannot be read is left alone: it may be of a newer version. It names no slot of ours.
    if (!nvme::decode(records[i].key, records[i].value, uuid(device), record)) continue;
    if (find(device, record)) continue;
    // Stale: its segment was given to others since. One that was assigned by this process may have
    // a new record under the same key already.
    if (slots_.recovering_place(device, record.segment, record.slot) != 0) {
      remove(std::move(records[i].key));
    }
  }
  if (count == 0 && !metadata_->scanning()) {
    end_device(true);
    return recovery_ == Recovery::kRecords;
  }
  return count > 0;
}

// Points the read at the next slot whose header may say something. False: there is none left.
void NvmeTier::next_header(HeaderRead& read) {
  const uint32_t device = recovering_device_;
  for (; header_segment_ < slots_.segment_count(device); ++header_segment_, header_slot_ = 0) {
    const nvme::Segment& segment = slots_.segment(slots_.segment_number(device, header_segment_));
    if (!segment.is_recovering || segment.descriptor.mixed) continue;
    if (header_slot_ >= segment.slots) continue;
    read.segment = header_segment_;
    read.slot = header_slot_++;
    read.is_whole = false;
    read.is_out = true;
    return;
  }
}

void NvmeTier::read_headers() {
  nvme::Device& device = *devices_[recovering_device_];
  if (header_memory_ == nullptr) {
    header_memory_ = page_memory(kHeaderReads * kHeaderBytesMax);
    if (header_memory_ == nullptr) return;
    header_reads_.resize(kHeaderReads);
    for (size_t i = 0; i < kHeaderReads; ++i) {
      header_reads_[i].memory = header_memory_.get() + i * kHeaderBytesMax;
    }
  }
  const auto any_out = [&] {
    return std::any_of(header_reads_.begin(), header_reads_.end(),
                       [](const HeaderRead& read) { return read.is_out && !read.is_lost; });
  };
  // The other devices do not wait for one that is dead.
  if (!device.in_service()) {
    if (!any_out()) end_device(false);
    return;
  }
  for (size_t i = 0; i < header_reads_.size(); ++i) {
    HeaderRead& read = header_reads_[i];
    if (read.is_out || !device.has_room()) continue;
    if (found_.size() + kHeaderReads >= kFoundMax) break;
    next_header(read);
    if (!read.is_out) break;
    nvme::Io io;
    io.cookie = nvme::make_cookie(nvme::CookieKind::kHeader, i);
    io.kind = IoKind::kBackground;
    io.operation = DiskOperation::kRead;
    io.offset = slabs_[recovering_device_].superblock.segment_offset(read.segment) +
                read.slot * slots_.segment(slots_.segment_number(recovering_device_, read.segment))
                                .descriptor.slot_bytes;
    io.data = read.memory;
    io.bytes = nvme::kPage;
    device.begin(io);
  }
  device.pump();
  const bool is_through = header_segment_ >= slots_.segment_count(recovering_device_);
  const bool all_lost = std::all_of(header_reads_.begin(), header_reads_.end(),
                                    [](const HeaderRead& read) { return read.is_lost; });
  if ((is_through && !any_out()) || all_lost) end_device(is_through);
}

void NvmeTier::end_header(size_t number, const nvme::IoResult& result) {
  HeaderRead& read = header_reads_[number];
  read.is_lost = result.memory_in_use;
  if (result.memory_in_use) return;
  if (result.is_late) {
    read.is_out = false;
    return;
  }
  const uint32_t device = recovering_device_;
  const nvme::Segment& segment = slots_.segment(slots_.segment_number(device, read.segment));
  if (result.error == 0) {
    const std::span<const std::byte> bytes(read.memory, kHeaderBytesMax);
    const uint32_t needs = nvme::header_needs(bytes.first(nvme::kPage));
    if (needs > nvme::kPage && !read.is_whole && needs <= segment.descriptor.slot_bytes) {
      read.is_whole = true;
      nvme::Io io;
      io.cookie = nvme::make_cookie(nvme::CookieKind::kHeader, number);
      io.kind = IoKind::kBackground;
      io.offset = slabs_[device].superblock.segment_offset(read.segment) +
                  read.slot * segment.descriptor.slot_bytes;
      io.data = read.memory;
      io.bytes = needs;
      devices_[device]->begin(io);
      devices_[device]->pump();
      return;
    }
    nvme::ChunkRecord record = {read.segment, read.slot, segment.descriptor.sequence, {}};
    if (needs > 0 && (needs == nvme::kPage || read.is_whole) &&
        nvme::decode_header(bytes, record.chunk) && find(device, record)) {
      ++headers_found_;
      put(nvme::record_key(uuid(device), record.segment, record.slot),
          nvme::encode(record, uuid(device)));
    }
  }
  read.is_out = false;
}

}  // namespace kvtier::daemon
