// Writing the published index; the order of the stores is docs/protocol.md section 3. Core thread.
#include "daemon/index/published_index.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>

namespace kvtier::daemon {

namespace {

using wire::Bucket;
using wire::Entry;
using wire::Place;

constexpr uint32_t kEntriesMin = 64;
constexpr uint32_t kCrowded = 6;  // from here on the emptier of the two buckets is taken

uint32_t tag_count(const Bucket& bucket) {
  return wire::kBucketWidth - static_cast<uint32_t>(std::popcount(wire::match_tags(bucket, 0)));
}

void set_tag(Bucket& bucket, uint32_t position, uint16_t tag, std::memory_order order) {
  std::atomic<uint64_t>& word = bucket.tags[position / 4];
  const uint32_t shift = position % 4 * 16;
  const uint64_t kept = word.load(std::memory_order_relaxed) & ~(uint64_t{0xffff} << shift);
  word.store(kept | (uint64_t{tag} << shift), order);
}

}  // namespace

Result<std::unique_ptr<PublishedIndex>> PublishedIndex::create(const IndexOptions& options) {
  const uint32_t entries = std::max(options.entries_max, kEntriesMin);
  // At most half full: 2 * entries positions, eight a bucket.
  const uint32_t buckets = std::bit_ceil((entries + 3) / 4);
  const uint64_t bytes =
      wire::round_up(sizeof(wire::PublishedHeader), wire::kPageBytes) +
      wire::round_up(sizeof(wire::CostBoard), wire::kPageBytes) +
      wire::round_up(sizeof(wire::SpaceDescriptor) * wire::kSpacesMax, wire::kPageBytes) +
      wire::round_up(sizeof(wire::SegmentDescriptor) * wire::kSegmentsMax, wire::kPageBytes) +
      wire::round_up(sizeof(Bucket) * uint64_t{buckets}, wire::kPageBytes) +
      wire::round_up(sizeof(Entry) * uint64_t{entries}, wire::kPageBytes);

  std::unique_ptr<PublishedIndex> index(new (std::nothrow) PublishedIndex);
  if (index == nullptr) return Error(Code::kOutOfMemory, "no memory for an index");
  if (options.huge_pages_wanted) {
    Result<Memfd> huge = create_memfd({"kvtier-index", bytes, Pages::kHuge});
    if (huge.ok()) index->memory_ = std::move(huge).value();
  }
  if (!index->memory_.mapping) {
    Result<Memfd> small = create_memfd({"kvtier-index", bytes, Pages::kSmall});
    if (!small.ok()) return small.error();
    index->memory_ = std::move(small).value();
  }
  Result<Fd> read_only = reopen_read_only(index->memory_.fd);
  if (!read_only.ok()) return read_only.error();
  index->read_only_ = std::move(read_only).value();
  index->lay_out(options, entries, buckets);
  return index;
}

void PublishedIndex::lay_out(const IndexOptions& options, uint32_t entries, uint32_t buckets) {
  std::byte* base = memory_.mapping.data();
  uint64_t offset = 0;
  const auto part = [&offset](uint64_t bytes) {
    const uint64_t begin = offset;
    offset += wire::round_up(bytes, wire::kPageBytes);
    return begin;
  };
  // The memory is new and zero: atomics of value 0 need no construction of their own.
  header_ = reinterpret_cast<wire::PublishedHeader*>(base + part(sizeof(wire::PublishedHeader)));
  header_->version = wire::kProtocolVersion;
  header_->header_bytes = sizeof(wire::PublishedHeader);
  header_->bytes = memory_.mapping.bytes();
  header_->board_offset = part(sizeof(wire::CostBoard));
  header_->spaces_offset = part(sizeof(wire::SpaceDescriptor) * wire::kSpacesMax);
  header_->segments_offset = part(sizeof(wire::SegmentDescriptor) * wire::kSegmentsMax);
  header_->buckets_offset = part(sizeof(Bucket) * uint64_t{buckets});
  header_->entries_offset = part(sizeof(Entry) * uint64_t{entries});
  header_->spaces_max = wire::kSpacesMax;
  header_->segments_max = wire::kSegmentsMax;
  header_->bucket_mask = buckets - 1;
  header_->entries_max = entries;
  header_->tenant = options.tenant;
  header_->magic = wire::kPublishedMagic;
  view_ = wire::PublishedView::of(base);
  buckets_ = const_cast<Bucket*>(view_.buckets);
  entries_ = const_cast<Entry*>(view_.entries);
  open_epoch(options.epoch);
}

uint32_t PublishedIndex::entries_max() const {
  return header_->entries_max;
}

void PublishedIndex::expect(uint64_t chunks) {
  std::byte* base = memory_.mapping.data();
  const uint64_t entries = std::min<uint64_t>(chunks, header_->entries_max);
  const uint64_t buckets = uint64_t{header_->bucket_mask} + 1;
  const auto whole_pages = [](uint64_t bytes) { return wire::round_up(bytes, wire::kPageBytes); };
  // What cannot be made now is made when it is touched.
  [[maybe_unused]] Status made =
      populate(base + header_->entries_offset, whole_pages(entries * sizeof(Entry)));
  // With few chunks among many buckets, most of those stay untouched.
  if (entries * 4 >= buckets) {
    made = populate(base + header_->buckets_offset, whole_pages(buckets * sizeof(Bucket)));
  }
}

uint32_t PublishedIndex::find(ChunkKey key, uint32_t space) const {
  // The daemon's own search: also finds entries whose places are all empty.
  const wire::IndexHash hash = wire::index_hash(key, space);
  for (const uint32_t number : {hash.first, hash.second}) {
    const Bucket& bucket = buckets_[number & header_->bucket_mask];
    for (uint32_t mask = wire::match_tags(bucket, hash.tag); mask != 0; mask &= mask - 1) {
      const uint32_t entry = bucket.entries[std::countr_zero(mask)].load(std::memory_order_relaxed);
      const Entry& candidate = entries_[entry];
      if (candidate.key_lo.load(std::memory_order_relaxed) == key.lo &&
          candidate.key_hi.load(std::memory_order_relaxed) == key.hi &&
          candidate.space.load(std::memory_order_relaxed) == space) {
        return entry;
      }
    }
  }
  return kNoEntry;
}

Bucket* PublishedIndex::roomier_bucket(const wire::IndexHash& hash) const {
  Bucket& first = buckets_[hash.first & header_->bucket_mask];
  const uint32_t in_first = tag_count(first);
  if (in_first < kCrowded) return &first;
  Bucket& second = buckets_[hash.second & header_->bucket_mask];
  const uint32_t in_second = tag_count(second);
  if (std::min(in_first, in_second) == wire::kBucketWidth) return nullptr;
  return in_second < in_first ? &second : &first;
}

uint32_t PublishedIndex::take_entry() {
  if (!free_.empty()) {
    const uint32_t entry = free_.back();
    free_.pop_back();
    return entry;
  }
  const uint32_t entry = header_->entries_high_water.load(std::memory_order_relaxed);
  if (entry == header_->entries_max) return kNoEntry;
  header_->entries_high_water.store(entry + 1, std::memory_order_relaxed);
  return entry;
}

uint32_t PublishedIndex::insert(const EntryFacts& facts, Place place) {
  const wire::IndexHash hash = wire::index_hash(facts.key, facts.space);
  Bucket* bucket = roomier_bucket(hash);
  if (bucket == nullptr) {
    ++bucket_overflows_;
    return kNoEntry;
  }
  const uint32_t number = take_entry();
  if (number == kNoEntry) return kNoEntry;
  ++used_;

  Entry& entry = entries_[number];
  entry.key_lo.store(facts.key.lo, std::memory_order_relaxed);
  entry.key_hi.store(facts.key.hi, std::memory_order_relaxed);
  entry.space.store(facts.space, std::memory_order_relaxed);
  entry.payload_bytes.store(facts.payload_bytes, std::memory_order_relaxed);
  entry.tokens.store(facts.tokens, std::memory_order_relaxed);
  entry.flags.store(facts.flags, std::memory_order_relaxed);
  entry.lower.store(0, std::memory_order_relaxed);
  entry.host_place.store(place.word(), std::memory_order_release);  // I1

  const auto position = static_cast<uint32_t>(std::countr_zero(wire::match_tags(*bucket, 0)));
  bucket->entries[position].store(number, std::memory_order_relaxed);
  set_tag(*bucket, position, hash.tag, std::memory_order_release);  // I2
  return number;
}

void PublishedIndex::clear_host(uint32_t entry) {
  entries_[entry].host_place.store(0, std::memory_order_relaxed);
}

void PublishedIndex::hide(uint32_t number) {
  const EntryFacts chunk = facts(number);
  const wire::IndexHash hash = wire::index_hash(chunk.key, chunk.space);
  for (const uint32_t candidate : {hash.first, hash.second}) {
    Bucket& bucket = buckets_[candidate & header_->bucket_mask];
    for (uint32_t mask = wire::match_tags(bucket, hash.tag); mask != 0; mask &= mask - 1) {
      const auto position = static_cast<uint32_t>(std::countr_zero(mask));
      if (bucket.entries[position].load(std::memory_order_relaxed) != number) continue;
      set_tag(bucket, position, 0, std::memory_order_relaxed);
      return;
    }
  }
}

void PublishedIndex::erase(uint32_t entry) {
  if (host_place(entry).word() != 0) std::abort();  // readers could still take it for its old key
  if (lower(entry) != 0) std::abort();              // the chunk still lies in a lower tier
  free_.push_back(entry);
  --used_;
}

void PublishedIndex::set_host(uint32_t entry, Place place) {
  entries_[entry].host_place.store(place.word(), std::memory_order_release);
}

void PublishedIndex::set_payload_bytes(uint32_t entry, uint32_t bytes) {
  if (host_place(entry).word() != 0) std::abort();  // readers could take it for another chunk's
  entries_[entry].payload_bytes.store(bytes, std::memory_order_relaxed);
}

void PublishedIndex::set_flags(uint32_t entry, uint32_t flags) {
  entries_[entry].flags.store(flags, std::memory_order_release);
}

void PublishedIndex::set_lower(uint32_t entry, uint32_t lower) {
  entries_[entry].lower.store(lower, std::memory_order_release);
}

uint32_t PublishedIndex::lower(uint32_t entry) const {
  return entries_[entry].lower.load(std::memory_order_relaxed);
}

Place PublishedIndex::host_place(uint32_t entry) const {
  return Place(entries_[entry].host_place.load(std::memory_order_relaxed));
}

EntryFacts PublishedIndex::facts(uint32_t number) const {
  const Entry& entry = entries_[number];
  EntryFacts facts;
  facts.key = {entry.key_lo.load(std::memory_order_relaxed),
               entry.key_hi.load(std::memory_order_relaxed)};
  facts.space = entry.space.load(std::memory_order_relaxed);
  facts.payload_bytes = entry.payload_bytes.load(std::memory_order_relaxed);
  facts.tokens = entry.tokens.load(std::memory_order_relaxed);
  facts.flags = entry.flags.load(std::memory_order_relaxed);
  return facts;
}

}  // namespace kvtier::daemon
