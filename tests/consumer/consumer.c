/* The same as consumer.cpp, through the C interface: C11, and nothing but the installed headers. */
#include <inttypes.h>
#include <kvtier/kvtier.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int refuse(const char* what) {
  fprintf(stderr, "consumer: %s\n", what);
  return 1;
}

int main(void) {
  if (strcmp(kvtier_version(), KVTIER_VERSION) != 0) {
    return refuse("the library is of another version than its header");
  }

  const kvtier_session_options options = {
      .size = sizeof options, .socket = "/nonexistent/kvtier.sock", .name = "consumer"};
  kvtier_session* session = NULL;
  kvtier_error error;
  if (kvtier_session_open(&options, &session, &error) != KVTIER_OK) {
    return refuse("open must succeed without a daemon");
  }
  if (kvtier_session_wait(session, INT64_C(50000000), &error) == KVTIER_OK) {
    return refuse("wait succeeded, but there is no daemon");
  }
  if (error.message[0] == '\0') return refuse("wait failed without saying why");

  const kvtier_space_spec spec = {.size = sizeof spec,
                                  .model = "consumer",
                                  .layout = "flat-1",
                                  .tokens_per_chunk = 16,
                                  .chunk_bytes = 4096};
  kvtier_space* space = NULL;
  if (kvtier_space_open(session, &spec, &space, &error) != KVTIER_OK) {
    return refuse("a space must open without a daemon");
  }

  /* Keys need the tenant's secret, so there are none: the engine recomputes. */
  const uint32_t tokens[64] = {7};
  kvtier_chain* chain = NULL;
  const int32_t code = kvtier_chain_derive(space, tokens, 64, NULL, 0, &chain, &error);
  if (code != KVTIER_UNAVAILABLE) return refuse("derive must answer unavailable");
  if (chain != NULL) return refuse("derive wrote its output although it failed");

  printf("kvtier %s, protocol %" PRIu32 ": no daemon, so everything is recomputed (%s: %s)\n",
         kvtier_version(), kvtier_protocol_version_max(), kvtier_code_name(code), error.message);
  /* In the wrong order, which is allowed. */
  kvtier_session_close(session);
  kvtier_space_close(space);
  return 0;
}
