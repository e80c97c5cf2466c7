// See simulated_client.hpp.
#include "tests/simulation/simulated_client.hpp"

#include <sys/mman.h>

#include "kvtier/wire/chunk_header.hpp"

namespace kvtier::simulation {

Mapping map_shared(const Fd& fd, uint64_t bytes, bool writable) {
  void* data = ::mmap(nullptr, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED,
                      fd.get(), 0);
  if (data == MAP_FAILED) std::abort();
  return {static_cast<std::byte*>(data), bytes};
}

SessionView::SessionView(const Session& session)
    : map_(map_shared(session.memory.fd(), session.memory.bytes(), true)) {}

void SessionView::touch(wire::Place place) const {
  const uint32_t tail = header().touch_tail.load(std::memory_order_relaxed);
  auto* log = reinterpret_cast<std::atomic<uint64_t>*>(map_.data() + header().touches_offset);
  log[tail % header().touch_entries].store(place.word(), std::memory_order_relaxed);
  header().touch_tail.store(tail + 1, std::memory_order_release);
}

LeaseResult take_lease(const Attachment& attachment, uint32_t space_id, ChunkKey key,
                       uint32_t cell) {
  LeaseResult result;
  const auto view = wire::PublishedView::of(attachment.published->data());
  result.found = wire::find_chunk(view, key, space_id);
  if (result.found.found == wire::Found::kLower) result.outcome = LeaseOutcome::kLower;
  if (result.found.found != wire::Found::kHost) return result;
  const SessionView& memory = *attachment.memory;
  if (memory.header().cells_high_water.load() <= cell) {
    memory.header().cells_high_water.store(cell + 1);
  }
  memory.cell(cell).store(result.found.place.word(), std::memory_order_release);
  result.revocations = memory.header().revocations.load(std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const bool held = view.entries[result.found.entry].host_place.load(std::memory_order_acquire) ==
                        result.found.place.word() &&
                    view.header->epoch.load(std::memory_order_acquire) == attachment.epoch &&
                    memory.header().ended.load(std::memory_order_acquire) == 0;
  if (!held) memory.cell(cell).store(0, std::memory_order_release);
  result.outcome = held ? LeaseOutcome::kHeld : LeaseOutcome::kLost;
  return result;
}

bool load_holds(const Attachment& attachment, uint64_t revocations) {
  const auto view = wire::PublishedView::of(attachment.published->data());
  const wire::SessionHeader& header = attachment.memory->header();
  return header.revocations.load() == revocations && header.ended.load() == 0 &&
         view.header->epoch.load() == attachment.epoch;
}

bool header_says(const std::byte* slot, const ChunkName& name, uint64_t payload_bytes) {
  wire::ChunkHeader header;
  std::memcpy(&header, slot, sizeof header);
  if (header.magic != wire::kChunkMagic || header.payload_bytes != payload_bytes) return false;
  uint32_t tokens[4];
  std::memcpy(tokens, slot + sizeof header, sizeof tokens);
  return header.key == key_of(name) && header.position == name.position &&
         tokens[0] == name.tenant && tokens[1] == name.prompt && tokens[2] == name.position;
}

}  // namespace kvtier::simulation
