// Space::restore and Restore: chunks come last first until they meet the computing head
// (docs/planner.md). Two threads at most; one short lock, never held while bytes move.
#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "client/load_targets.hpp"
#include "client/space_impl.hpp"
#include "client/tiers.hpp"

namespace kvtier {

using wire::Found;

namespace {

// Lower tiers are read in parts from the end, a few under way: what the head reaches first was then
// never asked for.
constexpr uint64_t kPartBytes = 8 * wire::MiB;
constexpr size_t kPartsAhead = 4;

}  // namespace

struct Restore::Impl {
  struct Part {  // consecutive targets that lie in lower tiers
    size_t begin;
    size_t end;
    bool asked = false;
    Prefetch prefetch;
  };
  struct Run {  // consecutive targets in host memory, leased
    size_t begin;
    Match match;
  };

  Impl(const Space& of, const KeyChain& keys, Clock::time_point until)
      : space(of), guard(of.impl()->core->guard()), chain(keys), deadline(until) {}

  void take_targets(std::span<const LoadTarget> given);
  Status lease();
  void split_lower(size_t begin, size_t end);
  void ask_ahead(size_t tail);
  // Its bytes; 0: it did not come.
  uint64_t load(size_t target, MissReason* why);
  Result<LoadResult> load_leased(size_t target, MissReason* why);

  const Space& space;
  const client::ForkGuard& guard;
  const KeyChain& chain;
  const Clock::time_point deadline;
  size_t first = 0;  // chunk of the first target
  std::vector<std::vector<Fragment>> targets;
  std::vector<Run> runs;    // ascending
  std::vector<Part> parts;  // ascending
  bool touched = false;

  std::mutex mutex;
  std::condition_variable changed;
  size_t head = 0;  // targets before it are the head's
  size_t tail = 0;  // targets from it on are loaded
  bool loading = false;
  bool stopped = false;
  uint64_t bytes = 0;
  MissReason ended = MissReason::kNone;
};

void Restore::Impl::take_targets(std::span<const LoadTarget> given) {
  first = given[0].chunk;
  for (const LoadTarget& target : given) {
    targets.emplace_back(target.fragments.begin(), target.fragments.end());
  }
  tail = targets.size();
}

void Restore::Impl::split_lower(size_t begin, size_t end) {
  const uint64_t chunk_bytes = space.spec().chunk_bytes;
  const auto most = std::clamp<size_t>(kPartBytes / chunk_bytes, 1, wire::kBatchChunksMax);
  for (size_t at = begin; at < end; at += most) {
    parts.push_back({.begin = at, .end = std::min(at + most, end), .asked = false, .prefetch = {}});
  }
}

// Leases what is in host memory, before slots are taken for the rest.
Status Restore::Impl::lease() {
  const auto opened = space.impl()->open();
  if (!opened || !Space::Impl::current(chain, *opened.attachment)) return {};
  std::vector<bool> lower;
  for (size_t i = 0; i < targets.size(); ++i) {
    const auto chunk =
        wire::find_chunk(opened.attachment->view, chain.keys()[first + i], opened.space->id);
    bool serves = chunk.found == Found::kLower;
    if (serves) client::lower_tier(opened.attachment->view, chunk.lower, &serves);
    lower.push_back(serves);
  }
  for (size_t begin = 0; begin < lower.size();) {
    size_t end = begin;
    while (end < lower.size() && lower[end] == lower[begin]) ++end;
    if (lower[begin]) {
      split_lower(begin, end);
    } else {
      // A hole ends a match: what is behind it is tried again, one by one, when its turn comes.
      MatchOptions options;
      options.first = first + begin;
      options.chunks_max = end - begin;
      options.touch = false;
      auto match = space.match(chain, options);
      if (!match) return match.error();
      if (match->chunks() > 0) runs.push_back({begin, *std::move(match)});
    }
    begin = end;
  }
  return {};
}

void Restore::Impl::ask_ahead(size_t before) {
  size_t under_way = 0;
  for (auto part = parts.rbegin(); part != parts.rend() && under_way < kPartsAhead; ++part) {
    if (part->begin >= before) continue;
    ++under_way;
    if (part->asked) continue;
    part->asked = true;
    auto begun =
        space.prefetch_begin(chain, first + part->begin, part->end - part->begin, deadline);
    if (begun) part->prefetch = *std::move(begun);
  }
}

Result<LoadResult> Restore::Impl::load_leased(size_t target, MissReason* why) {
  for (const Run& run : runs) {
    if (target < run.begin || target >= run.begin + run.match.chunks()) continue;
    const LoadTarget one = {target - run.begin, targets[target]};
    auto loaded = space.load(run.match, {&one, 1}, deadline);
    if (!loaded || loaded->chunks == 1) return loaded;
    break;  // revoked or corrupt: it may be there again
  }
  MatchOptions options;
  options.first = first + target;
  options.chunks_max = 1;
  options.touch = false;
  const auto match = space.match(chain, options);
  if (!match) return match.error();
  *why = match->ended();
  if (match->chunks() == 0) return LoadResult();
  const LoadTarget one = {0, targets[target]};
  return space.load(*match, {&one, 1}, deadline);
}

// One target, wherever it lies.
uint64_t Restore::Impl::load(size_t target, MissReason* why) {
  ask_ahead(target + 1);
  for (Part& part : parts) {
    if (target < part.begin || target >= part.end) continue;
    (void)part.prefetch.wait(deadline);
  }
  const auto loaded = load_leased(target, why);
  if (loaded && loaded->chunks == 1) return loaded->bytes;
  if (client::passed(deadline)) *why = MissReason::kDeadline;
  if (*why == MissReason::kNone) *why = MissReason::kLeasedOut;
  return 0;
}

Restore::Restore() = default;
Restore::Restore(Restore&&) noexcept = default;
Restore& Restore::operator=(Restore&&) noexcept = default;
Restore::~Restore() {
  if (impl_ != nullptr && impl_->guard.forked()) (void)impl_.release();  // the parent's
}

bool Restore::load_next() {
  if (impl_ == nullptr || impl_->guard.forked()) return false;
  Impl& in = *impl_;
  size_t target = 0;
  {
    const std::lock_guard lock(in.mutex);
    if (in.stopped || in.loading || in.tail <= in.head || client::passed(in.deadline)) {
      if (!in.stopped && !in.loading && in.tail > in.head) {
        in.stopped = true;
        in.ended = MissReason::kDeadline;
      }
      if (!in.loading && !in.touched && in.tail < in.targets.size()) {
        in.touched = true;
        in.space.touch(in.chain, in.first + in.targets.size());
      }
      return false;
    }
    in.loading = true;
    target = in.tail - 1;
  }
  MissReason why = MissReason::kNone;
  const auto came =
      client::guarded<uint64_t>([&]() -> Result<uint64_t> { return in.load(target, &why); });
  const bool good = came && *came > 0;
  {
    const std::lock_guard lock(in.mutex);
    in.loading = false;
    if (good) {
      --in.tail;
      in.bytes += *came;
    } else {
      in.stopped = true;
      in.ended = why == MissReason::kNone ? MissReason::kUnavailable : why;
    }
  }
  in.changed.notify_all();
  return good;
}

bool Restore::take_head() {
  if (impl_ == nullptr || impl_->guard.forked()) return false;
  const std::lock_guard lock(impl_->mutex);
  if (impl_->head >= impl_->tail - (impl_->loading ? 1 : 0)) return false;
  ++impl_->head;
  return true;
}

bool Restore::met() {
  if (impl_ == nullptr || impl_->guard.forked()) return true;
  std::unique_lock lock(impl_->mutex);
  impl_->changed.wait(lock, [this] { return !impl_->loading; });
  return impl_->head >= impl_->tail;
}

void Restore::cancel() {
  if (impl_ == nullptr || impl_->guard.forked()) return;
  const std::lock_guard lock(impl_->mutex);
  impl_->stopped = true;
}

RestoreResult Restore::result() const {
  if (impl_ == nullptr || impl_->guard.forked()) return {};
  const std::lock_guard lock(impl_->mutex);
  return {.computed = impl_->head,
          .loaded = impl_->targets.size() - impl_->tail,
          .bytes = impl_->bytes,
          .ended = impl_->ended};
}

Result<Restore> Space::restore(const KeyChain& chain, std::span<const LoadTarget> targets,
                               Clock::time_point deadline) const {
  if (impl_->core->forked()) return client::forked_error();
  if (!impl_->fits(chain)) return Impl::wrong_chain();
  if (Status due = client::consecutive(chain, targets); !due) return due.error();
  return client::guarded<Restore>([&]() -> Result<Restore> {
    Restore made;
    if (targets.empty()) return made;
    made.impl_ = std::make_unique<Restore::Impl>(*this, chain, deadline);
    made.impl_->take_targets(targets);
    if (Status status = made.impl_->lease(); !status) return status.error();
    made.impl_->ask_ahead(made.impl_->tail);
    return made;
  });
}

}  // namespace kvtier
