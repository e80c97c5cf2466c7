#include "tools/replay/replay_client.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <thread>

#include "kernels/copy.hpp"
#include "tools/replay/recompute_cost.hpp"
#include "tools/trace/block_content.hpp"

namespace kvtier::tools {
namespace {

// Target and source of the copies: larger than most caches, small enough to be no burden.
constexpr uint64_t kBufferBytes = 64u << 20;
constexpr uint64_t kPayloadSalt = 0;
// Half of the touch log's default size; a log that was made smaller is noticed by what it drops.
constexpr uint64_t kTouchesUnflushedMax = 8192;
constexpr auto kCallTime = std::chrono::seconds(30);
constexpr auto kRoomTime = std::chrono::seconds(30);  // without room, before a store is given up
constexpr auto kRoomWaitMin = std::chrono::microseconds(50);
constexpr auto kRoomWaitMax = std::chrono::milliseconds(20);

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

size_t chunks_in_buffer(uint64_t chunk_bytes) {
  return static_cast<size_t>(std::max<uint64_t>(kBufferBytes / chunk_bytes, 1));
}

}  // namespace

Result<std::unique_ptr<ReplayClient>> ReplayClient::open(const ReplayClientOptions& options,
                                                         const std::atomic<bool>& stop) {
  std::unique_ptr<ReplayClient> client(new ReplayClient(options, stop));
  SessionOptions session;
  session.socket = options.socket;
  session.name = options.name;
  session.call_deadline = kCallTime;
  auto opened = Session::open(session);
  if (!opened) return opened.error();
  client->session_ = *std::move(opened);
  const Status attached = client->session_->wait_attached(Clock::now() + options.attach_timeout);
  if (!attached) return attached.error();
  return client;
}

void ReplayClient::fail(const char* what, const char* why, uint64_t calls) {
  totals_.failed_calls += calls;
  if (totals_.first_failure.empty()) totals_.first_failure = std::string(what) + ": " + why;
}

// Counts a failed call. An error when the daemon does not come back.
Status ReplayClient::lost(const char* what, const Error& error) {
  fail(what, error.message());
  if (error.code() != Code::kUnavailable && error.code() != Code::kDeadline) return {};
  if (stop_) return {};
  return session_->wait_attached(Clock::now() + options_.attach_timeout);
}

Result<const ReplayClient::Shape*> ReplayClient::shape_for(uint32_t block_tokens) {
  const auto known = shapes_.find(block_tokens);
  if (known != shapes_.end()) return &known->second;
  SpaceSpec spec;
  spec.model = options_.model;
  spec.dtype = "u8";
  spec.layout = "replay-1";
  spec.tokens_per_chunk = block_tokens;
  spec.chunk_bytes = options_.bytes_per_token * block_tokens;
  auto space = session_->open_space(spec);
  if (!space) return space.error();
  Shape& shape = shapes_[block_tokens];
  shape = {*std::move(space), block_tokens, spec.chunk_bytes};
  const size_t bytes = chunks_in_buffer(spec.chunk_bytes) * spec.chunk_bytes;
  load_buffer_.resize(std::max(load_buffer_.size(), bytes));
  store_buffer_.resize(
      std::max<size_t>(store_buffer_.size(),
                       std::min<size_t>(chunks_in_buffer(spec.chunk_bytes), wire::kBatchChunksMax) *
                           spec.chunk_bytes));
  return &shape;
}

Status ReplayClient::serve(const TraceRequest& request) {
  ++totals_.requests;
  totals_.blocks_asked += request.hash_ids.size();
  totals_.tokens_asked += request.input_length;
  if (request.hash_ids.empty()) return {};
  auto shape = shape_for(request.block_tokens);
  if (!shape) return shape.error();
  Path path{.shape = **shape, .ids = request.hash_ids, .chain = {}, .match = {}};
  if (Status status = find(path); !status) return lost("look-up", status.error());
  load(path);
  const uint64_t tokens =
      std::min(request.input_length, uint64_t{path.hit} * path.shape.block_tokens);
  totals_.blocks_hit += path.hit;
  totals_.blocks_hit_nvme += std::min(path.hit, path.lower);
  totals_.tokens_hit += tokens;
  totals_.recompute_seconds += recompute_seconds(kLlama8bOnH100, static_cast<double>(tokens));
  if (Status status = store(path); !status) return lost("store", status.error());
  touch(path);
  return {};
}

// Keys, the timed look-up, and leases on what it saw.
Status ReplayClient::find(Path& path) {
  const size_t tokens_each = path.shape.block_tokens;
  tokens_.resize(path.ids.size() * tokens_each);
  for (size_t i = 0; i < path.ids.size(); ++i) {
    fill_tokens(path.ids[i], std::span(tokens_).subspan(i * tokens_each, tokens_each));
  }
  auto chain = path.shape.space->derive({.tokens = tokens_});
  if (!chain) return chain.error();
  path.chain = *std::move(chain);
  const auto began = Clock::now();
  const Lookup seen = path.shape.space->lookup(path.chain);
  totals_.lookup.record(static_cast<uint64_t>((Clock::now() - began).count()));
  if (seen.ended == MissReason::kUnavailable) {
    return Error(Code::kUnavailable, "no daemon is attached");
  }
  // As an engine's scheduler: what lies below is brought before the request is placed.
  path.lower = seen.chunks_by_tier[static_cast<size_t>(Tier::kNvme)];
  if (path.lower > 0) {
    const auto brought =
        path.shape.space->prefetch(path.chain, 0, seen.chunks, Clock::now() + kCallTime);
    if (!brought) return brought.error();
  }
  MatchOptions wanted;
  wanted.touch = false;
  auto match = path.shape.space->match(path.chain, wanted);
  if (!match) return match.error();
  path.match = *std::move(match);
  const MissReason ended = path.match.ended();
  if (ended == MissReason::kMismatch || ended == MissReason::kTooManyLeases ||
      ended == MissReason::kDeadline) {
    fail("match", miss_reason_name(ended));
  }
  return {};
}

void ReplayClient::load(Path& path) {
  const size_t found = path.match.chunks();
  const size_t batch_max = chunks_in_buffer(path.shape.chunk_bytes);
  while (path.hit < found && !stop_) {
    const size_t count = std::min(batch_max, found - path.hit);
    const size_t loaded = load_batch(path, path.hit, count);
    path.hit += loaded;
    if (loaded == count) continue;
    fail("load", "a chunk was corrupt or taken away before it was loaded");
    return;
  }
}

size_t ReplayClient::load_batch(Path& path, size_t first, size_t count) {
  const uint64_t bytes = path.shape.chunk_bytes;
  fragments_.clear();
  targets_.clear();
  for (size_t i = 0; i < count; ++i) fragments_.push_back({load_buffer_.data() + i * bytes, bytes});
  for (size_t i = 0; i < count; ++i) targets_.push_back({first + i, {&fragments_[i], 1}});
  const auto began = Clock::now();
  const auto loaded = path.shape.space->load(path.match, targets_, began + kCallTime);
  totals_.load_seconds += seconds_since(began);
  if (!loaded) {
    fail("load", loaded.error().message(), 0);  // the caller counts the short load
    return 0;
  }
  totals_.bytes_loaded += loaded->bytes;
  for (size_t i = 0; options_.verify && i < loaded->chunks; ++i) {
    totals_.wrong_bytes += count_wrong_bytes(path.ids[first + i], kPayloadSalt,
                                             {load_buffer_.data() + i * bytes, bytes});
  }
  return loaded->chunks;
}

// Missing chunks, tail to head, in batches that go into the daemon's order as they are given.
Status ReplayClient::store(Path& path) {
  const size_t keep = static_cast<size_t>(std::min<uint64_t>(path.ids.size(), options_.chunks_max));
  const size_t batch_max =
      std::min<size_t>({chunks_in_buffer(path.shape.chunk_bytes), wire::kBatchChunksMax});
  std::array<size_t, wire::kBatchChunksMax> chunks;
  full_since_ = {};
  for (size_t end = keep; end > path.hit && !stop_;) {
    const size_t count = std::min(batch_max, end - path.hit);
    for (size_t i = 0; i < count; ++i) chunks[i] = end - 1 - i;
    const auto done = store_batch(path, {chunks.data(), count});
    if (!done) return done.error();
    end -= *done;
  }
  return {};
}

// How many of the chunks are settled, from the first: stored, present, or given up.
Result<size_t> ReplayClient::store_batch(Path& path, std::span<const size_t> chunks) {
  for (size_t i = 0; i < chunks.size(); ++i) {
    fill_payload(path.ids[chunks[i]], kPayloadSalt,
                 {store_buffer_.data() + i * path.shape.chunk_bytes, path.shape.chunk_bytes});
  }
  const auto began = Clock::now();
  auto made = path.shape.space->reserve(path.chain, chunks, began + kCallTime);
  totals_.store_seconds += seconds_since(began);
  if (!made) return made.error();
  touches_logged_ = 0;  // the daemon takes a session's touches before its requests
  // Behind a chunk that has to wait nothing is stored yet, or a head would be older than its tail.
  size_t usable = 0;
  const auto must_wait = [&](const Reservation& one) {
    return (one.outcome == StoreOutcome::kBusy && !options_.drop) ||
           one.outcome == StoreOutcome::kFull || one.outcome == StoreOutcome::kOverQuota;
  };
  while (usable < made->size() && !must_wait((*made)[usable])) ++usable;
  StoreOutcome blocked = StoreOutcome::kStored;
  std::chrono::microseconds retry_after{0};
  if (usable < made->size()) {
    blocked = (*made)[usable].outcome;
    retry_after = (*made)[usable].retry_after;
    made->resize(usable);  // the grants behind go back
  }
  if (usable > 0) full_since_ = {};
  const size_t done = copy_and_commit(path, chunks, *made, usable);
  if (blocked == StoreOutcome::kStored) return done;
  return wait_for_room(path, blocked, retry_after) ? done : done + 1;
}

size_t ReplayClient::copy_and_commit(Path& path, std::span<const size_t> chunks,
                                     std::vector<Reservation>& made, size_t usable) {
  std::vector<Grant> grants;
  std::vector<uint64_t> checksums;
  for (size_t i = 0; i < usable; ++i) {
    switch (made[i].outcome) {
      case StoreOutcome::kStored: {
        const auto began = Clock::now();
        const std::span<std::byte> payload = made[i].grant.payload();
        const std::byte* source = store_buffer_.data() + i * path.shape.chunk_bytes;
        checksums.push_back(kernels::copy_and_hash(payload.data(), source, payload.size()));
        totals_.store_seconds += seconds_since(began);
        grants.push_back(std::move(made[i].grant));
        break;
      }
      case StoreOutcome::kPresent:
        path.touch_all = true;
        ++totals_.blocks_present;
        break;
      case StoreOutcome::kInProgress:
        ++totals_.blocks_present;
        break;
      case StoreOutcome::kDeclined:
        ++totals_.blocks_declined;
        break;
      case StoreOutcome::kBusy:
        ++totals_.blocks_dropped;
        break;
      default:
        fail("reserve", store_outcome_name(made[i].outcome));
    }
  }
  if (grants.empty()) return usable;
  const auto began = Clock::now();
  const auto outcomes = path.shape.space->commit(grants, checksums, began + kCallTime);
  totals_.store_seconds += seconds_since(began);
  if (!outcomes) {
    fail("commit", outcomes.error().message(), grants.size());
    return chunks.size() < usable ? chunks.size() : usable;
  }
  for (const StoreOutcome outcome : *outcomes) {
    if (outcome == StoreOutcome::kStored) {
      ++totals_.blocks_stored;
      totals_.bytes_stored += path.shape.chunk_bytes;
    } else if (outcome == StoreOutcome::kPresent) {
      path.touch_all = true;
      ++totals_.blocks_present;
    } else {
      fail("commit", store_outcome_name(outcome));
    }
  }
  return usable;
}

// False when the wait was in vain and the chunk is given up.
bool ReplayClient::wait_for_room(Path& path, StoreOutcome outcome,
                                 std::chrono::microseconds retry_after) {
  const auto now = Clock::now();
  if (full_since_ == Clock::time_point{}) full_since_ = now;
  if (now - full_since_ > kRoomTime) {
    full_since_ = {};
    fail("store given up", store_outcome_name(outcome));
    return false;
  }
  // Without room for what is leased everywhere, this client's own leases are what it can give.
  if (outcome != StoreOutcome::kBusy) path.match.release();
  ++totals_.busy_waits;
  std::this_thread::sleep_for(
      std::clamp<std::chrono::nanoseconds>(retry_after, kRoomWaitMin, kRoomWaitMax));
  totals_.busy_seconds += seconds_since(now);
  return true;
}

// The prefix becomes the newest, tail to head. No touch is lost: a full log is emptied first, and
// what was dropped all the same is logged again.
void ReplayClient::touch(Path& path) {
  const size_t count =
      path.touch_all ? static_cast<size_t>(std::min<uint64_t>(path.ids.size(), options_.chunks_max))
                     : path.hit;
  const Space& space = *path.shape.space;
  for (int attempt = 0; count > 0; ++attempt) {
    if (touches_logged_ + count > kTouchesUnflushedMax) {
      if (Status flushed = space.flush_touches(Clock::now() + kCallTime); !flushed) {
        return fail("flush of touches", flushed.error().message());
      }
      touches_logged_ = 0;
    }
    space.touch(path.chain, count);
    touches_logged_ += count;
    const uint64_t dropped = session_->stats().touches_dropped;
    if (dropped == touches_dropped_) return;
    touches_dropped_ = dropped;
    if (attempt > 0) {
      return fail("touch",
                  "the session's touch log is smaller than one request: raise "
                  "session.touch_entries");
    }
    touches_logged_ = kTouchesUnflushedMax;
  }
}

}  // namespace kvtier::tools
