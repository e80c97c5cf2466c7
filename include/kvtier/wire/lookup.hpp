// The reader's side of the index, exactly as docs/protocol.md section 3 says: pure code over the
// published memory, executed by clients (and by the daemon's tests). Any thread; no system call, no
// allocation, never waits.
#pragma once

#include <emmintrin.h>

#include <algorithm>
#include <span>

#include "kvtier/wire/published.hpp"

namespace kvtier::wire {

// Typed pointers into one mapping of the published memory. `writable` maps are the daemon's.
struct PublishedView {
  const PublishedHeader* header = nullptr;
  const CostBoard* board = nullptr;
  const SpaceDescriptor* spaces = nullptr;
  const SegmentDescriptor* segments = nullptr;
  const Bucket* buckets = nullptr;
  const Entry* entries = nullptr;

  static PublishedView of(const void* base) {
    const auto* bytes = static_cast<const std::byte*>(base);
    const auto* header = reinterpret_cast<const PublishedHeader*>(bytes);
    PublishedView view;
    view.header = header;
    view.board = reinterpret_cast<const CostBoard*>(bytes + header->board_offset);
    view.spaces = reinterpret_cast<const SpaceDescriptor*>(bytes + header->spaces_offset);
    view.segments = reinterpret_cast<const SegmentDescriptor*>(bytes + header->segments_offset);
    view.buckets = reinterpret_cast<const Bucket*>(bytes + header->buckets_offset);
    view.entries = reinterpret_cast<const Entry*>(bytes + header->entries_offset);
    return view;
  }
};

enum class Found : uint8_t {
  kAbsent = 0,
  kHost = 1,      // in a host slot: may be leased
  kLower = 2,     // only on nvme or remote: may be prefetched
  kUnstable = 3,  // changed while being read, also after retries: a miss
};

// What one look-up saw. Advice until a lease is validated against `entry`.
struct FoundChunk {
  Found found = Found::kAbsent;
  uint32_t entry = 0;
  Place place;
  uint32_t payload_bytes = 0;
  uint32_t flags = 0;
  uint32_t lower = 0;
};

inline constexpr int kUnstableRetriesMax = 4;

// Bit i set: position i of the bucket has this tag.
inline uint32_t match_tags(const Bucket& bucket, uint16_t tag) {
  const auto low = static_cast<int64_t>(bucket.tags[0].load(std::memory_order_acquire));
  const auto high = static_cast<int64_t>(bucket.tags[1].load(std::memory_order_acquire));
  const __m128i tags = _mm_set_epi64x(high, low);
  const __m128i equal = _mm_cmpeq_epi16(tags, _mm_set1_epi16(static_cast<int16_t>(tag)));
  const __m128i packed = _mm_packs_epi16(equal, _mm_setzero_si128());
  return static_cast<uint32_t>(_mm_movemask_epi8(packed));
}

// Reads one candidate (steps 2 to 4 of a look-up). kAbsent when it is another chunk.
inline FoundChunk read_entry(const Entry& entry, uint32_t number, ChunkKey key, uint32_t space) {
  FoundChunk result;
  result.entry = number;
  for (int attempt = 0; attempt <= kUnstableRetriesMax; ++attempt) {
    const uint64_t place = entry.host_place.load(std::memory_order_acquire);
    if (entry.key_lo.load(std::memory_order_relaxed) != key.lo ||
        entry.key_hi.load(std::memory_order_relaxed) != key.hi ||
        entry.space.load(std::memory_order_relaxed) != space) {
      return result;
    }
    result.payload_bytes = entry.payload_bytes.load(std::memory_order_relaxed);
    result.flags = entry.flags.load(std::memory_order_relaxed);
    result.lower = entry.lower.load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (entry.host_place.load(std::memory_order_relaxed) != place) continue;
    result.place = Place(place);
    result.found = place != 0 ? Found::kHost : (result.lower != 0) ? Found::kLower : Found::kAbsent;
    return result;
  }
  result.found = Found::kUnstable;
  return result;
}

inline FoundChunk search_bucket(const PublishedView& view, const Bucket& bucket, uint16_t tag,
                                ChunkKey key, uint32_t space) {
  FoundChunk best;
  for (uint32_t mask = match_tags(bucket, tag); mask != 0; mask &= mask - 1) {
    const uint32_t number = bucket.entries[std::countr_zero(mask)].load(std::memory_order_relaxed);
    if (number >= view.header->entries_max) continue;
    const FoundChunk chunk = read_entry(view.entries[number], number, key, space);
    if (chunk.found == Found::kHost) return chunk;
    if (chunk.found == Found::kLower) best = chunk;
    if (chunk.found == Found::kUnstable && best.found == Found::kAbsent) best = chunk;
  }
  return best;
}

inline FoundChunk find_chunk(const PublishedView& view, ChunkKey key, uint32_t space) {
  const IndexHash hash = index_hash(key, space);
  const uint32_t mask = view.header->bucket_mask;
  const FoundChunk first =
      search_bucket(view, view.buckets[hash.first & mask], hash.tag, key, space);
  if (first.found == Found::kHost) return first;
  // A hint, or what could not be read for its changing, is the answer only if nothing better is.
  const FoundChunk second =
      search_bucket(view, view.buckets[hash.second & mask], hash.tag, key, space);
  if (second.found == Found::kHost || first.found == Found::kAbsent) return second;
  return second.found == Found::kLower ? second : first;
}

inline constexpr size_t kLookupWindow = 32;  // keys whose lines are fetched ahead

// Reads a word for nothing but its line: independent loads overlap in the processor, page walks
// too, where prefetches that miss the TLB wait for each other (measured: a fifth faster).
inline void fetch_line(const std::atomic<uint64_t>& word) {
  asm volatile("" : : "r"(word.load(std::memory_order_relaxed)));
}

// Looks up the keys in order, hands each reading to visit(const FoundChunk&) and stops behind the
// first that is not in host or lower tiers (the first miss is handed over too, so that its reason
// can be counted); returns how many were. Bucket lines of a window are fetched together, then its
// entry lines, then all is compared: memory latencies overlap instead of adding up. What is fetched
// ahead is never used, only its line is.
template <typename Visit>
inline size_t visit_prefix(const PublishedView& view, std::span<const ChunkKey> keys,
                           uint32_t space, Visit&& visit) {
  const uint32_t mask = view.header->bucket_mask;
  const uint32_t entries_max = view.header->entries_max;
  const size_t count = keys.size();
  const auto first_bucket = [&](size_t i) -> const Bucket& {
    return view.buckets[index_hash(keys[i], space).first & mask];
  };
  uint32_t numbers[kLookupWindow];
  for (size_t i = 0; i < std::min(kLookupWindow, count); ++i) fetch_line(first_bucket(i).tags[0]);
  for (size_t begin = 0; begin < count; begin += kLookupWindow) {
    const size_t end = std::min(begin + kLookupWindow, count);
    size_t candidates = 0;
    for (size_t i = begin; i < end; ++i) {
      const IndexHash hash = index_hash(keys[i], space);
      const Bucket& bucket = view.buckets[hash.first & mask];
      const uint32_t matches = match_tags(bucket, hash.tag);
      if (matches == 0) {
        _mm_prefetch(reinterpret_cast<const char*>(&view.buckets[hash.second & mask]), _MM_HINT_T0);
        continue;
      }
      const uint32_t number =
          bucket.entries[std::countr_zero(matches)].load(std::memory_order_relaxed);
      if (number < entries_max) numbers[candidates++] = number;
    }
    for (size_t i = end; i < std::min(end + kLookupWindow, count); ++i) {
      _mm_prefetch(reinterpret_cast<const char*>(&first_bucket(i)), _MM_HINT_T0);
    }
    for (size_t i = 0; i < candidates; ++i) fetch_line(view.entries[numbers[i]].key_lo);
    for (size_t i = begin; i < end; ++i) {
      const FoundChunk chunk = find_chunk(view, keys[i], space);
      visit(chunk);
      if (chunk.found != Found::kHost && chunk.found != Found::kLower) return i + 1;
    }
  }
  return count;
}

// The same into `out`, as far as that has room.
inline size_t find_prefix(const PublishedView& view, std::span<const ChunkKey> keys, uint32_t space,
                          std::span<FoundChunk> out) {
  FoundChunk* next = out.data();
  return visit_prefix(view, keys.first(std::min(keys.size(), out.size())), space,
                      [&next](const FoundChunk& chunk) { *next++ = chunk; });
}

}  // namespace kvtier::wire
