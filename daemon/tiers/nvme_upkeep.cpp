// What the nvme tier does besides transfers: descriptors of segments that were assigned, writing
// free segments once, remembering what was written today.
#include <algorithm>
#include <cstring>
#include <ctime>

#include "daemon/memory/kill_point.hpp"
#include "daemon/tiers/nvme_cookie.hpp"
#include "daemon/tiers/nvme_tier.hpp"

namespace kvtier::daemon {

using nvme::IoKind;

namespace {
constexpr uint64_t kPrepareBytes = wire::MiB;  // a write
constexpr uint32_t kPrepareOutMax = 2;
constexpr uint64_t kSavesPerBudget = 512;  // a save for each such part of a day's budget
}  // namespace

// Ahead of the stores into the segment, which wait for it; durable, since what is in the segment
// belongs to whom it names.
void NvmeTier::write_descriptor(uint32_t number) {
  nvme::Segment& segment = slots_.segment(number);
  Memory memory = page_memory(nvme::kPage);
  if (memory == nullptr) return;  // stays dirty: what is stored meanwhile is lost at a restart
  nvme::Page page;
  nvme::encode(segment.descriptor, page);
  std::memcpy(memory.get(), page.data(), nvme::kPage);
  segment.is_dirty = false;
  nvme::Io io;
  io.cookie = nvme::make_cookie(nvme::CookieKind::kDescriptor, number);
  io.kind = IoKind::kDescriptor;
  io.operation = DiskOperation::kWrite;
  io.durable = true;
  io.offset = slabs_[segment.device].superblock.descriptor_offset(segment.descriptor.segment);
  io.data = memory.get();
  io.bytes = nvme::kPage;
  upkeep_[segment.device].descriptors.emplace_back(number, std::move(memory));
  devices_[segment.device]->begin(io);
  kill_point("segment.descriptor_queued");
}

void NvmeTier::end_descriptor(uint32_t number, const nvme::IoResult& result) {
  nvme::Segment& segment = slots_.segment(number);
  auto& writing = upkeep_[segment.device].descriptors;
  if (result.error != 0 && !result.is_late) {
    segment.is_dirty = true;
    // The stores behind it would go into a segment that the device gives to someone else.
    devices_[segment.device]->take_out("a segment descriptor could not be written");
  }
  if (result.memory_in_use) return;
  kill_point("segment.descriptor_written");
  const auto ended = std::find_if(writing.begin(), writing.end(),
                                  [&](const auto& one) { return one.first == number; });
  if (ended != writing.end()) writing.erase(ended);
}

// A file system answers the first write to a preallocated block slowly. With a write budget the
// chunks themselves are the first writes: nothing is spent on zeros.
void NvmeTier::prepare(uint32_t number) {
  Upkeep& upkeep = upkeep_[number];
  nvme::Device& device = *devices_[number];
  const bool wanted = options_.prepare && slabs_[number].needs_preparing &&
                      !device.budget().limited() && recovery_ == Recovery::kDone;
  if (!wanted || !device.in_service() || !device.is_idle()) return;
  if (upkeep.preparing == UINT32_MAX) {
    upkeep.preparing = slots_.unprepared(number);
    upkeep.prepared_to = 0;
    upkeep.prepare_failed = false;
    if (upkeep.preparing == UINT32_MAX) return;
  }
  if (zeros_ == nullptr) zeros_ = page_memory(kPrepareBytes);
  if (zeros_ == nullptr) return;
  const nvme::Superblock& superblock = slabs_[number].superblock;
  const uint32_t segment = slots_.segment(upkeep.preparing).descriptor.segment;
  while (upkeep.prepare_out < kPrepareOutMax && !upkeep.prepare_failed &&
         upkeep.prepared_to < superblock.segment_bytes && device.has_room()) {
    nvme::Io io;
    io.cookie = nvme::make_cookie(nvme::CookieKind::kPrepare, upkeep.preparing);
    io.kind = IoKind::kBackground;
    io.operation = DiskOperation::kWrite;
    io.offset = superblock.segment_offset(segment) + upkeep.prepared_to;
    io.data = zeros_.get();
    io.bytes = std::min(kPrepareBytes, superblock.segment_bytes - upkeep.prepared_to);
    upkeep.prepared_to += io.bytes;
    ++upkeep.prepare_out;
    device.begin(io);
  }
  device.pump();
}

void NvmeTier::end_prepare(uint32_t number, const nvme::IoResult& result) {
  Upkeep& upkeep = upkeep_[number];
  if (result.error != 0) upkeep.prepare_failed = true;
  if (result.memory_in_use) return;
  --upkeep.prepare_out;
  const bool is_whole = upkeep.prepared_to == slabs_[number].superblock.segment_bytes;
  if (upkeep.prepare_out == 0 && (is_whole || upkeep.prepare_failed)) {
    slots_.end_preparing(upkeep.preparing, !upkeep.prepare_failed);
    if (!upkeep.prepare_failed) write_descriptor(upkeep.preparing);
    upkeep.preparing = UINT32_MAX;
  }
  prepare(number);
}

// Ahead of what was charged by as much as may be charged until the next save, so that a killed
// process never leaves less than it wrote.
void NvmeTier::save_budget(uint32_t number, bool is_first) {
  nvme::WriteBudget& budget = devices_[number]->budget();
  const uint64_t now = clock_.now_ns();
  nvme::DeviceRecord record;
  record.wall_seconds =
      options_.wall_seconds ? options_.wall_seconds() : static_cast<uint64_t>(std::time(nullptr));
  record.written_bytes = devices_[number]->counters().write_bytes;
  record.hours = budget.day().history(now);
  if (is_first || budget.limited()) record.hours[0] += budget.day().bytes_max() / kSavesPerBudget;
  if (budget.day().bytes_max() == UINT64_MAX) record.hours = {};
  put(nvme::device_record_key(uuid(number)), nvme::encode(record, uuid(number)));
  upkeep_[number].charged_at_save = record.written_bytes;
}

void NvmeTier::take_message() {
  if (metadata_ == nullptr) return;
  std::string message = metadata_->take_message();
  if (!message.empty()) notices_.push_back({true, std::move(message)});
}

void NvmeTier::tick() {
  if (recovery_ != Recovery::kDone) recover();
  for (uint32_t i = 0; i < devices_.size(); ++i) {
    nvme::Device& device = *devices_[i];
    if (device.is_failed()) continue;
    device.tick();
    device.pump();
    prepare(i);
    const uint64_t day = device.budget().day().bytes_max();
    if (day == UINT64_MAX || !has_record_[i]) continue;
    const uint64_t written = device.counters().write_bytes;
    if (written - upkeep_[i].charged_at_save >= day / kSavesPerBudget / 2) save_budget(i, false);
  }
}

}  // namespace kvtier::daemon
