// The daemon's side of one tenant's published memory: creates it, inserts and removes chunks,
// describes spaces and segments, writes the cost board. Core thread only; readers are other
// processes and follow docs/protocol.md section 3. Never reads anything a client could have
// written.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "daemon/memory/memfd.hpp"
#include "kvtier/wire/lookup.hpp"
#include "kvtier/wire/published.hpp"

namespace kvtier::daemon {

inline constexpr uint32_t kNoEntry = UINT32_MAX;

struct IndexOptions {
  uint64_t tenant = 0;
  uint64_t epoch = 0;
  uint32_t entries_max = 0;  // rounded up so that buckets are at most half full
  bool huge_pages_wanted = false;
};

// What an entry says besides its place.
struct EntryFacts {
  ChunkKey key;
  uint32_t space = 0;
  uint32_t payload_bytes = 0;
  uint32_t tokens = 0;
  uint32_t flags = 0;
};

class PublishedIndex {
 public:
  // Errors: system, out_of_memory. Huge pages that cannot be had are replaced by small ones.
  static Result<std::unique_ptr<PublishedIndex>> create(const IndexOptions& options);

  // The entry of (key, space), kNoEntry if there is none.
  uint32_t find(ChunkKey key, uint32_t space) const;

  // A new entry at `place` (may be empty: only in lower tiers). kNoEntry when all entries are used,
  // or both buckets are full (never at half load; counted). There must be none for the key yet.
  uint32_t insert(const EntryFacts& facts, wire::Place place);

  // Before many inserts: the memory for so many is made at once, not a page at a time.
  void expect(uint64_t chunks);
  // Brings the lines of a key nearer that find() and insert() will read.
  void prefetch(ChunkKey key, uint32_t space) const {
    const wire::IndexHash hash = wire::index_hash(key, space);
    __builtin_prefetch(&buckets_[hash.first & header_->bucket_mask]);
    __builtin_prefetch(&buckets_[hash.second & header_->bucket_mask]);
  }

  // Steps of a removal, docs/protocol.md section 4: clear_host() unpublishes; the caller fences and
  // scans; only after that erase() may make the entry free for another chunk.
  void clear_host(uint32_t entry);
  void hide(uint32_t entry);   // takes it out of its bucket: no new reader finds it
  void erase(uint32_t entry);  // back to the free list

  void set_host(uint32_t entry, wire::Place place);
  // Of an entry without a host place, after a fence (docs/protocol.md section 3, Change).
  void set_payload_bytes(uint32_t entry, uint32_t bytes);
  void set_flags(uint32_t entry, uint32_t flags);
  // Where else the chunk lies (wire::kOn*, kPromoted). An entry without a host place and with a
  // lower one lives on: it is in its bucket, and erase() refuses it.
  void set_lower(uint32_t entry, uint32_t lower);
  uint32_t lower(uint32_t entry) const;
  wire::Place host_place(uint32_t entry) const;
  EntryFacts facts(uint32_t entry) const;

  void describe_space(uint32_t number, const wire::SpaceDescriptor& descriptor);
  void describe_segment(uint32_t number, uint64_t uid, uint64_t bytes, uint64_t slot_bytes,
                        uint32_t slots);
  void forget_segment(uint32_t number);

  void open_epoch(uint64_t epoch);
  void close_epoch();

  // Everything written between begin and end appears at once to readers.
  wire::CostBoard& begin_board();
  void end_board();

  const Memfd& memory() const { return memory_; }
  const Fd& read_only_fd() const { return read_only_; }
  uint64_t bytes() const { return memory_.mapping.bytes(); }
  bool huge_pages() const { return memory_.pages == Pages::kHuge; }
  uint32_t entries_used() const { return used_; }
  uint32_t entries_max() const;
  uint64_t bucket_overflows() const { return bucket_overflows_; }
  const wire::PublishedView& view() const { return view_; }

 private:
  PublishedIndex() = default;
  void lay_out(const IndexOptions& options, uint32_t entries, uint32_t buckets);
  wire::Bucket* roomier_bucket(const wire::IndexHash& hash) const;
  uint32_t take_entry();

  Memfd memory_;
  Fd read_only_;
  wire::PublishedView view_;  // the same memory, as readers see it
  wire::PublishedHeader* header_ = nullptr;
  wire::Bucket* buckets_ = nullptr;
  wire::Entry* entries_ = nullptr;
  std::vector<uint32_t> free_;  // freed entries, used again first
  uint32_t used_ = 0;
  uint64_t bucket_overflows_ = 0;
};

}  // namespace kvtier::daemon
