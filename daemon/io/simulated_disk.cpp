// When simulated requests end and what becomes of them; what a crash leaves.
#include "daemon/io/simulated_disk.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace kvtier::daemon {

void SimulatedMedium::read(uint64_t offset, std::span<std::byte> target) const {
  for (size_t done = 0; done < target.size();) {
    const uint64_t at = offset + done, within = at % kBlockBytes;
    const size_t bytes = std::min<size_t>(kBlockBytes - within, target.size() - done);
    const auto block = blocks_.find(at / kBlockBytes);
    if (block == blocks_.end()) {
      std::memset(target.data() + done, 0, bytes);
    } else {
      std::memcpy(target.data() + done, block->second->data() + within, bytes);
    }
    done += bytes;
  }
}

void SimulatedMedium::write(uint64_t offset, std::span<const std::byte> data) {
  for (size_t done = 0; done < data.size();) {
    const uint64_t at = offset + done, within = at % kBlockBytes;
    const size_t bytes = std::min<size_t>(kBlockBytes - within, data.size() - done);
    std::unique_ptr<Block>& block = blocks_[at / kBlockBytes];
    if (block == nullptr) block = std::make_unique<Block>();
    std::memcpy(block->data() + within, data.data() + done, bytes);
    done += bytes;
  }
}

void SimulatedMedium::flip_bit(uint64_t offset, unsigned bit) {
  std::byte value;
  read(offset, {&value, 1});
  value ^= std::byte{1} << (bit % 8);
  write(offset, {&value, 1});
}

SimulatedDisk::SimulatedDisk(std::shared_ptr<SimulatedMedium> medium,
                             const SimulatedDiskOptions& options, const Clock& clock)
    : medium_(std::move(medium)), options_(options), clock_(clock), random_(options.seed) {}

bool SimulatedDisk::chance(double probability) {
  return probability > 0 && static_cast<double>(random_() >> 11) * 0x1p-53 < probability;
}

DiskFault SimulatedDisk::choose_fault(DiskOperation operation) {
  std::deque<DiskFault>& by_hand = injected_[operation];
  if (!by_hand.empty()) {
    const DiskFault fault = by_hand.front();
    by_hand.pop_front();
    return fault;
  }
  const DiskFaultRates& rates = options_.faults;
  if (chance(rates.hang)) return DiskFault::kHang;
  if (chance(rates.delay)) return DiskFault::kDelay;
  if (operation == DiskOperation::kRead) {
    if (chance(rates.read_error)) return DiskFault::kError;
    if (chance(rates.short_read)) return DiskFault::kShortRead;
    return DiskFault::kNone;
  }
  if (chance(rates.write_error)) return DiskFault::kError;
  if (chance(rates.torn_write)) return DiskFault::kTornWrite;
  if (chance(rates.misdirected_write)) return DiskFault::kMisdirectedWrite;
  if (chance(rates.bit_flip)) return DiskFault::kBitFlip;
  return DiskFault::kNone;
}

Status SimulatedDisk::begin(const DiskRequest& request) {
  const bool aligned =
      (request.offset | request.bytes | reinterpret_cast<uintptr_t>(request.data)) %
          kDiskUnitBytes ==
      0;
  if (!aligned || request.bytes == 0) {
    return Error(Code::kInvalidArgument, "a transfer is not in whole pages");
  }
  if (request.offset > size_bytes() || size_bytes() - request.offset < request.bytes) {
    return Error(Code::kInvalidArgument, "a transfer goes past the end of the slab");
  }
  if (pending_.size() >= options_.in_flight_max) {
    return Error(Code::kUnavailable, "the disk's queue is full");
  }
  Pending pending;
  pending.request = request;
  pending.fault = choose_fault(request.operation);
  pending.begun_ns = clock_.now_ns();
  const double seconds = request.bytes / options_.bandwidth_bytes_per_s;
  link_free_ns_ = std::max(link_free_ns_, pending.begun_ns) + static_cast<uint64_t>(seconds * 1e9);
  pending.due_ns = link_free_ns_ + options_.latency_ns;
  if (pending.fault == DiskFault::kDelay) pending.due_ns += options_.faults.delay_ns;
  if (chance(options_.faults.reorder)) {
    pending.due_ns += random_() % std::max<uint64_t>(options_.faults.reorder_ns, 1);
  }
  if (pending.fault == DiskFault::kHang) pending.due_ns = UINT64_MAX;
  pending_.push_back(pending);
  return {};
}

size_t SimulatedDisk::poll(std::span<DiskCompletion> out) {
  size_t count = 0;
  const uint64_t now = clock_.now_ns();
  while (count < out.size() && !hanging_) {
    const auto first =
        std::min_element(pending_.begin(), pending_.end(),
                         [](const Pending& a, const Pending& b) { return a.due_ns < b.due_ns; });
    if (first == pending_.end() || first->due_ns > now) break;
    const Pending pending = *first;
    pending_.erase(first);
    out[count] = complete(pending);
    out[count++].ended_ns = now;
  }
  return count;
}

uint64_t SimulatedDisk::next_end_ns() const {
  uint64_t earliest = UINT64_MAX;
  if (hanging_) return earliest;
  for (const Pending& pending : pending_) earliest = std::min(earliest, pending.due_ns);
  return earliest;
}

void SimulatedDisk::inject(DiskOperation operation, DiskFault fault) {
  injected_[operation].push_back(fault);
}

void SimulatedDisk::release() {
  hanging_ = false;
  for (Pending& pending : pending_) {
    if (pending.due_ns != UINT64_MAX) continue;
    pending.due_ns = clock_.now_ns();
    pending.fault = DiskFault::kNone;
  }
}

DiskCompletion SimulatedDisk::complete(const Pending& pending) {
  const DiskRequest& request = pending.request;
  DiskCompletion completion = {request.ticket, error_, 0, pending.begun_ns, 0};
  if (error_ != 0) return completion;
  completion.bytes = request.bytes;
  if (request.operation == DiskOperation::kWrite) {
    completion.error = apply_write(pending);
    if (completion.error != 0) completion.bytes = 0;
    return completion;
  }
  if (pending.fault == DiskFault::kError) completion = {request.ticket, EIO, 0, 0, 0};
  if (pending.fault == DiskFault::kShortRead) {
    completion.error = EIO;
    completion.bytes =
        static_cast<uint32_t>(random_() % (request.bytes / kDiskSectorBytes) * kDiskSectorBytes);
  }
  medium_->read(request.offset, {request.data, completion.bytes});
  completion.begun_ns = pending.begun_ns;
  return completion;
}

// A head or a tail in whole sectors, never all and never nothing; moves `offset` for a tail.
std::span<const std::byte> SimulatedDisk::torn(std::span<const std::byte> data, uint64_t& offset) {
  const uint64_t sectors = data.size() / kDiskSectorBytes;
  const uint64_t cut = (1 + random_() % (sectors - 1)) * kDiskSectorBytes;
  if (random_() % 2 == 0) return data.first(cut);
  offset += cut;
  return data.subspan(cut);
}

int SimulatedDisk::apply_write(const Pending& pending) {
  const DiskRequest& request = pending.request;
  std::span<const std::byte> data(request.data, request.bytes);
  uint64_t offset = request.offset;
  int error = 0;
  if (pending.fault == DiskFault::kTornWrite) data = torn(data, offset);
  if (pending.fault == DiskFault::kError) {
    data = torn(data, offset);
    error = EIO;
  }
  if (pending.fault == DiskFault::kMisdirectedWrite) {
    const uint64_t units = (size_bytes() - request.bytes) / kDiskUnitBytes + 1;
    offset = random_() % units * kDiskUnitBytes;
  }
  store(offset, data, request.durable);
  if (pending.fault == DiskFault::kBitFlip) {
    medium_->flip_bit(offset + random_() % data.size(), static_cast<unsigned>(random_() % 8));
  }
  return error;
}

void SimulatedDisk::store(uint64_t offset, std::span<const std::byte> data, bool durable) {
  Undo undo = {offset, std::vector<std::byte>(data.size()), {data.begin(), data.end()}};
  if (!durable) medium_->read(offset, undo.before);
  medium_->write(offset, data);
  if (durable) return;
  unflushed_.push_back(std::move(undo));
  if (unflushed_.size() > options_.cache_writes_max) unflushed_.pop_front();
}

int SimulatedDisk::read_now(uint64_t offset, std::span<std::byte> target) {
  if (error_ != 0) return error_;
  if (offset > size_bytes() || size_bytes() - offset < target.size()) return EIO;
  medium_->read(offset, target);
  return 0;
}

int SimulatedDisk::write_now(uint64_t offset, std::span<const std::byte> data) {
  if (error_ != 0) return error_;
  if (offset > size_bytes() || size_bytes() - offset < data.size()) return EIO;
  medium_->write(offset, data);
  return 0;
}

void SimulatedDisk::crash(CrashKind kind) {
  for (const Pending& pending : pending_) {
    if (pending.request.operation != DiskOperation::kWrite) continue;
    const uint64_t fate = random_() % 3;  // whole, in part, not at all
    std::span<const std::byte> data(pending.request.data, pending.request.bytes);
    uint64_t offset = pending.request.offset;
    if (fate == 1) data = torn(data, offset);
    if (fate != 2) store(offset, data, false);
  }
  pending_.clear();
  if (kind == CrashKind::kPowerCut) {
    for (auto undo = unflushed_.rbegin(); undo != unflushed_.rend(); ++undo) {
      medium_->write(undo->offset, undo->before);
    }
    for (const Undo& undo : unflushed_) {
      if (chance(options_.faults.lost_at_power_cut)) continue;
      std::span<const std::byte> data(undo.after);
      uint64_t offset = undo.offset;
      if (chance(options_.faults.lost_at_power_cut) && data.size() > kDiskSectorBytes) {
        data = torn(data, offset);
      }
      medium_->write(offset, data);
    }
  }
  unflushed_.clear();
}

}  // namespace kvtier::daemon
