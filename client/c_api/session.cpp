// The C ABI: library, sessions, spaces, keys.
#include "client/c_api/support.hpp"
#include "kernels/checksum.hpp"

using namespace kvtier::c_api;
using kvtier::Code;
using kvtier::Status;

const char* kvtier_version(void) {
  return kvtier::version();
}
uint32_t kvtier_protocol_version_min(void) {
  return kvtier::protocol_version_min();
}
uint32_t kvtier_protocol_version_max(void) {
  return kvtier::protocol_version_max();
}
const char* kvtier_code_name(int32_t code) {
  return kvtier::code_name(static_cast<Code>(code));
}
const char* kvtier_miss_reason_name(uint32_t reason) {
  if (reason > UINT8_MAX) return "unknown";
  return kvtier::miss_reason_name(static_cast<kvtier::MissReason>(reason));
}
const char* kvtier_store_outcome_name(uint32_t outcome) {
  if (outcome > UINT8_MAX) return "unknown";
  return kvtier::store_outcome_name(static_cast<kvtier::StoreOutcome>(outcome));
}

size_t kvtier_default_socket_path(char* path, size_t bytes) {
  size_t length = 0;
  (void)guard(nullptr, [&] {
    const std::string found = kvtier::default_socket_path();
    length = found.size();
    if (path != nullptr && bytes > 0) std::snprintf(path, bytes, "%s", found.c_str());
    return KVTIER_OK;
  });
  return length;
}

uint64_t kvtier_checksum(const void* payload, size_t bytes) {
  return kvtier::kernels::hash_only(static_cast<const std::byte*>(payload), bytes);
}

int32_t kvtier_session_open(const kvtier_session_options* options, kvtier_session** session,
                            kvtier_error* error) {
  if (session == nullptr) return invalid("session is NULL", error);
  return guard(error, [&]() -> int32_t {
    kvtier_session_options given;
    if (Status status = read_sized(options, &given); !status) return fail(status.error(), error);
    kvtier::SessionOptions filled;
    filled.socket = text(given.socket, "");
    filled.name = text(given.name, "");
    filled.read_only = given.read_only != 0;
    if (given.verify > KVTIER_VERIFY_ALWAYS) return invalid("verify mode is not known", error);
    filled.verify = static_cast<kvtier::Verify>(given.verify);
    using std::chrono::nanoseconds;
    if (given.call_deadline_ns != 0) filled.call_deadline = nanoseconds(given.call_deadline_ns);
    if (given.retry_first_ns != 0) filled.retry_first = nanoseconds(given.retry_first_ns);
    if (given.retry_last_ns != 0) filled.retry_last = nanoseconds(given.retry_last_ns);
    auto handle = std::make_unique<kvtier_session>();
    auto opened = kvtier::Session::open(filled);
    if (!opened) return fail(opened.error(), error);
    handle->session = *std::move(opened);
    *session = handle.release();
    return KVTIER_OK;
  });
}

void kvtier_session_close(kvtier_session* session) {
  delete session;
}

int32_t kvtier_session_wait(const kvtier_session* session, int64_t timeout_ns,
                            kvtier_error* error) {
  if (session == nullptr) return invalid("session is NULL", error);
  return guard(error,
               [&] { return end(session->session->wait_attached(deadline(timeout_ns)), error); });
}

int32_t kvtier_session_get_info(const kvtier_session* session, kvtier_session_info* info) {
  if (session == nullptr) return KVTIER_INVALID_ARGUMENT;
  const kvtier::Status state = session->session->wait_attached(kvtier::Clock::time_point::min());
  if (state.code() == Code::kForked) return KVTIER_FORKED;
  kvtier_session_info made = {};
  made.epoch = session->session->epoch();
  made.id = made.epoch == 0 ? 0 : session->session->id();
  made.attached = made.epoch != 0;
  return write_sized(made, info) ? KVTIER_OK : KVTIER_INVALID_ARGUMENT;
}

int32_t kvtier_session_get_stats(const kvtier_session* session, kvtier_session_stats* stats) {
  if (session == nullptr) return KVTIER_INVALID_ARGUMENT;
  const kvtier::Status state = session->session->wait_attached(kvtier::Clock::time_point::min());
  if (state.code() == Code::kForked) return KVTIER_FORKED;
  const kvtier::SessionStats found = session->session->stats();
  kvtier_session_stats made = {};
  made.attachments = found.attachments;
  made.lookups = found.lookups;
  made.chunks_asked = found.chunks_asked;
  made.chunks_hit = found.chunks_hit;
  made.tokens_asked = found.tokens_asked;
  made.tokens_hit = found.tokens_hit;
  std::copy(std::begin(found.misses), std::end(found.misses), made.misses);
  made.loads = found.loads;
  made.load_bytes = found.load_bytes;
  made.loads_failed = found.loads_failed;
  made.corrupt = found.corrupt;
  made.stores = found.stores;
  made.store_bytes = found.store_bytes;
  made.stores_failed = found.stores_failed;
  made.touches_dropped = found.touches_dropped;
  return write_sized(made, stats) ? KVTIER_OK : KVTIER_INVALID_ARGUMENT;
}

int32_t kvtier_space_open(kvtier_session* session, const kvtier_space_spec* spec,
                          kvtier_space** space, kvtier_error* error) {
  if (session == nullptr || spec == nullptr || space == nullptr) {
    return invalid("session, spec or space is NULL", error);
  }
  return guard(error, [&]() -> int32_t {
    kvtier_space_spec given;
    if (Status status = read_sized(spec, &given); !status) return fail(status.error(), error);
    kvtier::SpaceSpec filled;
    filled.model = text(given.model, "");
    filled.dtype = text(given.dtype, "bf16");
    filled.layout = text(given.layout, "");
    filled.isa = text(given.isa, "");
    filled.layers = given.layers;
    filled.kv_heads = given.kv_heads;
    filled.head_dim = given.head_dim;
    filled.tokens_per_chunk = given.tokens_per_chunk;
    filled.shard = given.shard;
    filled.shards = given.shards == 0 ? 1 : given.shards;
    filled.chunk_bytes = given.chunk_bytes;
    filled.kind =
        given.typed != 0 ? kvtier::wire::PayloadKind::kTyped : kvtier::wire::PayloadKind::kOpaque;
    auto handle = std::make_unique<kvtier_space>();
    auto opened = session->session->open_space(filled);
    if (!opened) return fail(opened.error(), error);
    handle->space = *std::move(opened);
    *space = handle.release();
    return KVTIER_OK;
  });
}

void kvtier_space_close(kvtier_space* space) {
  delete space;
}

int32_t kvtier_chain_derive(const kvtier_space* space, const uint32_t* tokens, size_t token_count,
                            const kvtier_extra_id* extras, size_t extra_count, kvtier_chain** chain,
                            kvtier_error* error) {
  if (space == nullptr || chain == nullptr || (tokens == nullptr && token_count != 0) ||
      (extras == nullptr && extra_count != 0)) {
    return invalid("space, chain or an array is NULL", error);
  }
  return guard(error, [&]() -> int32_t {
    std::vector<kvtier::ExtraId> ids;
    ids.reserve(extra_count);
    for (size_t i = 0; i < extra_count; ++i) ids.push_back({extras[i].chunk, extras[i].id});
    auto handle = std::make_unique<kvtier_chain>();
    auto derived = space->space->derive({.tokens = {tokens, token_count}, .extras = ids});
    if (!derived) return fail(derived.error(), error);
    handle->chain = *std::move(derived);
    *chain = handle.release();
    return KVTIER_OK;
  });
}

int32_t kvtier_chain_fold(const kvtier_space* space, const uint8_t* hashes, size_t hash_count,
                          const uint32_t* tokens, size_t token_count, kvtier_chain** chain,
                          kvtier_error* error) {
  if (space == nullptr || chain == nullptr || (hashes == nullptr && hash_count != 0) ||
      (tokens == nullptr && token_count != 0)) {
    return invalid("space, chain or an array is NULL", error);
  }
  return guard(error, [&]() -> int32_t {
    std::vector<std::array<uint8_t, 32>> copied(hash_count);
    if (hash_count != 0) std::memcpy(copied.data(), hashes, hash_count * sizeof copied[0]);
    auto handle = std::make_unique<kvtier_chain>();
    auto folded = space->space->fold(copied, {tokens, token_count});
    if (!folded) return fail(folded.error(), error);
    handle->chain = *std::move(folded);
    *chain = handle.release();
    return KVTIER_OK;
  });
}

size_t kvtier_chain_size(const kvtier_chain* chain) {
  return chain == nullptr ? 0 : chain->chain.size();
}

int32_t kvtier_chain_get_keys(const kvtier_chain* chain, size_t first, size_t count,
                              kvtier_key* keys) {
  const size_t size = kvtier_chain_size(chain);
  if (first > size || count > size - first) return KVTIER_INVALID_ARGUMENT;
  if (count != 0 && keys == nullptr) return KVTIER_INVALID_ARGUMENT;
  for (size_t i = 0; i < count; ++i) {
    const kvtier::ChunkKey key = chain->chain.keys()[first + i];
    keys[i] = {key.lo, key.hi};
  }
  return KVTIER_OK;
}

void kvtier_chain_free(kvtier_chain* chain) {
  delete chain;
}
