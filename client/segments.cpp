#include "client/segments.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "client/attach.hpp"

namespace kvtier::client {
namespace {

// One piece takes a few milliseconds when the memory exists: short enough to look at the socket
// between two.
constexpr uint64_t kPopulateBytes = 16 * wire::MiB;

}  // namespace

void SegmentMapping::Free::operator()(std::atomic<uint64_t>* words) const {
  std::free(words);
}

Segments::Segments(const wire::PublishedView& view, ControlChannel* control, Access access,
                   int kick_fd)
    : view_(view),
      segments_max_(view.header->segments_max),
      control_(control),
      access_(access),
      kick_fd_(kick_fd),
      table_(std::make_unique<std::atomic<SegmentMapping*>[]>(segments_max_)) {}

Segments::~Segments() = default;

Result<const SegmentMapping*> Segments::get(wire::Place place, Clock::time_point deadline) {
  if (const SegmentMapping* mapping = find(place); mapping != nullptr) return mapping;
  if (place.segment() >= segments_max_) {
    return Error::format(Code::kCorrupt, "place names segment %u of %u", place.segment(),
                         segments_max_);
  }
  const uint64_t uid = view_.segments[place.segment()].uid.load(std::memory_order_acquire);
  if (uid == 0) return Error(Code::kNotFound, "the segment is gone");
  Result<const SegmentMapping*> mapping = map(place.segment(), uid, deadline);
  if (mapping && place.slot() >= (*mapping)->slots) {
    return Error::format(Code::kCorrupt, "place names slot %u of %u", place.slot(),
                         (*mapping)->slots);
  }
  return mapping;
}

Result<const SegmentMapping*> Segments::map(uint32_t number, uint64_t uid,
                                            Clock::time_point deadline) {
  wire::GetSegmentRequest request = {};
  request.segment = number;
  request.uid = uid;
  Fd fd;
  const auto reply = control_->call<wire::GetSegmentReply>(
      wire::MessageType::kGetSegment, request, wire::MessageType::kGetSegmentReply, deadline, &fd);
  if (!reply) return reply.error();

  const wire::SegmentDescriptor& descriptor = view_.segments[number];
  auto mapping = std::make_unique<SegmentMapping>();
  mapping->number = number;
  mapping->uid = uid;
  mapping->slots = descriptor.slots.load(std::memory_order_relaxed);
  mapping->slot_bytes = descriptor.slot_bytes.load(std::memory_order_relaxed);
  const uint64_t bytes = descriptor.bytes.load(std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_acquire);
  if (descriptor.uid.load(std::memory_order_relaxed) != uid) {
    return Error(Code::kNotFound, "the segment went while it was being mapped");
  }
  if (bytes != reply->bytes || mapping->slots == 0 || mapping->slots > wire::kSlotsPerSegmentMax ||
      mapping->slot_bytes < wire::kPageBytes || mapping->slot_bytes % wire::kPageBytes != 0 ||
      mapping->slot_bytes > bytes / mapping->slots) {
    return Error::format(
        Code::kIncompatible,
        "segment %u: %u slots of %llu bytes published, %llu bytes, %llu replied", number,
        mapping->slots, static_cast<unsigned long long>(mapping->slot_bytes),
        static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(reply->bytes));
  }
  if (Status status = check_sealed(fd.get(), bytes, "segment"); !status) return status.error();
  Result<Mapping> memory = Mapping::map(fd.get(), bytes, access_);
  if (!memory) return memory.error();
  mapping->memory = *std::move(memory);
  mapping->file = std::move(fd);
  auto* words = static_cast<std::atomic<uint64_t>*>(std::calloc(mapping->slots, sizeof(uint64_t)));
  if (words == nullptr) throw std::bad_alloc();
  mapping->verified.reset(words);

  const std::lock_guard lock(mutex_);
  SegmentMapping* present = table_[number].load(std::memory_order_relaxed);
  if (present != nullptr && present->uid == uid) return present;  // another thread was faster
  mappings_.reserve(mappings_.size() + 1);
  if (present != nullptr) retire(present);
  const SegmentMapping* result = mapping.get();
  table_[number].store(mapping.get(), std::memory_order_seq_cst);
  mappings_.push_back(std::move(mapping));
  mapped_.fetch_add(1, std::memory_order_relaxed);
  const uint64_t one = 1;
  (void)!::write(kick_fd_, &one, sizeof one);
  return result;
}

// With the lock. Out of the table first (seq_cst), then the reader counts are looked at: a reader
// that is counted later, in the order of all seq_cst operations, does not find the mapping.
void Segments::retire(SegmentMapping* mapping) {
  const auto it = std::find_if(mappings_.begin(), mappings_.end(),
                               [&](const auto& item) { return item.get() == mapping; });
  if (it == mappings_.end()) return;
  retired_.reserve(retired_.size() + 1);
  table_[mapping->number].store(nullptr, std::memory_order_seq_cst);
  retired_.push_back(std::move(*it));
  mappings_.erase(it);
  mapped_.fetch_sub(1, std::memory_order_relaxed);
}

void Segments::tick() {
  const std::lock_guard lock(mutex_);
  for (size_t i = mappings_.size(); i > 0; --i) {
    SegmentMapping* mapping = mappings_[i - 1].get();
    const uint64_t uid = view_.segments[mapping->number].uid.load(std::memory_order_acquire);
    if (uid != mapping->uid) retire(mapping);
  }
  reclaim();
}

void Segments::reclaim() {
  if (dying_.empty()) {
    if (retired_.empty()) return;
    dying_.swap(retired_);
    seen_empty_ = {};
  }
  for (uint32_t side = 0; side < 2; ++side) {
    if (readers_[side].count.load(std::memory_order_seq_cst) == 0) seen_empty_[side] = true;
  }
  // New readers go where nobody has to be waited for any more.
  if (!seen_empty_[0] || !seen_empty_[1]) {
    side_.store(seen_empty_[0] ? 0 : 1, std::memory_order_relaxed);
  }
  if (seen_empty_[0] && seen_empty_[1]) dying_.clear();
}

bool Segments::populate() {
  SegmentMapping* next = nullptr;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& mapping : mappings_) {
      if (mapping->populated_bytes < mapping->memory.bytes()) next = mapping.get();
    }
  }
  if (next == nullptr) return false;
  // Only this thread and the end of the attachment unmap, so the mapping stays.
  const int file = next->file.get();
  const off_t data = ::lseek(file, static_cast<off_t>(next->populated_bytes), SEEK_DATA);
  const off_t hole = data < 0 ? -1 : ::lseek(file, data, SEEK_HOLE);
  if (hole <= data) {  // nothing more, or a file that cannot say
    next->populated_bytes = next->memory.bytes();
    next->file.reset();
    populated_.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  const auto begin = static_cast<uint64_t>(data);
  const uint64_t bytes = std::min(kPopulateBytes, static_cast<uint64_t>(hole) - begin);
  next->memory.populate(begin, bytes);
  next->populated_bytes = begin + bytes;
  return true;
}

}  // namespace kvtier::client
