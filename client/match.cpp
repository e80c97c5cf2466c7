// Space::match: look up, lease, verify (protocol.md, sections 3, 4 and 7), and Match itself.
//
// Slices of kSlice chunks: in each, one look-up pass, one fence for all leases, one pass that
// compares headers this session has not compared yet. The kept part is always a head.
#include "client/match_impl.hpp"

#include <algorithm>
#include <bit>

#include "client/header_check.hpp"
#include "client/space_impl.hpp"
#include "client/tiers.hpp"
#include "client/touches.hpp"

namespace kvtier {
namespace {

using client::HeaderVerdict;
using wire::Counter;
using wire::Found;
using wire::FoundChunk;

constexpr size_t kSlice = 256;

// One match being made.
struct Matcher {
  const Space::Impl& space;
  const client::OpenedSpace& opened;
  KeyChain::Impl& chain;
  const MatchOptions& options;
  Match::Impl& match;
  client::Attachment& attachment;

  void run();
  size_t find(size_t first, size_t count, FoundChunk* found);
  bool siblings_ready() const;
  size_t shared_by_all(size_t first, size_t count) const;
  size_t lease(const FoundChunk* found, size_t count);
  bool verify(size_t from, size_t chunk);
  bool verify_one(Match::Impl::Held* held, size_t chunk);
  void stop(MissReason reason) { match.ended = reason; }
  void count_lower(const FoundChunk* found, size_t begin, size_t end);
};

// The head of [first, first + count) that is in host memory and may be used; sets the reason when
// it is shorter.
size_t Matcher::find(size_t first, size_t count, FoundChunk* found) {
  const std::span<const ChunkKey> keys(chain.keys.data() + first, count);
  const size_t filled = wire::find_prefix(attachment.view, keys, opened.id, {found, count});
  for (size_t i = 0; i < filled; ++i) {
    const FoundChunk& chunk = found[i];
    if (chunk.found == Found::kHost && (chunk.flags & wire::kUnverified) == 0 &&
        chunk.payload_bytes <= space.record->spec.chunk_bytes) {
      continue;
    }
    bool serves = chunk.found == Found::kLower;
    if (serves) client::lower_tier(attachment.view, chunk.lower, &serves);
    if (serves) {
      stop(MissReason::kLower);
      count_lower(found, i, filled);
    } else if (chunk.found == Found::kUnstable) {
      stop(MissReason::kLeasedOut);
    } else if (chunk.found == Found::kAbsent || chunk.found == Found::kLower) {
      stop(MissReason::kAbsent);
    } else if ((chunk.flags & wire::kUnverified) != 0) {
      stop(MissReason::kUnverified);
    } else {
      stop(MissReason::kMismatch);
    }
    return i;
  }
  return filled;
}

void Matcher::count_lower(const FoundChunk* found, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    if (found[i].found != Found::kLower && found[i].found != Found::kHost) return;
    ++match.lower;
  }
}

// Finds the other shards' spaces in the published table, once.
bool Matcher::siblings_ready() const {
  if (opened.siblings_known.load(std::memory_order_acquire)) return true;
  auto& writable = const_cast<client::OpenedSpace&>(opened);
  uint64_t known = uint64_t{1} << space.record->spec.shard;
  for (uint32_t i = 0; i < attachment.view.header->spaces_max; ++i) {
    const wire::SpaceDescriptor& other = attachment.view.spaces[i];
    const uint32_t id = other.id.load(std::memory_order_acquire);
    const uint32_t shard = other.shard.load(std::memory_order_relaxed);
    if (id == 0 || id == opened.id || shard >= opened.shards ||
        other.group.load(std::memory_order_relaxed) != opened.group) {
      continue;
    }
    writable.siblings[shard].store(id, std::memory_order_relaxed);
    known |= uint64_t{1} << shard;
  }
  if (static_cast<uint32_t>(std::popcount(known)) < opened.shards) return false;
  writable.siblings_known.store(true, std::memory_order_release);
  return true;
}

// How many chunks of the head every other shard has in host memory too.
size_t Matcher::shared_by_all(size_t first, size_t count) const {
  if (!siblings_ready()) return 0;
  client::FoundChunks<kSlice> found;
  for (uint32_t shard = 0; shard < opened.shards && count > 0; ++shard) {
    if (shard == space.record->spec.shard) continue;
    const uint32_t id = opened.siblings[shard].load(std::memory_order_relaxed);
    const std::span<const ChunkKey> keys(chain.keys.data() + first, count);
    const size_t filled = wire::find_prefix(attachment.view, keys, id, {found.data(), count});
    size_t resident = 0;
    while (resident < filled && found[resident].found == Found::kHost &&
           (found[resident].flags & wire::kUnverified) == 0) {
      ++resident;
    }
    count = resident;
  }
  return count;
}

// Takes leases on the first of `found`; how many hold.
size_t Matcher::lease(const FoundChunk* found, size_t count) {
  std::array<uint32_t, kSlice> cells;
  const uint32_t taken = attachment.cells.take(static_cast<uint32_t>(count), cells.data());
  if (taken < count) stop(MissReason::kTooManyLeases);
  for (uint32_t i = 0; i < taken; ++i) attachment.cells.write(cells[i], found[i].place);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // R
  uint32_t held = 0;
  if (attachment.view.header->epoch.load(std::memory_order_acquire) == attachment.epoch &&
      attachment.header().ended.load(std::memory_order_acquire) == 0) {
    while (held < taken && attachment.view.entries[found[held].entry].host_place.load(
                               std::memory_order_acquire) == found[held].place.word()) {
      ++held;
    }
    if (held < taken) stop(MissReason::kLeasedOut);
  } else {
    stop(MissReason::kUnavailable);
  }
  for (uint32_t i = held; i < taken; ++i) attachment.cells.clear(cells[i]);
  if (held < taken) attachment.cells.give(cells.data() + held, taken - held);
  for (uint32_t i = 0; i < held; ++i) {
    match.held.push_back({.segment = nullptr,
                          .place = found[i].place,
                          .cell = cells[i],
                          .payload_bytes = found[i].payload_bytes,
                          .flags = found[i].flags,
                          .lower = found[i].lower,
                          .entry = found[i].entry,
                          .key = chain.keys[options.first + match.held.size()]});
  }
  return held;
}

// Finds the memory of the leases from `from` on, whose first is of chunk `chunk`, and compares
// their headers. False when the match ends inside; the rest was let go.
bool Matcher::verify(size_t from, size_t chunk) {
  for (size_t i = from; i < match.held.size(); ++i) {
    Match::Impl::Held& held = match.held[i];
    held.segment = attachment.segments.find(held.place);
    if (held.segment != nullptr) {
      __builtin_prefetch(&held.segment->verified[held.place.slot()]);
    }
  }
  for (size_t i = from; i < match.held.size(); ++i) {
    if (verify_one(&match.held[i], chunk + (i - from))) continue;
    match.shorten(i);
    return false;
  }
  return true;
}

bool Matcher::verify_one(Match::Impl::Held* held, size_t chunk) {
  if (held->segment == nullptr) {
    const auto mapped =
        attachment.segments.get(held->place, client::after(space.core->options().call_deadline));
    if (!mapped) {
      stop(mapped.code() == Code::kDeadline ? MissReason::kDeadline : MissReason::kUnavailable);
      return false;
    }
    held->segment = *mapped;
  }
  if (uint64_t{opened.header_bytes} + held->payload_bytes > held->segment->slot_bytes) {
    stop(MissReason::kMismatch);
    return false;
  }
  const client::HeaderDue due = {&chain, chunk, space.record, &opened, held->payload_bytes};
  const uint64_t word = client::verified_word(due, held->place, space.core->tag_secret());
  std::atomic<uint64_t>& verified = held->segment->verified[held->place.slot()];
  if (verified.load(std::memory_order_relaxed) == word) return true;
  switch (client::check_header(due, held->place, held->slot())) {
    case HeaderVerdict::kSame:
      // A header that was the next use's already must not be remembered for this one.
      if (!attachment.check(match.revocations)) {
        stop(MissReason::kLeasedOut);
        return false;
      }
      verified.store(word, std::memory_order_relaxed);
      return true;
    case HeaderVerdict::kCodec:
      stop(MissReason::kCodec);
      return false;
    case HeaderVerdict::kOther:
      stop(MissReason::kMismatch);
      return false;
    case HeaderVerdict::kCorrupt:
      stop(MissReason::kMismatch);
      if (attachment.check(match.revocations)) {
        client::Ring::Request bad;
        bad.op = wire::Op::kBadChunk;
        bad.space = opened.id;
        bad.a = held->place.word();
        bad.b = static_cast<uint64_t>(wire::BadKind::kHeader);
        (void)attachment.ring.post(bad, nullptr, 0);
      }
      return false;
  }
  return false;
}

void Matcher::run() {
  client::FoundChunks<kSlice> found;
  const size_t end =
      options.first + std::min(options.chunks_max, chain.keys.size() - options.first);
  for (size_t first = options.first; first < end && match.ended == MissReason::kNone;) {
    const size_t count = std::min(kSlice, end - first);
    size_t usable = find(first, count, found.data());
    if (options.all_shards && opened.shards > 1 && usable > 0) {
      const size_t shared = shared_by_all(first, usable);
      if (shared < usable) {
        usable = shared;
        match.lower = 0;
        stop(MissReason::kShard);
      }
    }
    if (usable == 0) return;
    const size_t from = match.held.size();
    match.held.reserve(from + usable);
    if (lease(found.data(), usable) < usable) match.lower = 0;
    if (!verify(from, first)) match.lower = 0;
    first += count;
  }
}

void count_match(const Space::Impl& space, const client::AttachmentRef& attachment, size_t asked,
                 const Match::Impl& match) {
  client::SessionCore& core = *space.core;
  const uint64_t tokens = space.record->spec.tokens_per_chunk;
  core.count(attachment, Counter::kLookups);
  core.count(attachment, Counter::kChunksAsked, asked);
  core.count(attachment, Counter::kTokensAsked, asked * tokens);
  size_t promoted = 0;
  for (const Match::Impl::Held& held : match.held) {
    promoted += (held.lower & wire::kPromoted) != 0 ? 1 : 0;
  }
  if (promoted < match.held.size()) {
    core.count(attachment, Counter::kChunksHost, match.held.size() - promoted);
    core.count(attachment, Counter::kTokensHost, (match.held.size() - promoted) * tokens);
  }
  if (promoted > 0) {
    core.count(attachment, Counter::kChunksNvme, promoted);
    core.count(attachment, Counter::kTokensNvme, promoted * tokens);
  }
  if (match.ended != MissReason::kNone) {
    core.count(attachment, client::miss_counter(match.ended));
  }
}

// The whole path, tail to head: what was leased, then what the engine had already.
void touch_path(const Matcher& matcher) {
  size_t next = matcher.match.held.size();
  const uint64_t dropped = matcher.attachment.touches.append(
      [&]() -> uint64_t { return next == 0 ? 0 : matcher.match.held[--next].place.word(); });
  const uint64_t more = client::touch_resident(matcher.attachment, matcher.chain.keys,
                                               matcher.options.first, matcher.opened.id);
  if (dropped + more != 0) {
    matcher.attachment.count(Counter::kTouchesDropped, dropped + more);
  }
}

}  // namespace

void Match::Impl::shorten(size_t first) {
  std::array<uint32_t, kSlice> cells;
  while (held.size() > first) {
    const size_t count = std::min(kSlice, held.size() - first);
    for (size_t i = 0; i < count; ++i) {
      cells[i] = held[held.size() - count + i].cell;
      attachment->cells.clear(cells[i]);
    }
    attachment->cells.give(cells.data(), static_cast<uint32_t>(count));
    held.resize(held.size() - count);
  }
}

void Match::Impl::release() {
  if (!attachment) return;
  shorten(0);
  use.end();
  lower = 0;
  attachment.reset();
}

Result<Match> Space::match(const KeyChain& chain, const MatchOptions& options) const {
  if (impl_->core->forked()) return client::forked_error();
  if (!impl_->fits(chain)) return Impl::wrong_chain();
  return client::guarded<Match>([&]() -> Result<Match> {
    Match match;
    if (options.first >= chain.size() || options.chunks_max == 0) return match;
    const size_t asked = std::min(options.chunks_max, chain.size() - options.first);
    Impl::Opened opened = impl_->open();
    if (!opened || !Impl::current(chain, *opened.attachment)) {
      match.reason_ = MissReason::kUnavailable;
      impl_->core->count(opened.attachment, Counter::kLookups);
      impl_->core->count(opened.attachment, Counter::kChunksAsked, asked);
      impl_->core->count(opened.attachment, Counter::kTokensAsked,
                         asked * impl_->record->spec.tokens_per_chunk);
      impl_->core->count(opened.attachment, Counter::kMissUnavailable);
      return match;
    }
    match.impl_ = std::make_unique<Match::Impl>(impl_->core->guard(), std::move(opened.attachment));
    Match::Impl& made = *match.impl_;
    made.header_bytes = opened.space->header_bytes;
    made.chunk_bytes = impl_->record->spec.chunk_bytes;
    made.tokens_per_chunk = impl_->record->spec.tokens_per_chunk;
    Matcher matcher = {*impl_, *opened.space, *chain.impl(), options, made, *made.attachment};
    try {
      matcher.run();
    } catch (...) {
      made.release();
      throw;
    }
    if (options.touch) touch_path(matcher);
    count_match(*impl_, made.attachment, asked, made);
    match.reason_ = made.ended;
    return match;
  });
}

Match::Match() = default;
Match::~Match() {
  if (impl_ == nullptr) return;
  if (impl_->forked()) {
    (void)impl_.release();  // the parent's leases and memory; nothing here may be touched
    return;
  }
  impl_->release();
}
Match::Match(Match&&) noexcept = default;
Match& Match::operator=(Match&& other) noexcept {
  if (this != &other) {
    Match old(std::move(*this));
    impl_ = std::move(other.impl_);
    reason_ = other.reason_;
  }
  return *this;
}

size_t Match::chunks() const {
  return impl_ == nullptr ? 0 : impl_->held.size();
}
size_t Match::tokens() const {
  return impl_ == nullptr ? 0 : impl_->held.size() * impl_->tokens_per_chunk;
}
size_t Match::chunks_lower() const {
  return impl_ == nullptr ? 0 : impl_->lower;
}
MissReason Match::ended() const {
  return reason_;
}

std::span<const std::byte> Match::payload(size_t i) const {
  if (impl_ == nullptr || impl_->forked() || i >= impl_->held.size()) return {};
  const Impl::Held& held = impl_->held[i];
  if (held.payload_bytes != impl_->chunk_bytes) return {};
  return {held.slot() + impl_->header_bytes, held.payload_bytes};
}

Status Match::check() const {
  if (impl_ == nullptr) return {};
  if (impl_->forked()) return client::forked_error();
  if (!impl_->attachment) return Error(Code::kInvalidArgument, "the match was released");
  return impl_->attachment->check(impl_->revocations);
}

void Match::release() {
  if (impl_ != nullptr && !impl_->forked()) impl_->release();
}

}  // namespace kvtier
