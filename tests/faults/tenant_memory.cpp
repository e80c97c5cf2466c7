#include "tests/faults/tenant_memory.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

namespace kvtier::faults {

TenantMemory::TenantMemory(const std::string& socket)
    : client_(daemon::RawClient::connect(socket)) {
  EXPECT_EQ(client_.attach("raw"), "");
}

wire::Place TenantMemory::place_of(ChunkKey key) {
  const wire::PublishedView published = view();
  const uint32_t used = published.header->entries_high_water.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < used; ++i) {
    const wire::Entry& entry = published.entries[i];
    const uint64_t place = entry.host_place.load(std::memory_order_acquire);
    if (place != 0 && entry.key_lo.load(std::memory_order_relaxed) == key.lo &&
        entry.key_hi.load(std::memory_order_relaxed) == key.hi) {
      return wire::Place(place);
    }
  }
  return {};
}

std::span<std::byte> TenantMemory::slot_of(ChunkKey key) {
  const wire::Place place = place_of(key);
  if (place.empty()) return {};
  const uint64_t slot_bytes =
      view().segments[place.segment()].slot_bytes.load(std::memory_order_relaxed);
  const std::span<std::byte> memory = segment(place.segment());
  if (memory.empty()) return {};
  return memory.subspan(place.slot() * slot_bytes, slot_bytes);
}

std::vector<std::span<std::byte>> TenantMemory::segments() {
  std::vector<std::span<std::byte>> all;
  for (uint32_t i = 0; i < view().header->segments_max; ++i) {
    if (view().segments[i].uid.load(std::memory_order_acquire) == 0) continue;
    const std::span<std::byte> one = segment(i);
    if (!one.empty()) all.push_back(one);
  }
  return all;
}

std::span<std::byte> TenantMemory::segment(uint32_t number) {
  if (const auto known = mapped_.find(number); known != mapped_.end()) {
    return {known->second.data(), known->second.bytes()};
  }
  const wire::SegmentDescriptor& descriptor = view().segments[number];
  wire::GetSegmentRequest request = {};
  request.segment = number;
  request.uid = descriptor.uid.load(std::memory_order_acquire);
  const uint64_t bytes = descriptor.bytes.load(std::memory_order_relaxed);
  const auto reply = client_.call(wire::MessageType::kGetSegment, request);
  if (!reply || reply->type() != wire::MessageType::kGetSegmentReply || reply->fds.size() != 1) {
    ADD_FAILURE() << "segment " << number << " was refused: " << (reply ? reply->text() : "");
    return {};
  }
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, reply->fds[0].get(), 0);
  if (at == MAP_FAILED) {
    ADD_FAILURE() << "mapping a segment failed: errno " << errno;
    return {};
  }
  mapped_.emplace(number, daemon::Mapping(static_cast<std::byte*>(at), bytes));
  return {static_cast<std::byte*>(at), bytes};
}

}  // namespace kvtier::faults
