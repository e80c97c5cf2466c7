// Space::lookup: what is there. No lease, no message.
#include <algorithm>

#include "client/match_impl.hpp"
#include "client/space_impl.hpp"
#include "client/tiers.hpp"

namespace kvtier {
namespace {

using wire::Found;

// Adds one reading; the one that ends the prefix gives the reason.
void add_chunk(const wire::PublishedView& view, const wire::FoundChunk& chunk, Lookup* result) {
  if (result->ended != MissReason::kNone) return;  // behind a chunk whose tier is out of service
  if (chunk.found != Found::kHost && chunk.found != Found::kLower) {
    result->ended = chunk.found == Found::kUnstable ? MissReason::kLeasedOut : MissReason::kAbsent;
    return;
  }
  Tier tier = Tier::kHost;
  if (chunk.found == Found::kLower) {
    bool serves = true;
    tier = client::lower_tier(view, chunk.lower, &serves);
    if (!serves) {
      result->ended = MissReason::kAbsent;
      return;
    }
  }
  ++result->chunks_by_tier[static_cast<size_t>(tier)];
  ++result->chunks;
}

}  // namespace

Lookup Space::lookup(const KeyChain& chain, size_t first) const {
  Lookup result;
  result.ended = MissReason::kUnavailable;
  if (impl_->core->forked()) return result;
  const Impl::Opened opened = impl_->open();
  impl_->core->count(opened.attachment, wire::Counter::kLookups);
  if (!opened || !Impl::current(chain, *opened.attachment)) return result;
  result.ended = impl_->fits(chain) ? MissReason::kNone : MissReason::kMismatch;
  if (result.ended != MissReason::kNone) return result;
  const std::span<const ChunkKey> keys = chain.keys();
  const wire::PublishedView& view = opened.attachment->view;
  wire::visit_prefix(view, keys.subspan(std::min(first, keys.size())), opened.space->id,
                     [&](const wire::FoundChunk& chunk) { add_chunk(view, chunk, &result); });
  return result;
}

}  // namespace kvtier
