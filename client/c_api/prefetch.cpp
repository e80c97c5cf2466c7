// The C side of prefetches and of loading a prefix from wherever it lies: names and structures
// only.
#include <new>

#include "client/c_api/support.hpp"

using namespace kvtier::c_api;

int32_t kvtier_prefetch_begin(const kvtier_space* space, const kvtier_chain* chain, size_t first,
                              size_t count, int64_t timeout_ns, kvtier_prefetching** prefetch,
                              kvtier_error* error) {
  if (space == nullptr || chain == nullptr || prefetch == nullptr) {
    return invalid("space, chain or prefetch is NULL", error);
  }
  *prefetch = nullptr;
  auto begun = space->space->prefetch_begin(chain->chain, first, count, deadline(timeout_ns));
  if (!begun) return fail(begun.error(), error);
  *prefetch = new (std::nothrow) kvtier_prefetching{*std::move(begun)};
  if (*prefetch != nullptr) return KVTIER_OK;
  return fail({kvtier::Code::kOutOfMemory, "no memory for a prefetch"}, error);
}

int32_t kvtier_prefetch_wait(kvtier_prefetching* prefetch, int64_t timeout_ns, size_t* resident,
                             kvtier_error* error) {
  if (prefetch == nullptr || resident == nullptr) {
    return invalid("prefetch or resident is NULL", error);
  }
  const auto brought = prefetch->prefetch.wait(deadline(timeout_ns));
  if (!brought) return fail(brought.error(), error);
  *resident = *brought;
  return KVTIER_OK;
}

void kvtier_prefetch_end(kvtier_prefetching* prefetch, int32_t keep) {
  if (prefetch == nullptr) return;
  if (keep != 0) prefetch->prefetch.keep();
  delete prefetch;
}

int32_t kvtier_load_prefix(const kvtier_space* space, const kvtier_chain* chain,
                           const kvtier_load_target* targets, size_t target_count,
                           int64_t timeout_ns, kvtier_prefix_load_result* result,
                           kvtier_error* error) {
  if (space == nullptr || chain == nullptr || (targets == nullptr && target_count != 0)) {
    return invalid("space, chain or targets is NULL", error);
  }
  if (result == nullptr || result->size < sizeof(size_t)) {
    return invalid("result is NULL or its size is not set", error);
  }
  return guard(error, [&]() -> int32_t {
    std::vector<kvtier::LoadTarget> list;
    list.reserve(target_count);
    for (size_t i = 0; i < target_count; ++i) {
      const auto* fragments = reinterpret_cast<const kvtier::Fragment*>(targets[i].fragments);
      list.push_back({targets[i].chunk, {fragments, targets[i].fragment_count}});
    }
    const auto loaded = space->space->load_prefix(chain->chain, list, deadline(timeout_ns));
    if (!loaded) return fail(loaded.error(), error);
    kvtier_prefix_load_result made = {};
    made.chunks = loaded->chunks;
    made.chunks_lower = loaded->chunks_lower;
    made.bytes = loaded->bytes;
    made.seconds = loaded->seconds;
    made.ended = static_cast<uint32_t>(loaded->ended);
    write_sized(made, result);
    return KVTIER_OK;
  });
}
