/* The C ABI from C11: every function once, with and without a daemon, and what is refused. */
#define _POSIX_C_SOURCE 200809L
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvtier/kvtier.h"

void* c_api_daemon_start(const char* socket);
void c_api_daemon_stop(void* daemon);

#define CHUNKS 5
#define TOKENS 16
#define BYTES 10000
#define SECOND 1000000000LL

static kvtier_error error;

#define EXPECT(holds)                                                                 \
  do {                                                                                \
    if (!(holds)) {                                                                   \
      fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #holds, error.message); \
      exit(1);                                                                        \
    }                                                                                 \
  } while (0)

static unsigned char payloads[CHUNKS][BYTES];
static uint32_t tokens[CHUNKS * TOKENS];

static void test_names(void) {
  EXPECT(strcmp(kvtier_version(), KVTIER_VERSION) == 0);
  EXPECT(kvtier_protocol_version_min() <= kvtier_protocol_version_max());
  EXPECT(strcmp(kvtier_code_name(KVTIER_REVOKED), "revoked") == 0);
  EXPECT(strcmp(kvtier_code_name(-5), "unknown") == 0);
  EXPECT(strcmp(kvtier_miss_reason_name(KVTIER_MISS_SHARD), "shard") == 0);
  EXPECT(strcmp(kvtier_miss_reason_name(300), "unknown") == 0);
  EXPECT(strcmp(kvtier_store_outcome_name(KVTIER_STORE_BUSY), "busy") == 0);
  char path[4];
  const size_t length = kvtier_default_socket_path(path, sizeof path);
  EXPECT(length > 4 && strlen(path) == 3);
  EXPECT(kvtier_default_socket_path(NULL, 0) == length);
}

static void test_refusals(void) {
  kvtier_session* session = NULL;
  kvtier_session_options options = {0};
  EXPECT(kvtier_session_open(&options, &session, &error) == KVTIER_INVALID_ARGUMENT);
  options.size = sizeof options;
  options.verify = 9;
  EXPECT(kvtier_session_open(&options, &session, NULL) == KVTIER_INVALID_ARGUMENT);
  EXPECT(kvtier_session_open(NULL, NULL, &error) == KVTIER_INVALID_ARGUMENT);
  /* A newer program with a field that this library does not know. */
  struct {
    kvtier_session_options known;
    uint64_t added;
  } newer = {{0}, 1};
  newer.known.size = sizeof newer;
  EXPECT(kvtier_session_open(&newer.known, &session, &error) == KVTIER_UNSUPPORTED);
  EXPECT(session == NULL);
  kvtier_session_close(NULL);
  kvtier_space_close(NULL);
  kvtier_chain_free(NULL);
  kvtier_match_free(NULL);
  kvtier_grant_abort(NULL);
  EXPECT(kvtier_chain_size(NULL) == 0);
  EXPECT(kvtier_match_check(NULL, &error) == KVTIER_INVALID_ARGUMENT);
}

static kvtier_session* open_session(const char* socket) {
  kvtier_session* session = NULL;
  kvtier_session_options options = {.size = sizeof options,
                                    .socket = socket,
                                    .name = "c",
                                    .verify = KVTIER_VERIFY_ALWAYS,
                                    .retry_first_ns = 1000000,
                                    .retry_last_ns = 4000000};
  EXPECT(kvtier_session_open(&options, &session, &error) == KVTIER_OK);
  return session;
}

static kvtier_space* open_space(kvtier_session* session) {
  kvtier_space* space = NULL;
  kvtier_space_spec spec = {
      .size = sizeof spec, .model = "c@1", .tokens_per_chunk = TOKENS, .chunk_bytes = BYTES};
  EXPECT(kvtier_space_open(session, &spec, &space, &error) == KVTIER_OK);
  kvtier_space* wrong = NULL;
  spec.chunk_bytes = 0;
  EXPECT(kvtier_space_open(session, &spec, &wrong, &error) == KVTIER_INVALID_ARGUMENT);
  EXPECT(wrong == NULL && strstr(error.message, "chunk_bytes") != NULL);
  return space;
}

static void test_absent_daemon(kvtier_session* session, kvtier_space* space) {
  EXPECT(kvtier_session_wait(session, SECOND / 100, &error) == KVTIER_UNAVAILABLE);
  kvtier_chain* chain = NULL;
  EXPECT(kvtier_chain_derive(space, tokens, CHUNKS * TOKENS, NULL, 0, &chain, &error) ==
         KVTIER_UNAVAILABLE);
  EXPECT(chain == NULL);
  EXPECT(kvtier_flush_touches(space, SECOND, &error) == KVTIER_UNAVAILABLE);
  EXPECT(kvtier_report_prefill(space, 1, 0, 1.0, &error) == KVTIER_UNAVAILABLE);
  kvtier_session_info info = {.size = sizeof info};
  EXPECT(kvtier_session_get_info(session, &info) == KVTIER_OK);
  EXPECT(info.attached == 0 && info.epoch == 0 && info.id == 0);
}

static void test_store(const kvtier_space* space, const kvtier_chain* chain) {
  /* Chunks 0 and 1 by hand, the rest with kvtier_store(). */
  const size_t numbers[2] = {1, 0};
  kvtier_reservation made[2];
  EXPECT(kvtier_reserve(space, chain, numbers, 2, SECOND, made, &error) == KVTIER_OK);
  kvtier_grant* grants[2];
  uint64_t checksums[2];
  uint32_t outcomes[CHUNKS];
  for (int i = 0; i < 2; ++i) {
    EXPECT(made[i].outcome == KVTIER_STORED && made[i].payload_bytes == BYTES);
    memcpy(made[i].payload, payloads[numbers[i]], BYTES);
    checksums[i] = kvtier_checksum(payloads[numbers[i]], BYTES);
    grants[i] = made[i].grant;
  }
  EXPECT(kvtier_commit(space, grants, 2, checksums, SECOND, outcomes, &error) == KVTIER_OK);
  EXPECT(outcomes[0] == KVTIER_STORED && outcomes[1] == KVTIER_STORED);
  kvtier_const_fragment fragments[CHUNKS];
  kvtier_store_source sources[CHUNKS];
  for (size_t i = 0; i < CHUNKS; ++i) {
    fragments[i] = (kvtier_const_fragment){payloads[i], BYTES};
    sources[i] = (kvtier_store_source){i, &fragments[i], 1};
  }
  EXPECT(kvtier_store(space, chain, sources, CHUNKS, SECOND, outcomes, &error) == KVTIER_OK);
  for (size_t i = 0; i < CHUNKS; ++i) {
    EXPECT(outcomes[i] == (i < 2 ? KVTIER_STORE_PRESENT : KVTIER_STORED));
  }
  /* The space is opaque. */
  EXPECT(kvtier_store_encoded(space, chain, sources, CHUNKS, KVTIER_ENCODING_INT8, SECOND, outcomes,
                              &error) == KVTIER_INVALID_ARGUMENT);
  EXPECT(strstr(error.message, "opaque") != NULL);
  EXPECT(kvtier_store_encoded(space, chain, sources, CHUNKS, KVTIER_ENCODING_LOSSLESS, SECOND,
                              outcomes, &error) == KVTIER_OK);
  EXPECT(outcomes[0] == KVTIER_STORE_PRESENT);
}

static void test_load(const kvtier_space* space, const kvtier_chain* chain) {
  kvtier_lookup_result lookup = {.size = sizeof lookup};
  EXPECT(kvtier_lookup(space, chain, 0, &lookup) == KVTIER_OK);
  EXPECT(lookup.chunks == CHUNKS && lookup.chunks_by_tier[KVTIER_TIER_HOST] == CHUNKS);
  kvtier_plan_result plan = {.size = sizeof plan};
  EXPECT(kvtier_plan(space, &lookup, 0, &plan) == KVTIER_OK);
  EXPECT(plan.load_chunks == CHUNKS);
  kvtier_plan_options wanted = {.size = sizeof wanted, .first = 1, .request = "one"};
  kvtier_chain_plan choice = {.size = sizeof choice};
  EXPECT(kvtier_plan_chain(space, chain, &wanted, &choice) == KVTIER_OK);
  EXPECT(choice.load_first == 1 && choice.load_chunks == CHUNKS - 1 && choice.id != 0);
  kvtier_plan_ended(space, &choice, CHUNKS - 1, 0.001, KVTIER_MISS_NONE);
  wanted.restore = 3;
  EXPECT(kvtier_plan_chain(space, chain, &wanted, &choice) == KVTIER_INVALID_ARGUMENT);
  EXPECT(kvtier_plan_chain(space, chain, NULL, &choice) == KVTIER_OK);
  EXPECT(kvtier_report_model(space, 1e10, 1e5, 1e14, &error) == KVTIER_OK);
  EXPECT(kvtier_report_model(space, 1e10, 1e5, 0, &error) == KVTIER_INVALID_ARGUMENT);
  kvtier_restoring* restore = NULL;
  EXPECT(kvtier_restore_begin(space, chain, NULL, 0, SECOND, &restore, &error) == KVTIER_OK);
  EXPECT(kvtier_restore_take_head(restore) == 0 && kvtier_restore_load_next(restore) == 0);
  EXPECT(kvtier_restore_met(restore) == 1);
  kvtier_restore_result came = {.size = sizeof came};
  EXPECT(kvtier_restore_get_result(restore, &came) == KVTIER_OK && came.loaded == 0);
  kvtier_restore_cancel(restore);
  kvtier_restore_end(restore);

  kvtier_match* match = NULL;
  kvtier_match_options options = {.size = sizeof options, .first = 1};
  EXPECT(kvtier_match_take(space, chain, &options, &match, &error) == KVTIER_OK);
  kvtier_match_info info = {.size = sizeof info};
  EXPECT(kvtier_match_get_info(match, &info) == KVTIER_OK);
  EXPECT(info.chunks == CHUNKS - 1 && info.tokens == (CHUNKS - 1) * TOKENS);
  const void* payload = NULL;
  size_t bytes = 0;
  EXPECT(kvtier_match_payload(match, 0, &payload, &bytes) == KVTIER_OK);
  EXPECT(bytes == BYTES && memcmp(payload, payloads[1], BYTES) == 0);
  EXPECT(kvtier_match_payload(match, CHUNKS, &payload, &bytes) == KVTIER_INVALID_ARGUMENT);
  EXPECT(kvtier_match_check(match, &error) == KVTIER_OK);

  static unsigned char loaded[2][BYTES];
  const kvtier_fragment parts[3] = {{loaded[0], 1}, {loaded[0] + 1, BYTES - 1}, {loaded[1], BYTES}};
  const kvtier_load_target targets[2] = {{0, parts, 2}, {2, parts + 2, 1}};
  kvtier_load_result result = {.size = sizeof result};
  EXPECT(kvtier_load(space, match, targets, 2, -1, &result, &error) == KVTIER_OK);
  EXPECT(result.chunks == 2 && result.bytes == 2 * BYTES && result.seconds > 0);
  EXPECT(memcmp(loaded[0], payloads[1], BYTES) == 0);
  EXPECT(memcmp(loaded[1], payloads[3], BYTES) == 0);
  const kvtier_load_target wrong = {0, parts, 1};
  EXPECT(kvtier_load(space, match, &wrong, 1, -1, &result, &error) == KVTIER_INVALID_ARGUMENT);
  kvtier_match_free(match);
}

static void test_telling(const kvtier_space* space, const kvtier_chain* chain) {
  kvtier_touch(space, chain, CHUNKS);
  EXPECT(kvtier_flush_touches(space, SECOND, &error) == KVTIER_OK);
  size_t resident = 0;
  EXPECT(kvtier_prefetch(space, chain, 1, 2, SECOND, &resident, &error) == KVTIER_OK);
  EXPECT(resident == 2);
  EXPECT(kvtier_hint(space, chain, 0, CHUNKS, KVTIER_HINT_PIN, 5, &error) == KVTIER_OK);
  EXPECT(kvtier_hint(space, chain, 0, CHUNKS, 17, 5, &error) == KVTIER_INVALID_ARGUMENT);
  EXPECT(kvtier_report_prefill(space, 100, 0, 0.5, &error) == KVTIER_OK);
  EXPECT(kvtier_report_prefill(space, 0, 0, 0.5, &error) == KVTIER_INVALID_ARGUMENT);
}

static void test_keys(const kvtier_space* space, const kvtier_chain* chain) {
  kvtier_key keys[CHUNKS];
  EXPECT(kvtier_chain_size(chain) == CHUNKS);
  EXPECT(kvtier_chain_get_keys(chain, 0, CHUNKS, keys) == KVTIER_OK);
  EXPECT(kvtier_chain_get_keys(chain, 1, CHUNKS, keys) == KVTIER_INVALID_ARGUMENT);
  EXPECT(keys[0].lo != keys[1].lo);
  kvtier_chain* other = NULL;
  const kvtier_extra_id extra = {0, 0, 42};
  EXPECT(kvtier_chain_derive(space, tokens, CHUNKS * TOKENS, &extra, 1, &other, &error) ==
         KVTIER_OK);
  kvtier_key first;
  EXPECT(kvtier_chain_get_keys(other, 0, 1, &first) == KVTIER_OK);
  EXPECT(first.lo != keys[0].lo);
  kvtier_chain_free(other);
  uint8_t hashes[64] = {1};
  EXPECT(kvtier_chain_fold(space, hashes, 2, NULL, 0, &other, &error) == KVTIER_OK);
  EXPECT(kvtier_chain_size(other) == 2);
  kvtier_chain_free(other);
}

int main(void) {
  char folder[] = "/tmp/kvtier-c-XXXXXX";
  EXPECT(mkdtemp(folder) != NULL);
  char socket[64];
  snprintf(socket, sizeof socket, "%s/s", folder);
  for (size_t i = 0; i < CHUNKS * TOKENS; ++i) tokens[i] = (uint32_t)(i * 7);
  for (size_t i = 0; i < CHUNKS; ++i) {
    for (size_t k = 0; k < BYTES; ++k) payloads[i][k] = (unsigned char)(i * 13 + k * 3);
  }
  test_names();
  test_refusals();
  kvtier_session* session = open_session(socket);
  kvtier_space* space = open_space(session);
  test_absent_daemon(session, space);

  void* daemon = c_api_daemon_start(socket);
  EXPECT(kvtier_session_wait(session, 10 * SECOND, &error) == KVTIER_OK);
  kvtier_chain* chain = NULL;
  EXPECT(kvtier_chain_derive(space, tokens, CHUNKS * TOKENS, NULL, 0, &chain, &error) == KVTIER_OK);
  test_keys(space, chain);
  test_store(space, chain);
  test_load(space, chain);
  test_telling(space, chain);
  kvtier_session_info info = {.size = sizeof info};
  EXPECT(kvtier_session_get_info(session, &info) == KVTIER_OK);
  EXPECT(info.attached == 1 && info.id == 1 && info.epoch != 0);
  kvtier_session_stats stats = {.size = sizeof stats};
  EXPECT(kvtier_session_get_stats(session, &stats) == KVTIER_OK);
  EXPECT(stats.stores == CHUNKS && stats.loads == 1 && stats.attachments == 1);
  /* An older program's shorter structure is filled as far as it goes. */
  kvtier_session_stats older = {.size = offsetof(kvtier_session_stats, lookups)};
  EXPECT(kvtier_session_get_stats(session, &older) == KVTIER_OK);
  EXPECT(older.attachments == 1 && older.loads == 0);

  kvtier_session_close(session); /* handles may be freed later, in any order */
  kvtier_chain_free(chain);
  kvtier_space_close(space);
  c_api_daemon_stop(daemon);
  rmdir(folder);
  puts("ok");
  return 0;
}
