/* kvtier's client library for C and every language that calls C. The same functions as kvtier.hpp,
   whose comments say more; docs/client.md tells how they are used together.

   Rules for every function here:
   - It returns within its timeout. Any code but KVTIER_OK means: recompute, and go on. A miss is
     KVTIER_OK with fewer chunks.
   - Thread-safe, unless it says otherwise: a chain, a match and a grant belong to one thread at a
     time (different chunks of a match may be read by different threads).
   - A handle is freed by the function named at its type, once; NULL is allowed there. Handles do
   not keep what they were made from: free matches, grants, chains and spaces when you like, in any
     order, also after the session.
   - After fork() the child's handles answer KVTIER_FORKED; freeing them there does nothing to the
     parent.
   - `timeout_ns` is from now, in nanoseconds; 0 does not wait, negative waits without a limit.
   - `error` may be NULL; else it receives one line for a person when the code is not KVTIER_OK.
   - Structures that begin with `size`: set it to sizeof the structure and everything you do not set
     to zero, which means the default. So they can grow without breaking programs.
   - Output arguments are only written on KVTIER_OK, unless said otherwise. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kvtier/version.hpp"

#ifndef KVTIER_API
#define KVTIER_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Result codes. Their numbers never change. */
enum {
  KVTIER_OK = 0,
  KVTIER_UNAVAILABLE = 1,      /* no daemon: absent, restarting, or the session was ended */
  KVTIER_DEADLINE = 2,         /* the timeout passed */
  KVTIER_INVALID_ARGUMENT = 3, /* the caller's fault; the error says what was found */
  KVTIER_INCOMPATIBLE = 4,     /* protocol versions do not overlap */
  KVTIER_PERMISSION = 5,       /* socket or memory may not be used by this uid */
  KVTIER_TOO_MANY_LEASES = 6,  /* the session's lease cells are used up */
  KVTIER_FULL = 7,             /* a bounded queue or table has no room */
  KVTIER_CORRUPT = 8,          /* bytes failed a check */
  KVTIER_REVOKED = 9,          /* leases ended before the bytes were read: do not use them */
  KVTIER_OUT_OF_MEMORY = 10,
  KVTIER_FORKED = 11, /* the session belongs to the parent process */
  KVTIER_SYSTEM = 12, /* a system call failed */
  KVTIER_NOT_FOUND = 13,
  KVTIER_UNSUPPORTED = 14 /* this build cannot do it, e.g. a structure of a newer header */
};

/* Where chunks lie; indexes chunks_by_tier. */
enum { KVTIER_TIER_HOST = 0, KVTIER_TIER_DEVICE = 1, KVTIER_TIER_NVME = 2, KVTIER_TIER_REMOTE = 3 };
#define KVTIER_TIERS 4

/* How payload bytes are checked on a load. */
enum {
  KVTIER_VERIFY_DEFAULT = 0, /* what the daemon's configuration says */
  KVTIER_VERIFY_NEVER = 1,
  KVTIER_VERIFY_SAMPLED = 2, /* one chunk in 16 */
  KVTIER_VERIFY_ALWAYS = 3
};

/* Why a prefix ended. */
enum {
  KVTIER_MISS_NONE = 0, /* it did not end: all chunks asked for were found */
  KVTIER_MISS_ABSENT = 1,
  KVTIER_MISS_LOWER = 2, /* in a lower tier: prefetch */
  KVTIER_MISS_LEASED_OUT = 3,
  KVTIER_MISS_UNVERIFIED = 4,
  KVTIER_MISS_CODEC = 5,
  KVTIER_MISS_SHARD = 6,
  KVTIER_MISS_MISMATCH = 7,
  KVTIER_MISS_UNAVAILABLE = 8,
  KVTIER_MISS_TOO_MANY_LEASES = 9,
  KVTIER_MISS_DEADLINE = 10
};

/* How a store writes chunks; a load gives the engine's bytes whatever they are in. All but none and
   lossless change the numbers, and are for typed spaces. */
enum {
  KVTIER_ENCODING_NONE = 0,
  KVTIER_ENCODING_FP8 = 1, /* a scale a token and head */
  KVTIER_ENCODING_FP8_TENSOR = 2,
  KVTIER_ENCODING_INT8 = 3,
  KVTIER_ENCODING_INT4 = 4,
  KVTIER_ENCODING_LOSSLESS = 5
};
#define KVTIER_ENCODING_OF_SPACE UINT32_MAX

/* What became of a chunk that was to be stored. */
enum {
  KVTIER_STORED = 0, /* of a reservation: granted */
  KVTIER_STORE_PRESENT = 1,
  KVTIER_STORE_IN_PROGRESS = 2,
  KVTIER_STORE_FULL = 3,
  KVTIER_STORE_OVER_QUOTA = 4,
  KVTIER_STORE_DECLINED = 5,
  KVTIER_STORE_BUSY = 6,
  KVTIER_STORE_FAILED = 7
};

enum {
  KVTIER_HINT_SESSION_END = 1,
  KVTIER_HINT_NEXT_USE_IN = 2,
  KVTIER_HINT_PIN = 3,
  KVTIER_HINT_CLASS = 4
};

typedef struct kvtier_session kvtier_session; /* kvtier_session_close() */
typedef struct kvtier_space kvtier_space;     /* kvtier_space_close() */
typedef struct kvtier_chain kvtier_chain;     /* kvtier_chain_free() */
typedef struct kvtier_match kvtier_match;     /* kvtier_match_free() */
typedef struct kvtier_grant kvtier_grant;     /* kvtier_commit() or kvtier_grant_abort() */

/* One line for a person, zero-terminated. */
typedef struct kvtier_error {
  char message[256];
} kvtier_error;

/* ---- The library ---- */

/* Its version, e.g. "0.1.0", and the protocol versions it speaks. Never NULL. */
KVTIER_API const char* kvtier_version(void);
KVTIER_API uint32_t kvtier_protocol_version_min(void);
KVTIER_API uint32_t kvtier_protocol_version_max(void);

/* Names as they stand in messages and metrics, e.g. "deadline"; "unknown" for other numbers. Never
   NULL, static. */
KVTIER_API const char* kvtier_code_name(int32_t code);
KVTIER_API const char* kvtier_miss_reason_name(uint32_t reason);
KVTIER_API const char* kvtier_store_outcome_name(uint32_t outcome);

/* The attach socket used when none is named, zero-terminated and cut to `bytes`. Returns its whole
   length without the zero (0: no memory). */
KVTIER_API size_t kvtier_default_socket_path(char* path, size_t bytes);

/* The checksum of a payload, as kvtier_commit() takes it. Any thread. */
KVTIER_API uint64_t kvtier_checksum(const void* payload, size_t bytes);

/* ---- Sessions ---- */

typedef struct kvtier_session_options {
  size_t size;
  const char* socket;       /* path; NULL: kvtier_default_socket_path() */
  const char* name;         /* shown to operators, at most 63 bytes; NULL: none */
  uint32_t read_only;       /* not 0: segments are mapped read-only, nothing can be stored */
  uint32_t verify;          /* KVTIER_VERIFY_* */
  int64_t call_deadline_ns; /* of calls that take no timeout; 0: one second */
  int64_t retry_first_ns;   /* an absent daemon is tried again after this, doubling; 0: 20 ms */
  int64_t retry_last_ns;    /* up to this; 0: 1 s */
} kvtier_session_options;

/* Makes a session. Never waits for the daemon: a thread of the session attaches, and attaches again
   whenever the daemon comes back. `options` may be NULL. Errors: invalid_argument, unsupported,
   out_of_memory, system. */
KVTIER_API int32_t kvtier_session_open(const kvtier_session_options* options,
                                       kvtier_session** session, kvtier_error* error);

/* Gives everything back, detaches and frees. Waits for nothing that could hang. Matches and grants
   of the session stay valid, and hold its memory, until they are freed. */
KVTIER_API void kvtier_session_close(kvtier_session* session);

/* KVTIER_OK once attached. Errors: the last reason it is not (unavailable, incompatible,
   permission), deadline, forked. */
KVTIER_API int32_t kvtier_session_wait(const kvtier_session* session, int64_t timeout_ns,
                                       kvtier_error* error);

typedef struct kvtier_session_info {
  size_t size;
  uint32_t attached; /* 0 or 1 */
  uint32_t id;       /* the daemon's number of it; 0 while not attached */
  uint64_t epoch;    /* the daemon's incarnation; 0 while not attached */
} kvtier_session_info;

/* How it stands. Errors: invalid_argument, forked. */
KVTIER_API int32_t kvtier_session_get_info(const kvtier_session* session,
                                           kvtier_session_info* info);

/* What the session counted since it was made, over all attachments. */
typedef struct kvtier_session_stats {
  size_t size;
  uint64_t attachments;
  uint64_t lookups, chunks_asked, chunks_hit, tokens_asked, tokens_hit;
  uint64_t misses[16]; /* by KVTIER_MISS_* */
  uint64_t loads, load_bytes, loads_failed, corrupt;
  uint64_t stores, store_bytes, stores_failed;
  uint64_t touches_dropped;
} kvtier_session_stats;

/* Errors: invalid_argument, forked. */
KVTIER_API int32_t kvtier_session_get_stats(const kvtier_session* session,
                                            kvtier_session_stats* stats);

/* ---- Spaces ---- */

/* One tensor shape. Two spaces are the same when every field is equal; anything that changes the
   meaning of the bytes must differ here. */
typedef struct kvtier_space_spec {
  size_t size;
  const char* model;  /* fingerprint, or name with revision; at most 255 bytes, not empty */
  const char* dtype;  /* at most 31 bytes; NULL: "bf16" */
  const char* layout; /* the engine's, with its version; at most 63 bytes; NULL: "" */
  const char* isa;    /* where the bytes depend on it; at most 31 bytes; NULL: "" */
  uint32_t layers;    /* this and the next two are informative */
  uint32_t kv_heads;
  uint32_t head_dim;
  uint32_t tokens_per_chunk; /* 1 to 16384 */
  uint32_t shard;            /* this one of ... */
  uint32_t shards;           /* 1 to 64; 0 means 1 */
  uint64_t chunk_bytes;      /* payload of a chunk, 1 to 128 MiB */
  uint32_t typed;            /* not 0: the payload may be re-encoded by the daemon */
  uint32_t reserved;
} kvtier_space_spec;

/* Opens a space; works without a daemon too (it opens with the next attachment). Errors:
   invalid_argument, unsupported, full, incompatible, out_of_memory, forked. */
KVTIER_API int32_t kvtier_space_open(kvtier_session* session, const kvtier_space_spec* spec,
                                     kvtier_space** space, kvtier_error* error);
/* Frees the handle; the space stays in the daemon. */
KVTIER_API void kvtier_space_close(kvtier_space* space);

/* ---- Keys ---- */

typedef struct kvtier_key {
  uint64_t lo, hi;
} kvtier_key;

/* An id the KV depends on besides token ids (adapter, image hash, salt): of the chunk with this
   number, and by the chain of all behind it. */
typedef struct kvtier_extra_id {
  uint32_t chunk;
  uint32_t reserved; /* 0 */
  uint64_t id;
} kvtier_extra_id;

/* Keys of the full chunks of a prompt. `extras` sorted by chunk; NULL with 0. The arrays are
   copied. Errors: invalid_argument, unavailable (never attached yet: keys need the tenant's
   secret), out_of_memory, forked. */
KVTIER_API int32_t kvtier_chain_derive(const kvtier_space* space, const uint32_t* tokens,
                                       size_t token_count, const kvtier_extra_id* extras,
                                       size_t extra_count, kvtier_chain** chain,
                                       kvtier_error* error);

/* Keys folded from an engine's own chained 256-bit hashes: 32 * hash_count bytes. `tokens`
   (tokens_per_chunk a hash; NULL with 0) go into headers and are compared. Errors as above. */
KVTIER_API int32_t kvtier_chain_fold(const kvtier_space* space, const uint8_t* hashes,
                                     size_t hash_count, const uint32_t* tokens, size_t token_count,
                                     kvtier_chain** chain, kvtier_error* error);

/* Number of chunks. 0 for NULL. */
KVTIER_API size_t kvtier_chain_size(const kvtier_chain* chain);
/* Copies keys [first, first + count). Errors: invalid_argument. */
KVTIER_API int32_t kvtier_chain_get_keys(const kvtier_chain* chain, size_t first, size_t count,
                                         kvtier_key* keys);
KVTIER_API void kvtier_chain_free(kvtier_chain* chain);

/* ---- Finding and reading ---- */

typedef struct kvtier_lookup_result {
  size_t size;
  size_t chunks; /* in any tier, from the first asked for */
  size_t chunks_by_tier[KVTIER_TIERS];
  uint32_t ended; /* KVTIER_MISS_* */
  uint32_t reserved;
} kvtier_lookup_result;

/* Looks without leasing: advice. No message, no system call. Without a daemon, or in a forked
   child, nothing is found. Errors: invalid_argument. */
KVTIER_API int32_t kvtier_lookup(const kvtier_space* space, const kvtier_chain* chain, size_t first,
                                 kvtier_lookup_result* result);

typedef struct kvtier_match_options {
  size_t size;
  size_t first;           /* chunk to begin at */
  size_t chunks_max;      /* 0: all */
  uint32_t one_shard;     /* not 0: do not ask whether the other shards have a chunk */
  uint32_t without_touch; /* not 0: do not log the path as used */
} kvtier_match_options;

/* Leases the longest prefix in host memory, headers compared. A match of 0 chunks is KVTIER_OK too.
   `options` may be NULL. No message and no system call for memory that is mapped already. Errors:
   invalid_argument, unsupported, out_of_memory, forked. */
KVTIER_API int32_t kvtier_match_take(const kvtier_space* space, const kvtier_chain* chain,
                                     const kvtier_match_options* options, kvtier_match** match,
                                     kvtier_error* error);

typedef struct kvtier_match_info {
  size_t size;
  size_t chunks; /* leased */
  size_t tokens;
  size_t chunks_lower; /* directly behind, in lower tiers */
  uint32_t ended;      /* KVTIER_MISS_* */
  uint32_t reserved;
} kvtier_match_info;

/* Errors: invalid_argument. */
KVTIER_API int32_t kvtier_match_get_info(const kvtier_match* match, kvtier_match_info* info);

/* The payload of leased chunk i, in place, until the match is freed. Bytes may be acted on only
   after a kvtier_match_check() that follows the last read. Errors: invalid_argument (no such
   chunk), forked. */
KVTIER_API int32_t kvtier_match_payload(const kvtier_match* match, size_t i, const void** payload,
                                        size_t* bytes);

/* KVTIER_OK when every byte read through this match so far was the chunk's. No system call. Errors:
   revoked, unavailable, forked, invalid_argument. */
KVTIER_API int32_t kvtier_match_check(const kvtier_match* match, kvtier_error* error);

/* Ends the leases and frees. */
KVTIER_API void kvtier_match_free(kvtier_match* match);

/* A part of the engine's memory; payload bytes are the fragments' in the order of the list. */
typedef struct kvtier_fragment {
  void* data;
  size_t bytes;
} kvtier_fragment;
typedef struct kvtier_const_fragment {
  const void* data;
  size_t bytes;
} kvtier_const_fragment;

typedef struct kvtier_load_target {
  size_t chunk; /* index in the match */
  const kvtier_fragment* fragments;
  size_t fragment_count;
} kvtier_load_target;

typedef struct kvtier_load_result {
  size_t size;
  size_t chunks; /* from the first target: loaded and valid */
  uint64_t bytes;
  double seconds;
} kvtier_load_result;

/* Copies leased chunks out, checked. Only the first result->chunks targets may be used; the rest
   was revoked, corrupt or past the timeout and may have been written. Errors: invalid_argument
   (sizes do not add up), out_of_memory, forked. */
KVTIER_API int32_t kvtier_load(const kvtier_space* space, const kvtier_match* match,
                               const kvtier_load_target* targets, size_t target_count,
                               int64_t timeout_ns, kvtier_load_result* result, kvtier_error* error);

/* ---- Storing ---- */

typedef struct kvtier_reservation {
  uint32_t outcome;        /* KVTIER_STORED: granted; else KVTIER_STORE_* */
  uint32_t retry_after_us; /* for KVTIER_STORE_BUSY */
  kvtier_grant* grant;     /* NULL unless granted */
  void* payload;           /* of the slot: write all of it */
  size_t payload_bytes;
} kvtier_reservation;

/* Asks for empty slots for the chunks with these numbers; `reservations` has one each, in order.
   Waits for the daemon, not for room. Errors: unavailable, deadline, invalid_argument, permission
   (read-only session), full, out_of_memory, forked. */
KVTIER_API int32_t kvtier_reserve(const kvtier_space* space, const kvtier_chain* chain,
                                  const size_t* chunks, size_t chunk_count, int64_t timeout_ns,
                                  kvtier_reservation* reservations, kvtier_error* error);

/* Makes written chunks visible in the given order; the last counts as most recently used. checksums
   (NULL: the daemon makes them) as kvtier_checksum(). outcomes[i]: KVTIER_STORED,
   KVTIER_STORE_PRESENT or KVTIER_STORE_FAILED. The grants are freed, whatever the result. Errors:
   unavailable, deadline, invalid_argument, out_of_memory, forked. */
KVTIER_API int32_t kvtier_commit(const kvtier_space* space, kvtier_grant* const* grants,
                                 size_t grant_count, const uint64_t* checksums, int64_t timeout_ns,
                                 uint32_t* outcomes, kvtier_error* error);

/* Gives the slot back and frees. */
KVTIER_API void kvtier_grant_abort(kvtier_grant* grant);

typedef struct kvtier_store_source {
  size_t chunk; /* index in the chain */
  const kvtier_const_fragment* fragments;
  size_t fragment_count;
} kvtier_store_source;

/* Reserve, gather with checksum, commit for all sources, the last first. Waits on busy until the
   timeout. outcomes in the order of the sources. Errors: invalid_argument, permission,
   out_of_memory, forked. */
KVTIER_API int32_t kvtier_store(const kvtier_space* space, const kvtier_chain* chain,
                                const kvtier_store_source* sources, size_t source_count,
                                int64_t timeout_ns, uint32_t* outcomes, kvtier_error* error);

/* The same in a codec of the caller's choice. KVTIER_ENCODING_OF_SPACE, which kvtier_store() takes:
   what the daemon's configuration says. A chunk that the codec refuses or does not make smaller is
   stored as it is. Errors, besides: invalid_argument (the space does not take it: opaque ones take
   only lossless). */
KVTIER_API int32_t kvtier_store_encoded(const kvtier_space* space, const kvtier_chain* chain,
                                        const kvtier_store_source* sources, size_t source_count,
                                        uint32_t encoding, int64_t timeout_ns, uint32_t* outcomes,
                                        kvtier_error* error);

/* ---- Telling ---- */

/* Logs chunks [0, chunks) as used, tail to head. Never waits; a full log drops touches. */
KVTIER_API void kvtier_touch(const kvtier_space* space, const kvtier_chain* chain, size_t chunks);
/* KVTIER_OK when all touches logged before are applied. Errors: unavailable, deadline, forked. */
KVTIER_API int32_t kvtier_flush_touches(const kvtier_space* space, int64_t timeout_ns,
                                        kvtier_error* error);

/* Brings chunks [first, first + count) into host memory; *resident: how many are, from `first`.
   Errors: unavailable, deadline, invalid_argument, full, forked. */
KVTIER_API int32_t kvtier_prefetch(const kvtier_space* space, const kvtier_chain* chain,
                                   size_t first, size_t count, int64_t timeout_ns, size_t* resident,
                                   kvtier_error* error);

/* The same without waiting. *prefetch ends with kvtier_prefetch_end(). Errors: unavailable,
   invalid_argument, out_of_memory, forked. */
typedef struct kvtier_prefetching kvtier_prefetching;
KVTIER_API int32_t kvtier_prefetch_begin(const kvtier_space* space, const kvtier_chain* chain,
                                         size_t first, size_t count, int64_t timeout_ns,
                                         kvtier_prefetching** prefetch, kvtier_error* error);
/* Waits until the range is in host memory, or no more of it will be; *resident as above. Errors:
   unavailable, forked. */
KVTIER_API int32_t kvtier_prefetch_wait(kvtier_prefetching* prefetch, int64_t timeout_ns,
                                        size_t* resident, kvtier_error* error);
/* Not 0 for `keep`: what comes is held until leased, or until the timeout that it was begun with.
   0: cancelled, and what has come is let go. NULL is allowed. */
KVTIER_API void kvtier_prefetch_end(kvtier_prefetching* prefetch, int32_t keep);

typedef struct kvtier_prefix_load_result {
  size_t size;
  size_t chunks;       /* from the first target: loaded and valid */
  size_t chunks_lower; /* of these, read from lower tiers by this call */
  uint64_t bytes;
  double seconds;
  uint32_t ended; /* KVTIER_MISS_*: why no more */
  uint32_t reserved;
} kvtier_prefix_load_result;

/* The longest prefix, wherever it lies, straight into the engine's memory: targets[i].chunk are
   consecutive chunks of the chain. What is in host memory is copied while the rest is read from
   lower tiers. Only the first result->chunks targets may be used. Errors: invalid_argument,
   out_of_memory, forked. */
KVTIER_API int32_t kvtier_load_prefix(const kvtier_space* space, const kvtier_chain* chain,
                                      const kvtier_load_target* targets, size_t target_count,
                                      int64_t timeout_ns, kvtier_prefix_load_result* result,
                                      kvtier_error* error);

/* A range of chunks that comes last first while the caller computes it from the front. One thread
   calls kvtier_restore_load_next until it answers 0; another computes the next chunk for each 1 of
   kvtier_restore_take_head, and at 0 asks kvtier_restore_met: 1, all is there; 0, go on taking.
   The chain and the fragments' memory must outlive it. */
typedef struct kvtier_restoring kvtier_restoring;
typedef struct kvtier_restore_result {
  size_t size;
  size_t computed; /* targets [0, computed) were taken by the head, */
  size_t loaded;   /* the next `loaded` ones hold valid bytes */
  uint64_t bytes;
  uint32_t ended; /* KVTIER_MISS_*: why loading stopped before it met the head */
  uint32_t reserved;
} kvtier_restore_result;

/* targets[i].chunk are consecutive chunks of the chain. Errors: invalid_argument, out_of_memory,
   forked. */
KVTIER_API int32_t kvtier_restore_begin(const kvtier_space* space, const kvtier_chain* chain,
                                        const kvtier_load_target* targets, size_t target_count,
                                        int64_t timeout_ns, kvtier_restoring** restore,
                                        kvtier_error* error);
KVTIER_API int32_t kvtier_restore_load_next(kvtier_restoring* restore);
KVTIER_API int32_t kvtier_restore_take_head(kvtier_restoring* restore);
KVTIER_API int32_t kvtier_restore_met(kvtier_restoring* restore);
/* Nothing more is begun to be loaded; the head may take all that is left. Any thread. */
KVTIER_API void kvtier_restore_cancel(kvtier_restoring* restore);
/* Errors: invalid_argument. */
KVTIER_API int32_t kvtier_restore_get_result(const kvtier_restoring* restore,
                                             kvtier_restore_result* result);
/* Not while a call is under way. NULL is allowed. */
KVTIER_API void kvtier_restore_end(kvtier_restoring* restore);

/* Advice about chunks [first, first + count): KVTIER_HINT_*, with its value (seconds, or a class
   tag). Never waits. Errors: unavailable, invalid_argument, full, forked. */
KVTIER_API int32_t kvtier_hint(const kvtier_space* space, const kvtier_chain* chain, size_t first,
                               size_t count, uint32_t hint, double value, kvtier_error* error);

typedef struct kvtier_plan_result {
  size_t size;
  size_t load_chunks; /* from `first`; recompute the rest */
  double load_seconds;
  double recompute_seconds; /* of the same tokens; 0: nothing reported yet */
  int64_t load_deadline_ns; /* past it the rest should be recomputed; 0: none */
} kvtier_plan_result;

/* Load or recompute, for what a look-up from `first` found. No system call. Without a daemon:
   recompute. Errors: invalid_argument, unsupported. */
KVTIER_API int32_t kvtier_plan(const kvtier_space* space, const kvtier_lookup_result* lookup,
                               size_t first, kvtier_plan_result* result);

#define KVTIER_RESTORE_SEQUENTIAL 0 /* load a prefix, then compute the rest */
#define KVTIER_RESTORE_OVERLAPPED 1 /* compute the head while the tail is loaded, last first */
#define KVTIER_RESTORE_LAYERWISE 2  /* load a prefix layer by layer while computing */

typedef struct kvtier_plan_options {
  size_t size;
  size_t first;           /* chunk to begin at */
  size_t chunks_max;      /* 0: all */
  uint64_t tokens_behind; /* of the prompt, behind the chain: computed in any case */
  uint32_t restore;       /* KVTIER_RESTORE_* */
  uint32_t has_last;      /* not 0: last_load_chunks is the latest choice for this prompt */
  size_t last_load_chunks;
  double lambda;       /* weight of a GPU second against a second until the first token */
  const char* request; /* the engine's name of it, for `kvtier explain`; NULL: none */
} kvtier_plan_options;

typedef struct kvtier_chain_plan {
  size_t size;
  size_t load_first; /* load chunks [load_first, load_first + load_chunks) of the chain */
  size_t load_chunks;
  size_t resident; /* chunks from `first` that could be loaded */
  double load_seconds;
  double recompute_seconds;
  double ttft_seconds;
  double load_all_seconds;
  double compute_all_seconds;
  int64_t load_deadline_ns;
  uint64_t id; /* for kvtier_plan_ended; 0: not recorded */
} kvtier_chain_plan;

/* What to load of a prompt and what to compute, from what is resident now and the live costs.
   `options` may be NULL. Without a daemon: compute. Errors: invalid_argument, unsupported. */
KVTIER_API int32_t kvtier_plan_chain(const kvtier_space* space, const kvtier_chain* chain,
                                     const kvtier_plan_options* options, kvtier_chain_plan* plan);

/* What became of a plan: chunks loaded, seconds it took (0: nothing was loaded), KVTIER_MISS_* why
   fewer than planned. Never waits. */
KVTIER_API void kvtier_plan_ended(const kvtier_space* space, const kvtier_chain_plan* plan,
                                  size_t loaded, double seconds, uint32_t ended);

/* What the model costs here, for the time before the first report: FLOPs a token, a token and
   context position, FLOP/s achieved. Never waits. Errors: as kvtier_report_prefill. */
KVTIER_API int32_t kvtier_report_model(const kvtier_space* space, double flops_token,
                                       double flops_pair, double flops_per_s, kvtier_error* error);

/* What a prefill took: `tokens` new ones behind `context` earlier ones. Never waits. Errors:
   unavailable, invalid_argument, full, forked. */
KVTIER_API int32_t kvtier_report_prefill(const kvtier_space* space, uint64_t tokens,
                                         uint64_t context, double seconds, kvtier_error* error);

#ifdef __cplusplus
}
#endif
