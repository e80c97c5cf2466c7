// The C ABI: look-up, match, load, store, and what a session tells the daemon.
#include "client/c_api/support.hpp"

using namespace kvtier::c_api;
using kvtier::Code;
using kvtier::Status;

// Pointers to one are read as pointers to the other.
static_assert(sizeof(kvtier_fragment) == sizeof(kvtier::Fragment));
static_assert(sizeof(kvtier_const_fragment) == sizeof(kvtier::ConstFragment));
static_assert(offsetof(kvtier_fragment, bytes) == offsetof(kvtier::Fragment, bytes));
static_assert(offsetof(kvtier_const_fragment, bytes) == offsetof(kvtier::ConstFragment, bytes));

int32_t kvtier_lookup(const kvtier_space* space, const kvtier_chain* chain, size_t first,
                      kvtier_lookup_result* result) {
  if (space == nullptr || chain == nullptr) return KVTIER_INVALID_ARGUMENT;
  const kvtier::Lookup found = space->space->lookup(chain->chain, first);
  kvtier_lookup_result made = {};
  made.chunks = found.chunks;
  std::copy(std::begin(found.chunks_by_tier), std::end(found.chunks_by_tier), made.chunks_by_tier);
  made.ended = static_cast<uint32_t>(found.ended);
  return write_sized(made, result) ? KVTIER_OK : KVTIER_INVALID_ARGUMENT;
}

int32_t kvtier_match_take(const kvtier_space* space, const kvtier_chain* chain,
                          const kvtier_match_options* options, kvtier_match** match,
                          kvtier_error* error) {
  if (space == nullptr || chain == nullptr || match == nullptr) {
    return invalid("space, chain or match is NULL", error);
  }
  return guard(error, [&]() -> int32_t {
    kvtier_match_options given;
    if (Status status = read_sized(options, &given); !status) return fail(status.error(), error);
    kvtier::MatchOptions filled;
    filled.first = given.first;
    if (given.chunks_max != 0) filled.chunks_max = given.chunks_max;
    filled.all_shards = given.one_shard == 0;
    filled.touch = given.without_touch == 0;
    auto handle = std::make_unique<kvtier_match>();
    auto made = space->space->match(chain->chain, filled);
    if (!made) return fail(made.error(), error);
    handle->match = *std::move(made);
    *match = handle.release();
    return KVTIER_OK;
  });
}

int32_t kvtier_match_get_info(const kvtier_match* match, kvtier_match_info* info) {
  if (match == nullptr) return KVTIER_INVALID_ARGUMENT;
  kvtier_match_info made = {};
  made.chunks = match->match.chunks();
  made.tokens = match->match.tokens();
  made.chunks_lower = match->match.chunks_lower();
  made.ended = static_cast<uint32_t>(match->match.ended());
  return write_sized(made, info) ? KVTIER_OK : KVTIER_INVALID_ARGUMENT;
}

int32_t kvtier_match_payload(const kvtier_match* match, size_t i, const void** payload,
                             size_t* bytes) {
  if (match == nullptr || payload == nullptr || bytes == nullptr) return KVTIER_INVALID_ARGUMENT;
  if (i >= match->match.chunks()) return KVTIER_INVALID_ARGUMENT;
  const auto found = match->match.payload(i);
  if (found.data() == nullptr) {  // stored in a codec, if not in a forked process
    return match->match.check().code() == kvtier::Code::kForked ? KVTIER_FORKED
                                                                : KVTIER_UNSUPPORTED;
  }
  *payload = found.data();
  *bytes = found.size();
  return KVTIER_OK;
}

int32_t kvtier_match_check(const kvtier_match* match, kvtier_error* error) {
  if (match == nullptr) return invalid("match is NULL", error);
  return end(match->match.check(), error);
}

void kvtier_match_free(kvtier_match* match) {
  delete match;
}

int32_t kvtier_load(const kvtier_space* space, const kvtier_match* match,
                    const kvtier_load_target* targets, size_t target_count, int64_t timeout_ns,
                    kvtier_load_result* result, kvtier_error* error) {
  if (space == nullptr || match == nullptr || (targets == nullptr && target_count != 0)) {
    return invalid("space, match or targets is NULL", error);
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
    const auto loaded = space->space->load(match->match, list, deadline(timeout_ns));
    if (!loaded) return fail(loaded.error(), error);
    kvtier_load_result made = {};
    made.chunks = loaded->chunks;
    made.bytes = loaded->bytes;
    made.seconds = loaded->seconds;
    write_sized(made, result);
    return KVTIER_OK;
  });
}

int32_t kvtier_reserve(const kvtier_space* space, const kvtier_chain* chain, const size_t* chunks,
                       size_t chunk_count, int64_t timeout_ns, kvtier_reservation* reservations,
                       kvtier_error* error) {
  if (space == nullptr || chain == nullptr ||
      ((chunks == nullptr || reservations == nullptr) && chunk_count != 0)) {
    return invalid("space, chain or an array is NULL", error);
  }
  return guard(error, [&]() -> int32_t {
    std::vector<std::unique_ptr<kvtier_grant>> handles(chunk_count);
    for (auto& handle : handles) handle = std::make_unique<kvtier_grant>();
    auto made = space->space->reserve(chain->chain, {chunks, chunk_count}, deadline(timeout_ns));
    if (!made) return fail(made.error(), error);
    for (size_t i = 0; i < chunk_count; ++i) {
      kvtier::Reservation& one = (*made)[i];
      reservations[i] = {};
      reservations[i].outcome = static_cast<uint32_t>(one.outcome);
      reservations[i].retry_after_us = static_cast<uint32_t>(one.retry_after.count());
      if (!one.grant.held()) continue;
      handles[i]->grant = std::move(one.grant);
      reservations[i].payload = handles[i]->grant.payload().data();
      reservations[i].payload_bytes = handles[i]->grant.payload().size();
      reservations[i].grant = handles[i].release();
    }
    return KVTIER_OK;
  });
}

int32_t kvtier_commit(const kvtier_space* space, kvtier_grant* const* grants, size_t grant_count,
                      const uint64_t* checksums, int64_t timeout_ns, uint32_t* outcomes,
                      kvtier_error* error) {
  if (space == nullptr || ((grants == nullptr || outcomes == nullptr) && grant_count != 0)) {
    return invalid("space or an array is NULL", error);
  }
  const int32_t code = guard(error, [&]() -> int32_t {
    std::vector<kvtier::Grant> list(grant_count);
    for (size_t i = 0; i < grant_count; ++i) {
      if (grants[i] == nullptr) return invalid("a grant is NULL", error);
      list[i] = std::move(grants[i]->grant);
    }
    std::span<const uint64_t> sums;
    if (checksums != nullptr) sums = {checksums, grant_count};
    const auto committed = space->space->commit(list, sums, deadline(timeout_ns));
    if (!committed) return fail(committed.error(), error);
    for (size_t i = 0; i < grant_count; ++i) {
      outcomes[i] = static_cast<uint32_t>((*committed)[i]);
    }
    return KVTIER_OK;
  });
  for (size_t i = 0; i < grant_count; ++i) delete grants[i];
  return code;
}

void kvtier_grant_abort(kvtier_grant* grant) {
  delete grant;
}

int32_t kvtier_store(const kvtier_space* space, const kvtier_chain* chain,
                     const kvtier_store_source* sources, size_t source_count, int64_t timeout_ns,
                     uint32_t* outcomes, kvtier_error* error) {
  return kvtier_store_encoded(space, chain, sources, source_count, KVTIER_ENCODING_OF_SPACE,
                              timeout_ns, outcomes, error);
}

int32_t kvtier_store_encoded(const kvtier_space* space, const kvtier_chain* chain,
                             const kvtier_store_source* sources, size_t source_count,
                             uint32_t encoding, int64_t timeout_ns, uint32_t* outcomes,
                             kvtier_error* error) {
  if (space == nullptr || chain == nullptr ||
      ((sources == nullptr || outcomes == nullptr) && source_count != 0)) {
    return invalid("space, chain or an array is NULL", error);
  }
  return guard(error, [&]() -> int32_t {
    std::vector<kvtier::StoreSource> list;
    list.reserve(source_count);
    for (size_t i = 0; i < source_count; ++i) {
      const auto* fragments = reinterpret_cast<const kvtier::ConstFragment*>(sources[i].fragments);
      list.push_back({sources[i].chunk, {fragments, sources[i].fragment_count}});
    }
    const auto stored = space->space->store(chain->chain, list, deadline(timeout_ns),
                                            {static_cast<kvtier::Encoding>(encoding)});
    if (!stored) return fail(stored.error(), error);
    for (size_t i = 0; i < source_count; ++i) outcomes[i] = static_cast<uint32_t>((*stored)[i]);
    return KVTIER_OK;
  });
}

void kvtier_touch(const kvtier_space* space, const kvtier_chain* chain, size_t chunks) {
  if (space != nullptr && chain != nullptr) space->space->touch(chain->chain, chunks);
}

int32_t kvtier_flush_touches(const kvtier_space* space, int64_t timeout_ns, kvtier_error* error) {
  if (space == nullptr) return invalid("space is NULL", error);
  return end(space->space->flush_touches(deadline(timeout_ns)), error);
}

int32_t kvtier_prefetch(const kvtier_space* space, const kvtier_chain* chain, size_t first,
                        size_t count, int64_t timeout_ns, size_t* resident, kvtier_error* error) {
  if (space == nullptr || chain == nullptr || resident == nullptr) {
    return invalid("space, chain or resident is NULL", error);
  }
  const auto fetched = space->space->prefetch(chain->chain, first, count, deadline(timeout_ns));
  if (!fetched) return fail(fetched.error(), error);
  *resident = *fetched;
  return KVTIER_OK;
}

int32_t kvtier_hint(const kvtier_space* space, const kvtier_chain* chain, size_t first,
                    size_t count, uint32_t hint, double value, kvtier_error* error) {
  if (space == nullptr || chain == nullptr) return invalid("space or chain is NULL", error);
  if (hint > KVTIER_HINT_CLASS) return invalid("hint is not known", error);
  return end(space->space->hint(chain->chain, first, count, static_cast<kvtier::Hint>(hint), value),
             error);
}
