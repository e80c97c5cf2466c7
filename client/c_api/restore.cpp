// The C side of restores: names and structures only.
#include <new>
#include <vector>

#include "client/c_api/support.hpp"

struct kvtier_restoring {
  std::shared_ptr<kvtier::Space> space;  // what it works with stays
  kvtier::Restore restore;
};

using namespace kvtier::c_api;

int32_t kvtier_restore_begin(const kvtier_space* space, const kvtier_chain* chain,
                             const kvtier_load_target* targets, size_t target_count,
                             int64_t timeout_ns, kvtier_restoring** restore, kvtier_error* error) {
  if (space == nullptr || chain == nullptr || restore == nullptr ||
      (targets == nullptr && target_count != 0)) {
    return invalid("space, chain, targets or restore is NULL", error);
  }
  *restore = nullptr;
  return guard(error, [&]() -> int32_t {
    std::vector<kvtier::LoadTarget> list;
    list.reserve(target_count);
    for (size_t i = 0; i < target_count; ++i) {
      const auto* fragments = reinterpret_cast<const kvtier::Fragment*>(targets[i].fragments);
      list.push_back({targets[i].chunk, {fragments, targets[i].fragment_count}});
    }
    auto begun = space->space->restore(chain->chain, list, deadline(timeout_ns));
    if (!begun) return fail(begun.error(), error);
    *restore = new kvtier_restoring{space->space, *std::move(begun)};
    return KVTIER_OK;
  });
}

int32_t kvtier_restore_load_next(kvtier_restoring* restore) {
  return restore != nullptr && restore->restore.load_next() ? 1 : 0;
}
int32_t kvtier_restore_take_head(kvtier_restoring* restore) {
  return restore != nullptr && restore->restore.take_head() ? 1 : 0;
}
int32_t kvtier_restore_met(kvtier_restoring* restore) {
  return restore == nullptr || restore->restore.met() ? 1 : 0;
}
void kvtier_restore_cancel(kvtier_restoring* restore) {
  if (restore != nullptr) restore->restore.cancel();
}

int32_t kvtier_restore_get_result(const kvtier_restoring* restore, kvtier_restore_result* result) {
  if (restore == nullptr) return KVTIER_INVALID_ARGUMENT;
  const kvtier::RestoreResult came = restore->restore.result();
  kvtier_restore_result made = {};
  made.computed = came.computed;
  made.loaded = came.loaded;
  made.bytes = came.bytes;
  made.ended = static_cast<uint32_t>(came.ended);
  return write_sized(made, result) ? KVTIER_OK : KVTIER_INVALID_ARGUMENT;
}

void kvtier_restore_end(kvtier_restoring* restore) {
  delete restore;
}
