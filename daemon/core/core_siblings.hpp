// The other shards of a chunk, for the files of the core that move them together. Core thread.
#pragma once

#include "daemon/core/core.hpp"

namespace kvtier::daemon {

// Visits the host slots of the other shards of the slot's chunk.
template <typename Visit>
void Core::each_sibling(Tenant& tenant, SlotId slot, Visit&& visit) {
  const SlotRecord& record = host_->slots()[slot];
  each_sibling_entry(tenant, record.key, record.space, [&](uint32_t entry) {
    const wire::Place place = tenant.index->host_place(entry);
    if (!place.empty()) visit(host_->slot_at(tenant.number, place));
  });
}

// Visits the index entries of the other shards of a key, wherever the chunks lie.
template <typename Visit>
void Core::each_sibling_entry(Tenant& tenant, ChunkKey key, uint32_t space_id, Visit&& visit) {
  const Space* space = find_space(tenant, space_id);
  if (space == nullptr) return;
  for (const uint32_t sibling : space->siblings) {
    const uint32_t entry = tenant.index->find(key, sibling);
    if (entry != kNoEntry) visit(entry);
  }
}

}  // namespace kvtier::daemon
