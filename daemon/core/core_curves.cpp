// Miss-ratio curves: what the core tells them, and what it shows of them. A key is one chunk,
// however many shards hold it: only the first shard is told of. Core thread.
#include "daemon/core/core.hpp"

namespace kvtier::daemon {

// A chunk was used: found in host memory, or computed and stored.
void Core::tell_curve(Tenant& tenant, const SlotRecord& record, bool was_resident) {
  const Space* space = find_space(tenant, record.space);
  if (space == nullptr || space->spec.shard != 0) return;
  const uint64_t now = clock_.now_ns();
  const PrefillCost::Fit cost = space->prefill.fit(now);
  const double tokens = space->spec.tokens_per_chunk;
  const double context = tokens * record.position;
  // Of a call nothing: the prompt's last tokens are computed in any case.
  const double seconds = tokens * (cost.a + cost.b * (context + tokens / 2));
  tenant.curve.used(now, {.key = record.key,
                          .position = record.position,
                          .was_resident = was_resident,
                          .worth = {tokens, seconds}});
}

std::vector<CurveSnapshot> Core::curves() {
  std::vector<CurveSnapshot> all;
  for (const std::unique_ptr<Tenant>& tenant : tenants_) {
    drain_all_touches(*tenant);
    CurveSnapshot one;
    one.tenant = tenant->name;
    // Shards lie side by side, and each has a slot of its own.
    uint64_t shards = 1;
    for (const std::unique_ptr<Space>& space : tenant->spaces) {
      if (space->chunks > 0) shards = std::max<uint64_t>(shards, space->spec.shards);
    }
    one.host_chunks = tenant->chunks / shards;
    one.host_bytes = tenant->used_bytes;
    one.lower_chunks = tenant->lower_chunks / shards;
    one.lower_bytes = tenant->lower_bytes;
    one.tracked_bytes = tenant->curve.bytes();
    one.sample_shift = tenant->curve.sample_shift();
    one.hot_keys = tenant->curve.hot_keys();
    for (size_t window = 0; window < CurveWindows::kWindows; ++window) {
      one.windows[window] = tenant->curve.read(window, clock_.now_ns());
    }
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace kvtier::daemon
