// The rest of the published memory: spaces, segments, epoch, cost board. Core thread.
#include <cstdlib>

#include "daemon/index/published_index.hpp"

namespace kvtier::daemon {

namespace {
void copy_word(std::atomic<uint32_t>& target, const std::atomic<uint32_t>& source) {
  target.store(source.load(std::memory_order_relaxed), std::memory_order_relaxed);
}
void copy_word(std::atomic<uint64_t>& target, const std::atomic<uint64_t>& source) {
  target.store(source.load(std::memory_order_relaxed), std::memory_order_relaxed);
}
}  // namespace

void PublishedIndex::describe_space(uint32_t number, const wire::SpaceDescriptor& descriptor) {
  if (number >= header_->spaces_max) std::abort();
  auto& space = const_cast<wire::SpaceDescriptor&>(view_.spaces[number]);
  copy_word(space.group, descriptor.group);
  copy_word(space.shard, descriptor.shard);
  copy_word(space.shards, descriptor.shards);
  copy_word(space.tokens_per_chunk, descriptor.tokens_per_chunk);
  copy_word(space.header_bytes, descriptor.header_bytes);
  copy_word(space.chunk_bytes_max, descriptor.chunk_bytes_max);
  copy_word(space.fingerprint_lo, descriptor.fingerprint_lo);
  copy_word(space.fingerprint_hi, descriptor.fingerprint_hi);
  copy_word(space.codec, descriptor.codec);
  space.id.store(descriptor.id.load(std::memory_order_relaxed), std::memory_order_release);
}

void PublishedIndex::describe_segment(uint32_t number, uint64_t uid, uint64_t bytes,
                                      uint64_t slot_bytes, uint32_t slots) {
  if (number >= header_->segments_max) std::abort();
  auto& segment = const_cast<wire::SegmentDescriptor&>(view_.segments[number]);
  segment.bytes.store(bytes, std::memory_order_relaxed);
  segment.slot_bytes.store(slot_bytes, std::memory_order_relaxed);
  segment.slots.store(slots, std::memory_order_relaxed);
  segment.tier.store(static_cast<uint32_t>(wire::Tier::kHost), std::memory_order_relaxed);
  segment.uid.store(uid, std::memory_order_release);
}

void PublishedIndex::forget_segment(uint32_t number) {
  auto& segment = const_cast<wire::SegmentDescriptor&>(view_.segments[number]);
  segment.uid.store(0, std::memory_order_release);
}

void PublishedIndex::open_epoch(uint64_t epoch) {
  header_->epoch.store(epoch, std::memory_order_seq_cst);
}

void PublishedIndex::close_epoch() {
  header_->epoch.store(0, std::memory_order_seq_cst);
}

wire::CostBoard& PublishedIndex::begin_board() {
  auto& board = const_cast<wire::CostBoard&>(*view_.board);
  board.sequence.store(board.sequence.load(std::memory_order_relaxed) + 1,
                       std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  return board;
}

void PublishedIndex::end_board() {
  auto& board = const_cast<wire::CostBoard&>(*view_.board);
  board.sequence.store(board.sequence.load(std::memory_order_relaxed) + 1,
                       std::memory_order_release);
}

}  // namespace kvtier::daemon
