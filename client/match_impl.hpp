// Inside of Match: leases in the session's cells, and where their payloads lie. One thread at a
// time, but for reading different chunks.
#pragma once

#include <vector>

#include "client/session_core.hpp"

namespace kvtier {

struct Match::Impl {
  struct Held {
    const client::SegmentMapping* segment = nullptr;
    wire::Place place;
    uint32_t cell = 0;
    uint32_t payload_bytes = 0;
    uint32_t flags = 0;  // wire::kCheckOnLoad and others, of the entry
    uint32_t lower = 0;  // wire::kPromoted: it came from a lower tier for this
    uint32_t entry = 0;
    ChunkKey key = {};  // what a checked load compares the header with

    const std::byte* slot() const { return segment->slot(place.slot()); }
  };

  Impl(const client::ForkGuard& fork_guard, client::AttachmentRef held_attachment)
      : guard(fork_guard),
        attachment(std::move(held_attachment)),
        use(&attachment->segments),
        revocations(attachment->revocations()) {}

  // A released match holds nothing of the parent's any more.
  bool forked() const { return attachment && guard.forked(); }
  void release();
  // Lets the leases from `first` on go.
  void shorten(size_t first);

  const client::ForkGuard& guard;    // lives in the core, which the attachment keeps
  client::AttachmentRef attachment;  // destroyed last
  client::Segments::Use use;
  uint64_t revocations;  // before the first lease
  uint32_t header_bytes = 0;
  uint64_t chunk_bytes = 0;  // of the space: what a chunk without a codec has
  uint32_t tokens_per_chunk = 0;
  uint32_t lower = 0;
  MissReason ended = MissReason::kNone;
  std::vector<Held> held;
};

}  // namespace kvtier
