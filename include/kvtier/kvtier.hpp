// kvtier's client library: an engine's access to the KV cache that kvtierd keeps.
//
// A Session attaches one process to the daemon and re-attaches by itself; a Space is one tensor
// shape in it; match() finds and leases the longest resident prefix of a prompt; load() copies it
// out and checks it; reserve()/commit() or store() put new chunks in. Looking up, planning and
// leasing resident chunks send no message and make no system call.
//
// Rules for every call here:
//  - It returns within its deadline. Any error means: recompute, and go on. Nothing is thrown.
//  - A miss is a value, never an error.
//  - Thread-safe unless it says otherwise. Objects must not outlive their Session, except Match and
//    Grant, which keep what they need alive and only turn useless.
//  - After fork() the child's copies answer Code::kForked; the parent is not disturbed.
// Bytes are payload bytes; times are of std::chrono::steady_clock. The protocol is
// docs/protocol.md.
#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvtier/fragment.hpp"
#include "kvtier/result.hpp"
#include "kvtier/version.hpp"
#include "kvtier/wire/plan_types.hpp"
#include "kvtier/wire/types.hpp"

#ifndef KVTIER_API
#define KVTIER_API __attribute__((visibility("default")))
#endif
#define KVTIER_INTERNAL __attribute__((visibility("hidden")))
// What stands inside an exported class without being part of the ABI.
#define KVTIER_LOCAL __attribute__((visibility("hidden")))

namespace kvtier {

using Clock = std::chrono::steady_clock;

// Where a chunk was found.
using Tier = wire::Tier;

// How payload bytes are checked on a load. Bytes from nvme or remote, and the first load after a
// daemon's restart, are always checked.
enum class Verify : uint8_t {
  kDefault = 0,  // what the daemon's configuration says
  kNever = 1,    // trust host memory
  kSampled = 2,  // one chunk in 16
  kAlways = 3,   // fused with the copy: about a tenth of its time
};

struct SessionOptions {
  // Path of the attach socket. Empty: $KVTIER_SOCKET, else /run/kvtier/kvtier.sock when it exists,
  // else $XDG_RUNTIME_DIR/kvtier/kvtier.sock, else kvtier-UID/kvtier.sock in the temporary
  // directory.
  std::string socket;
  std::string name;        // shown to operators, at most 63 bytes
  bool read_only = false;  // maps segments read-only; reserve() is refused
  Verify verify = Verify::kDefault;
  std::chrono::nanoseconds call_deadline = std::chrono::seconds(1);  // of calls that take none
  // How often an absent daemon is tried again, doubling from the first to the second.
  std::chrono::nanoseconds retry_first = std::chrono::milliseconds(20);
  std::chrono::nanoseconds retry_last = std::chrono::seconds(1);
};

// One tensor shape. Two spaces are the same when every field is equal; anything that changes the
// meaning of the bytes must differ here, or wrong bytes could be served.
struct SpaceSpec {
  std::string model;           // fingerprint, or name with revision; at most 255 bytes
  std::string dtype = "bf16";  // of the payload; at most 31 bytes
  std::string layout;          // the engine's, with its version; at most 63 bytes
  std::string isa;             // instruction set, where the bytes depend on it; at most 31
  uint32_t layers = 0;         // this and the next two are informative for opaque payloads
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;          // or the MLA latent
  uint32_t tokens_per_chunk = 0;  // 1 .. 16384
  uint32_t shard = 0;             // this one of
  uint32_t shards = 1;            // 1 .. 64 (tensor, pipeline and context parallel together)
  uint64_t chunk_bytes = 0;       // payload of a full chunk, 1 .. 128 MiB
  // kTyped: the fragments of a chunk, in order, are [layer][key, value][token][head][dim] of bf16
  // or f16 (one plane instead of two for an MLA latent), so that it can be stored in any codec.
  wire::PayloadKind kind = wire::PayloadKind::kOpaque;
};

// How a store writes chunks (docs/kernels.md, "Codecs"). Not a part of what a space is: chunks of
// one prefix may be in different codecs, and a load gives the engine's elements whatever they are
// in.
enum class Encoding : uint32_t {
  kNone = 0,
  kFp8TokenHead = 1,
  kFp8Tensor = 2,
  kInt8 = 3,
  kInt4 = 4,
  kLossless = 5,  // the only one that opaque spaces take
  // What the daemon's configuration says for the space (host.encode, [[space]]).
  kOfSpace = UINT32_MAX,
};

struct StoreOptions {
  Encoding encoding = Encoding::kOfSpace;
};

// An id that is part of what the KV depends on besides token ids: a LoRA adapter, an image hash, a
// salt. It belongs to the chunk with this number and, by the chain, to all behind it.
struct ExtraId {
  uint32_t chunk;
  uint64_t id;
};

// A prompt. Only full chunks (tokens_per_chunk ids) have keys. `extras` sorted by chunk.
struct Prompt {
  std::span<const uint32_t> tokens;
  std::span<const ExtraId> extras = {};
};

// Keys derived once and used for many calls; remembers what the headers must say.
// Movable, not copyable. One thread at a time.
class KVTIER_API KeyChain {
 public:
  KeyChain();
  ~KeyChain();
  KeyChain(KeyChain&&) noexcept;
  KeyChain& operator=(KeyChain&&) noexcept;

  std::span<const ChunkKey> keys() const;
  size_t size() const;
  struct KVTIER_LOCAL Impl;
  Impl* impl() const { return impl_.get(); }

 private:
  friend class Space;
  std::unique_ptr<Impl> impl_;
};

// Tells why a prefix ended where it did.
enum class MissReason : uint8_t {
  kNone = 0,  // it did not end: all chunks asked for were found
  kAbsent = 1,
  kLower = 2,        // on nvme or remote: prefetch it
  kLeasedOut = 3,    // taken away between look-up and lease
  kUnverified = 4,   // stored without a checksum, not yet hashed
  kCodec = 5,        // in a codec this client cannot read
  kShard = 6,        // another shard of the group is missing
  kMismatch = 7,     // the header does not say what was asked for (a collision, or corruption)
  kUnavailable = 8,  // no daemon
  kTooManyLeases = 9,
  kDeadline = 10,
};
KVTIER_API const char* miss_reason_name(MissReason reason);

// A leased prefix. The leases end with the object. Movable. One thread at a time, except that
// different chunks may be read by different threads.
class KVTIER_API Match {
 public:
  Match();
  ~Match();
  Match(Match&&) noexcept;
  Match& operator=(Match&&) noexcept;

  size_t chunks() const;        // leased, from the first asked for
  size_t tokens() const;        // in them
  size_t chunks_lower() const;  // directly behind: in lower tiers, to be prefetched
  MissReason ended() const;     // why no more

  // The payload of leased chunk i (i < chunks()), in place. Bytes may be acted on only after a
  // check() that follows the last read. Empty when its memory could not be mapped, and for a chunk
  // that is stored in a codec: load() it.
  std::span<const std::byte> payload(size_t i) const;

  // Ok when every byte read through this Match so far was the chunk's. Errors: revoked,
  // unavailable, forked. No system call.
  Status check() const;

  // Lets the leases go before the object ends.
  void release();

  struct KVTIER_LOCAL Impl;
  Impl* impl() const { return impl_.get(); }

 private:
  friend class Space;
  std::unique_ptr<Impl> impl_;
  MissReason reason_ = MissReason::kNone;
};

// One chunk's place in the engine's memory: fragments in payload order, whose sizes add up to the
// chunk's payload.
struct LoadTarget {
  size_t chunk;  // index in the Match
  std::span<const Fragment> fragments;
};
struct StoreSource {
  size_t chunk;  // index in the KeyChain
  std::span<const ConstFragment> fragments;
};

struct LoadResult {
  size_t chunks = 0;  // from the first target, loaded and valid
  uint64_t bytes = 0;
  double seconds = 0;
};

// What became of a chunk that was to be stored.
enum class StoreOutcome : uint8_t {
  kStored = 0,
  kPresent = 1,     // it is there already
  kInProgress = 2,  // somebody else is storing it
  kFull = 3,        // no room, and nothing may be evicted
  kOverQuota = 4,
  kDeclined = 5,  // the tier is off, or storing does not pay
  kBusy = 6,      // no room at the moment; the deadline passed while waiting
  kFailed = 7,    // error or deadline; the chunk is not visible
};
KVTIER_API const char* store_outcome_name(StoreOutcome outcome);

// A writer's hold on an empty slot. Dropping it gives the slot back. Movable. One thread at a time.
class KVTIER_API Grant {
 public:
  Grant();
  ~Grant();
  Grant(Grant&&) noexcept;
  Grant& operator=(Grant&&) noexcept;

  bool held() const;
  size_t chunk() const;                  // index in the KeyChain it was reserved for
  std::span<std::byte> payload() const;  // exactly the payload; write all of it
  void abort();

  struct KVTIER_LOCAL Impl;
  Impl* impl() const { return impl_.get(); }

 private:
  friend class Space;
  friend struct GrantAccess;
  std::unique_ptr<Impl> impl_;
};

struct Reservation {
  StoreOutcome outcome = StoreOutcome::kFailed;  // kStored here means: granted
  std::chrono::microseconds retry_after{0};      // for kBusy
  Grant grant;
};

struct MatchOptions {
  size_t first = 0;  // chunk to begin at; those before it are the engine's already
  size_t chunks_max = SIZE_MAX;
  bool all_shards = true;  // a chunk counts when every shard of the group has it
  bool touch = true;       // log the whole path from chunk 0 as used, tail to head
};

// Chunks on their way from lower tiers into host memory. Dropping it cancels what has not come and
// lets go what has come and nobody has leased. Movable. One thread at a time.
class KVTIER_API Prefetch {
 public:
  Prefetch();
  ~Prefetch();
  Prefetch(Prefetch&&) noexcept;
  Prefetch& operator=(Prefetch&&) noexcept;

  // Waits until the range is in host memory, or no more of it will be, at most until the deadline.
  // The number of its chunks, from the first, that are. Errors: unavailable (the daemon went),
  // forked.
  Result<size_t> wait(Clock::time_point deadline);
  // Ends the object but not the prefetch: what comes is held until leased, or until the deadline
  // that it was begun with.
  void keep();

  struct KVTIER_LOCAL Impl;
  Impl* impl() const { return impl_.get(); }

 private:
  friend class Space;
  std::unique_ptr<Impl> impl_;
};

// What load_prefix() brought.
struct PrefixLoad {
  size_t chunks = 0;        // from the first target, loaded and valid
  size_t chunks_lower = 0;  // of these, read from lower tiers by this call
  uint64_t bytes = 0;
  double seconds = 0;
  MissReason ended = MissReason::kNone;  // why no more
};

// What a restore came to: targets [0, computed) were taken by the head, [computed, computed +
// loaded) hold valid bytes. Together they are all targets once met() said so.
struct RestoreResult {
  size_t computed = 0;
  size_t loaded = 0;
  uint64_t bytes = 0;
  MissReason ended = MissReason::kNone;  // why loading stopped before it met the head
};

// A range of chunks that comes last first, while the caller computes the same range from the front:
// where the two meet, all of it is there, so a wrong estimate only moves the meeting point. One
// thread loads (load_next), one computes (take_head, met); cancel() from any thread.
//
//   loader:   while (restore.load_next()) {}
//   computer: do {
//               while (restore.take_head()) compute_next_chunk();
//             } while (!restore.met());
//
// Which engines may use the tail so: docs/planner.md. The chain and the fragments' memory must
// outlive the object; it must not be destroyed while a call is under way. Movable.
class KVTIER_API Restore {
 public:
  Restore();
  ~Restore();
  Restore(Restore&&) noexcept;
  Restore& operator=(Restore&&) noexcept;

  // Loads the next chunk from the end. False: none was loaded and none will be, because the head
  // was met, a chunk was missing, corrupt or late, or it was cancelled.
  bool load_next();
  // The head takes the next chunk from the front: it will not be loaded. False: the chunk is loaded
  // or just being loaded.
  bool take_head();
  // Waits for the chunk that is being loaded, if any. True: head and tail have met. False: that
  // chunk did not come; take_head() gives it to the head.
  bool met();
  void cancel();  // nothing more is begun to be loaded; the head may take all that is left
  RestoreResult result() const;

  struct KVTIER_LOCAL Impl;
  Impl* impl() const { return impl_.get(); }

 private:
  friend class Space;
  std::unique_ptr<Impl> impl_;
};

// What looking without leasing saw. Advice: it may have changed already.
struct Lookup {
  size_t chunks = 0;  // in host, device or lower tiers, from the first
  size_t chunks_by_tier[wire::kTierCount] = {};
  MissReason ended = MissReason::kAbsent;
};

// How the engine can restore what is cached (docs/planner.md says where each applies).
using Overlap = wire::Overlap;

struct PlanOptions {
  size_t first = 0;  // chunk to begin at; those before it are the engine's already
  size_t chunks_max = SIZE_MAX;
  uint64_t tokens_behind = 0;  // of the prompt, behind the chain: computed in any case
  Overlap overlap = Overlap::kSequential;
  double lambda = 0;  // weight of a GPU second against a second until the first token
  // The latest choice for this prompt, kept while it is about as good; SIZE_MAX: none.
  size_t last_load_chunks = SIZE_MAX;
  std::string_view request = {};  // the engine's name of the request, for `kvtier explain`
};

// For a prompt: load chunks [load_first, load_first + load_chunks), compute the rest. Chunks are
// numbered as in the chain. With Overlap::kOverlapped the loaded ones are the last resident ones,
// otherwise they begin at `first`.
struct Plan {
  size_t load_first = 0;
  size_t load_chunks = 0;
  size_t resident = 0;                        // chunks from `first` that could be loaded
  double load_seconds = 0;                    // expected
  double recompute_seconds = 0;               // expected for the same tokens; 0: nothing is known
  double ttft_seconds = 0;                    // expected until all tokens of the prompt are there
  double load_all_seconds = 0;                // the same, had all resident chunks been loaded,
  double compute_all_seconds = 0;             // or none
  std::chrono::nanoseconds load_deadline{0};  // past it the rest should be recomputed; 0: none
  uint64_t id = 0;                            // for plan_ended(); 0: it was not recorded
};

// What became of a plan.
struct PlanEnd {
  size_t loaded = 0;                     // chunks
  double seconds = 0;                    // the load took; 0: nothing was loaded
  MissReason ended = MissReason::kNone;  // why fewer than planned
};

enum class Hint : uint8_t {
  kSessionEnd = 1,  // these chunks will hardly be used again
  kNextUseIn = 2,   // value: expected seconds until the next use
  kPin = 3,         // value: seconds to keep if at all possible; 0 unpins
  kClass = 4,       // value: a class tag of the engine's
};

// What this session counted since it was made, over all attachments. `lookups` counts lookup() and
// match(); what was asked for and hit is match()'s alone, so that nothing counts twice.
struct SessionStats {
  uint64_t attachments = 0;
  uint64_t lookups = 0, chunks_asked = 0, chunks_hit = 0, tokens_asked = 0, tokens_hit = 0;
  uint64_t misses[16] = {};  // by MissReason
  uint64_t loads = 0, load_bytes = 0, loads_failed = 0, corrupt = 0;
  uint64_t stores = 0, store_bytes = 0, stores_failed = 0;
  uint64_t touches_dropped = 0;
};

class Session;

// A tensor shape of one session. Cheap to keep, safe to share between threads. Opened again by
// itself after a re-attachment.
class KVTIER_API Space {
 public:
  ~Space();
  Space(const Space&) = delete;
  Space& operator=(const Space&) = delete;

  const SpaceSpec& spec() const;

  // Keys of the full chunks of a prompt. Errors: invalid_argument, unavailable (no daemon was ever
  // attached: keys need the tenant's secret), out_of_memory.
  Result<KeyChain> derive(const Prompt& prompt) const;
  // Keys folded from an engine's own chained 256-bit hashes, one a chunk. `tokens` (may be empty)
  // go into the headers and are compared on a match; the hashes are compared always.
  Result<KeyChain> fold(std::span<const std::array<uint8_t, 32>> engine_hashes,
                        std::span<const uint32_t> tokens = {}) const;

  // Looks only: no lease, no header comparison.
  Lookup lookup(const KeyChain& chain, size_t first = 0) const;

  // The longest prefix from options.first that is resident in host memory, leased and its headers
  // compared. Empty if the first is absent. Errors: forked, out_of_memory, invalid_argument (a
  // chain of another model or chunk size); everything else is a shorter match with a reason.
  Result<Match> match(const KeyChain& chain, const MatchOptions& options = {}) const;

  // Copies leased chunks out, checking bytes as SessionOptions::verify says and the leases at the
  // end. What comes back is the valid head of the targets: LoadResult::chunks of them. The rest was
  // revoked, corrupt (dropped from the cache, the engine must recompute) or past the deadline;
  // their targets may have been written and must not be used. Errors: invalid_argument (sizes),
  // forked.
  Result<LoadResult> load(const Match& match, std::span<const LoadTarget> targets,
                          Clock::time_point deadline = Clock::time_point::max()) const;

  // Asks for empty slots for chunks[i] of the chain; one Reservation each, in order. Waits for the
  // daemon at most until the deadline, not for room: kBusy comes back at once.
  // Errors: unavailable, deadline, invalid_argument, forked.
  Result<std::vector<Reservation>> reserve(const KeyChain& chain, std::span<const size_t> chunks,
                                           Clock::time_point deadline) const;
  // Makes written chunks visible, in the given order; the last one committed counts as the most
  // recently used. checksums[i] belongs to grants[i] (kernels' tree root over the payload); empty:
  // the daemon computes them, and the chunks are unverified until then. Outcomes in order.
  Result<std::vector<StoreOutcome>> commit(std::span<Grant> grants,
                                           std::span<const uint64_t> checksums,
                                           Clock::time_point deadline) const;

  // reserve, gather with checksum, commit: for all sources, eight grants in flight, sources last
  // first (tail to head) so that heads outlive tails. Waits on busy until the deadline.
  // Outcomes in the order of `sources`. Errors: invalid_argument (an encoding that the space does
  // not take, too), forked, out_of_memory. A chunk that its encoding refuses (NaN, infinity) or
  // does not make smaller is stored as it is.
  Result<std::vector<StoreOutcome>> store(const KeyChain& chain,
                                          std::span<const StoreSource> sources,
                                          Clock::time_point deadline,
                                          const StoreOptions& options = {}) const;

  // The longest prefix, wherever it lies, straight into the engine's memory: targets are
  // consecutive chunks of the chain (LoadTarget::chunk is the index in the chain here). What is in
  // host memory is leased and copied while the rest is read from lower tiers, and what was read is
  // copied while more is read: it takes about as long as the slower of the two. Sends no message
  // when all is in host memory. Bytes are checked as in load(); the path is touched. What comes
  // back is the valid head; targets behind it may have been written and must not be used. Errors:
  // invalid_argument (targets, sizes), forked, out_of_memory.
  Result<PrefixLoad> load_prefix(const KeyChain& chain, std::span<const LoadTarget> targets,
                                 Clock::time_point deadline = Clock::time_point::max()) const;

  // Begins a restore of consecutive chunks of the chain (LoadTarget::chunk is the index in the
  // chain), wherever they lie: what is in host memory is leased, the last ones of lower tiers are
  // asked for. Loading itself is the caller's, by load_next(). Errors: invalid_argument, forked,
  // out_of_memory; where nothing is cached, load_next() says so.
  Result<Restore> restore(const KeyChain& chain, std::span<const LoadTarget> targets,
                          Clock::time_point deadline = Clock::time_point::max()) const;

  // Logs chunks [0, chunks) of the chain as used, tail to head. No message, never waits; a full log
  // drops touches (counted). flush_touches() returns when all logged before are applied.
  void touch(const KeyChain& chain, size_t chunks) const;
  Status flush_touches(Clock::time_point deadline) const;

  // Brings chunks [first, first + count) into host memory and holds them there until leased, or
  // until the deadline. Returns the number that is (or became) resident from `first`.
  // Sends no message when all is in host memory already.
  Result<size_t> prefetch(const KeyChain& chain, size_t first, size_t count,
                          Clock::time_point deadline) const;
  // The same without waiting: what the range lacks is asked for, the caller goes on. The deadline
  // ends the wait and the hold. Errors: unavailable (no daemon), invalid_argument, forked,
  // out_of_memory; a daemon without room or a chunk that is lost shows in Prefetch::wait().
  Result<Prefetch> prefetch_begin(const KeyChain& chain, size_t first, size_t count,
                                  Clock::time_point deadline) const;

  Status hint(const KeyChain& chain, size_t first, size_t count, Hint hint, double value) const;

  // What to load of a prompt and what to compute, from what is resident now and the daemon's live
  // costs. Without a daemon: compute. No message and no system call, but for this: where chunks of
  // a lower tier were not worth loading by a measurement that has grown old, a few of them are
  // asked for, at most once a second, so that the tier is measured again. docs/planner.md.
  Plan plan(const KeyChain& chain, const PlanOptions& options = {}) const;
  // The same for what a look-up from `first` found, sequentially, without a record.
  Plan plan(const Lookup& lookup, size_t first = 0) const;
  // What became of a plan, for `kvtier explain` and the error of predictions. Never waits.
  void plan_ended(const Plan& plan, const PlanEnd& end) const;

  // What a prefill took: `tokens` new ones behind `context` earlier ones. Refused with
  // invalid_argument when not positive and finite. Never waits.
  Status report_prefill(uint64_t tokens, uint64_t context, double seconds) const;
  // What the model costs on this engine's machine, for the time before the first report: FLOPs a
  // token (about twice its active parameters), FLOPs a token and context position, FLOP/s that
  // prefill achieves. Refused with invalid_argument when they cannot be. Never waits.
  Status report_model(double flops_token, double flops_pair, double flops_per_s) const;

  struct KVTIER_LOCAL Impl;
  Impl* impl() const { return impl_.get(); }

 private:
  friend class Session;
  explicit Space(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// One process's attachment to the daemon.
class KVTIER_API Session {
 public:
  // Never waits for the daemon: a background thread attaches, and attaches again whenever the
  // daemon comes back. Errors: invalid_argument, out_of_memory, system (no thread, no memory).
  static Result<std::unique_ptr<Session>> open(const SessionOptions& options = {});
  // Gives everything back and detaches; waits for nothing that could hang.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Ok once attached. Errors: the last reason it is not (unavailable, incompatible, permission), or
  // deadline.
  Status wait_attached(Clock::time_point deadline) const;
  bool attached() const;
  uint64_t epoch() const;  // 0 while not attached
  uint32_t id() const;     // the daemon's number of this session; 0 while not attached

  // Works without a daemon too (the space opens with the next attachment). The same spec gives the
  // same Space. Errors: invalid_argument, full (the daemon's limit), out_of_memory.
  Result<std::shared_ptr<Space>> open_space(const SpaceSpec& spec);

  SessionStats stats() const;
  SessionOptions options() const;

  struct KVTIER_LOCAL Impl;
  Impl* impl() const { return impl_.get(); }

 private:
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The library's version, e.g. "0.1.0", and the protocol versions it speaks.
KVTIER_API const char* version();
KVTIER_API uint32_t protocol_version_min();
KVTIER_API uint32_t protocol_version_max();

// The attach socket by the rules of SessionOptions::socket.
KVTIER_API std::string default_socket_path();

}  // namespace kvtier
