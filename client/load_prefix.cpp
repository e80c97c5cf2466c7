// Space::load_prefix: the longest prefix of a chain, wherever it lies, into the engine's memory.
// What is in host memory is leased, then copied while the rest is being read; what was read is
// copied while more is read. Any thread. Sends nothing when all is in host memory.
#include <algorithm>

#include "client/load_targets.hpp"
#include "client/prefetch_impl.hpp"
#include "client/tiers.hpp"

namespace kvtier {

using wire::Found;

namespace {

// Read in parts, so that the copy of one overlaps the reading of the next.
constexpr uint64_t kPartBytes = 8 * wire::MiB;
constexpr auto kPrefixTimeMax = std::chrono::seconds(60);

// Consecutive targets in host memory, leased.
struct Run {
  size_t begin;
  Match match;
};

class PrefixLoader {
 public:
  PrefixLoader(const Space& space, const KeyChain& chain, std::span<const LoadTarget> targets,
               Clock::time_point deadline)
      : space_(space),
        chain_(chain),
        targets_(targets),
        deadline_(deadline),
        reach_(targets.size()) {}

  // Leases [begin, end); what could not be leased ends the prefix.
  Status lease(size_t begin, size_t end);
  // Copies all that is leased, and lets it go.
  Status copy();
  void cut(size_t reach, MissReason why) {
    if (reach >= reach_) return;
    reach_ = reach;
    ended_ = why;
  }
  size_t reach() const { return reach_; }
  PrefixLoad result() const;

 private:
  const Space& space_;
  const KeyChain& chain_;
  const std::span<const LoadTarget> targets_;
  const Clock::time_point deadline_;
  size_t reach_;  // targets from it on are not to be had
  MissReason ended_ = MissReason::kNone;
  std::vector<Run> runs_;
  std::vector<LoadTarget> moved_;
};

Status PrefixLoader::lease(size_t begin, size_t end) {
  if (begin >= std::min(end, reach_)) return {};
  MatchOptions options;
  options.first = targets_[0].chunk + begin;
  options.chunks_max = end - begin;
  options.touch = false;
  auto match = space_.match(chain_, options);
  if (!match) return match.error();
  if (match->chunks() < end - begin) cut(begin + match->chunks(), match->ended());
  if (match->chunks() > 0) runs_.push_back({begin, *std::move(match)});
  return {};
}

Status PrefixLoader::copy() {
  for (Run& run : runs_) {
    moved_.clear();
    for (size_t i = 0; i < run.match.chunks() && run.begin + i < reach_; ++i) {
      moved_.push_back({i, targets_[run.begin + i].fragments});
    }
    const auto loaded = space_.load(run.match, moved_, deadline_);
    if (!loaded) return loaded.error();
    if (loaded->chunks < moved_.size()) {
      cut(run.begin + loaded->chunks,
          client::passed(deadline_) ? MissReason::kDeadline : MissReason::kLeasedOut);
    }
    run.match.release();
  }
  runs_.clear();
  return {};
}

PrefixLoad PrefixLoader::result() const {
  PrefixLoad result;
  result.chunks = reach_;
  result.ended = ended_;
  for (const LoadTarget& target : targets_.first(reach_)) {
    for (const Fragment& fragment : target.fragments) result.bytes += fragment.bytes;
  }
  return result;
}

// Which of the keys lie only in a lower tier that serves, up to the first that is nowhere.
std::vector<bool> find_lower(const Space::Impl::Opened& opened, std::span<const ChunkKey> keys) {
  std::vector<bool> lower;
  wire::visit_prefix(opened.attachment->view, keys, opened.space->id,
                     [&](const wire::FoundChunk& chunk) {
                       bool serves = chunk.found == Found::kLower;
                       if (serves) {
                         client::lower_tier(opened.attachment->view, chunk.lower, &serves);
                       }
                       if (serves || chunk.found == Found::kHost) lower.push_back(serves);
                     });
  return lower;
}

}  // namespace

Result<PrefixLoad> Space::load_prefix(const KeyChain& chain, std::span<const LoadTarget> targets,
                                      Clock::time_point deadline) const {
  if (impl_->core->forked()) return client::forked_error();
  if (!impl_->fits(chain)) return Impl::wrong_chain();
  if (Status due = client::consecutive(chain, targets); !due) return due.error();
  return client::guarded<PrefixLoad>([&]() -> Result<PrefixLoad> {
    if (targets.empty()) return PrefixLoad();
    const Clock::time_point began = Clock::now();
    PrefixLoader loader(*this, chain, targets, deadline);
    Prefetch ahead;
    std::vector<bool> lower;
    if (Impl::Opened opened = impl_->open(); opened && Impl::current(chain, *opened.attachment)) {
      const auto keys = chain.keys().subspan(targets[0].chunk, targets.size());
      lower = find_lower(opened, keys);
      if (std::find(lower.begin(), lower.end(), true) != lower.end()) {
        ahead.impl_ = std::make_unique<Prefetch::Impl>(impl_->core->guard(), std::move(opened));
        ahead.impl_->keys.assign(keys.begin(), keys.begin() + static_cast<ptrdiff_t>(lower.size()));
        ahead.impl_->deadline = std::min(deadline, client::after(kPrefixTimeMax));
      }
    }
    size_t from_lower = 0;
    if (ahead.impl_ == nullptr) {
      if (Status status = loader.lease(0, targets.size()); !status) return status.error();
      if (Status status = loader.copy(); !status) return status.error();
    } else {
      // Leased before slots are taken for the rest: what is here must not make room for it.
      for (size_t begin = 0; begin < lower.size();) {
        size_t end = begin;
        while (end < lower.size() && !lower[end]) ++end;
        if (Status status = loader.lease(begin, end); !status) return status.error();
        while (end < lower.size() && lower[end]) ++end;
        begin = end;
      }
      Prefetch::Impl& reads = *ahead.impl_;
      reads.plan(kPartBytes / impl_->record->spec.chunk_bytes, lower);
      reads.ask_all();
      if (Status status = loader.copy(); !status) return status.error();
      for (Prefetch::Impl::Part& part : reads.parts) {
        if (part.first >= loader.reach()) break;
        if (!reads.finish(&part, reads.deadline)) loader.cut(part.first, MissReason::kDeadline);
        reads.ask_all();
        if (Status status = loader.lease(part.first, part.first + part.count); !status) {
          return status.error();
        }
        if (Status status = loader.copy(); !status) return status.error();
        from_lower += part.count;
      }
      // What is behind was asked for, too, and is counted as the miss that it is.
      if (Status status = loader.lease(lower.size(), targets.size()); !status) {
        return status.error();
      }
      if (Status status = loader.copy(); !status) return status.error();
    }
    PrefixLoad result = loader.result();
    result.chunks_lower = std::min(from_lower, result.chunks);
    if (result.chunks > 0) touch(chain, targets[0].chunk + result.chunks);
    result.seconds = std::chrono::duration<double>(Clock::now() - began).count();
    return result;
  });
}

}  // namespace kvtier
