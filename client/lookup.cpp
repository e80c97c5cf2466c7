// Space::lookup and Space::plan: what is there, and whether to load it. No lease, no message.
#include <algorithm>

#include "client/match_impl.hpp"
#include "client/space_impl.hpp"
#include "client/tiers.hpp"
#include "kvtier/wire/plan.hpp"

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

Plan Space::plan(const Lookup& lookup, size_t first) const {
  Plan plan;
  if (impl_->core->forked()) return plan;
  const Impl::Opened opened = impl_->open();
  if (!opened) return plan;
  wire::PlanInput input;
  if (!wire::read_board(*opened.attachment->view.board, opened.space->number, &input.costs)) {
    input.costs = {};
  }
  input.tokens_per_chunk = impl_->record->spec.tokens_per_chunk;
  input.chunk_bytes = impl_->record->spec.chunk_bytes;
  input.first = first;
  for (uint32_t i = 0; i < wire::kTierCount; ++i) {
    input.chunks_by_tier[i] = lookup.chunks_by_tier[i];
  }
  const wire::PlanOutput output = wire::plan_load(input);
  plan.load_chunks = output.load_chunks;
  plan.load_seconds = output.load_seconds;
  plan.recompute_seconds = output.recompute_seconds;
  plan.load_deadline = std::chrono::nanoseconds(
      static_cast<int64_t>(std::min(output.deadline_seconds, 3600.0) * 1e9));
  opened.attachment->count(
      plan.load_chunks > 0 ? wire::Counter::kPlansLoad : wire::Counter::kPlansRecompute, 1);
  return plan;
}

}  // namespace kvtier
