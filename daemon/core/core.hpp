// The core: owns all metadata — tenants, spaces, index, slots, leases, grants, policies, sessions —
// on one thread, without locks. It never waits, makes no system call that could stall, and knows no
// socket: the session layer brings requests, workers bring results, a clock brings time, so the
// whole of it also runs in one thread of a test.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/config/config.hpp"
#include "daemon/core/control.hpp"
#include "daemon/core/lower.hpp"
#include "daemon/core/promotion_check.hpp"
#include "daemon/core/session.hpp"
#include "daemon/core/tenant.hpp"
#include "daemon/keep/ledger.hpp"
#include "daemon/memory/clock.hpp"
#include "daemon/planner/plan_log.hpp"
#include "daemon/planner/tier_meter.hpp"
#include "daemon/policy/policy.hpp"
#include "daemon/tiers/host_tier.hpp"
#include "daemon/workers/executor.hpp"
#include "kvtier/wire/messages.hpp"
#include "kvtier/wire/session.hpp"

namespace kvtier::daemon {

struct CoreOptions {
  Config config;
  uint64_t epoch = 0;                                // not 0
  uint64_t memory_available_bytes = 0;               // for a capacity of "auto"
  std::function<uint64_t()> memory_left_bytes = {};  // now; any thread. Empty: nobody looks
  std::string state_directory;  // for tenants' salts; empty: salts live as long as the core
  uint32_t protocol_min = 1;    // what the session layer serves, to be shown
  uint32_t protocol_max = 1;
  FdKeeper* keeper = nullptr;          // outlives the core; null: nothing outlives it
  std::shared_ptr<KeptFds> kept = {};  // what the keeper had; null: nothing
  bool cold = false;                   // whatever was kept is given back unseen
};

struct AdmitRequest {
  TenantNumber tenant = 0;
  int pid = 0;
  uint32_t uid = 0;
  std::string name;
  bool read_only = false;
  const Fd* process = nullptr;  // its pidfd, to be kept; may be null where nothing is kept
};

// A session of the daemon before whose process may still use what it leased or was granted.
struct OrphanedSession {
  Session* session = nullptr;
  Fd process;  // readable once that process has ended
};

struct OpenedSpace {
  uint32_t id = 0;
  uint32_t number = 0;
  uint32_t header_bytes = 0;
  uint32_t group = 0;
  uint64_t slot_bytes = 0;
};

// One chunk of a reserve request, copied out of the argument area and bounds-checked there.
struct ReserveRequest {
  wire::ReserveArg arg;
  std::span<const uint32_t> tokens;
  std::span<const uint64_t> extra_ids;
};

class Core final : public Control, private SegmentListener {
 public:
  // `tier`: what lies below host memory; null: nothing does.
  // Errors: as the configuration allows none, only system and out_of_memory; not_found (policy).
  static Result<std::unique_ptr<Core>> create(CoreOptions options, Executor& executor,
                                              const Clock& clock,
                                              std::unique_ptr<Tier> tier = nullptr);
  ~Core() override;

  // --- Tenants: by uid, or by the listening socket's configured name. Made on first use.
  // Errors: permission (unlisted uids are refused), full (tenants_max), system.
  Result<TenantNumber> tenant_by_uid(uint32_t uid);
  Result<TenantNumber> tenant_by_name(const std::string& name);
  const Tenant& tenant(TenantNumber number) const { return *tenants_[number]; }

  // --- Sessions. A Session pointer is valid until remove_session().
  // Errors: full (sessions_max of the daemon or the tenant), system (out of fds or memory).
  Result<Session*> admit(const AdmitRequest& request);
  Session* find_session(uint32_t id);
  // The socket closed: nothing more is admitted; leases and grants stay.
  void orphan_session(Session& session);
  // The client says its copies are done, or its process has ended: everything returns at once.
  void remove_session(Session& session);
  // `caller` says so for an ended session of the same process.
  // Errors: not_found, permission (another process), invalid_argument (it is attached).
  Status give_up(const Session& caller, uint32_t session, uint64_t epoch);
  // A ring was broken: the session is ended as if killed.
  void protocol_error(Session& session);
  size_t session_count() const { return sessions_.size(); }
  // Once, after create(): whose end is to be watched.
  std::vector<OrphanedSession> take_orphans() { return std::exchange(orphans_, {}); }

  // --- Rare requests.
  // Errors: invalid_argument (with what was found), full (spaces_max).
  Result<OpenedSpace> open_space(Session& session, const wire::SpaceSpecWire& spec);
  // A new fd of the segment. Errors: not_found (gone, or another uid), system.
  struct SegmentFd {
    Fd fd;
    uint64_t bytes = 0;
  };
  Result<SegmentFd> segment_fd(const Session& session, uint32_t segment, uint64_t uid);

  // --- Ring requests; the session layer has decoded and bounds-checked them.
  void reserve(Session& session, uint32_t space, std::span<const ReserveRequest> requests,
               std::span<wire::ReserveAnswer> answers);
  void commit(Session& session, std::span<const wire::CommitArg> arguments,
              std::span<wire::CommitAnswer> answers);
  void abort(Session& session, std::span<const wire::CommitArg> arguments);
  // Brings the keys into host memory and holds them there until leased, cancelled or the deadline
  // (0: kPrefetchHoldNs from now). The answer comes through take_prefetch_answers(), perhaps at
  // once: ok, or not_found (a key is nowhere, or was lost on its way), full (no slots for the whole
  // range: nothing was begun), unavailable (the tier is out of service), deadline, corrupt, system,
  // revoked (cancelled).
  void prefetch(Session& session, uint64_t user_data, uint32_t space,
                std::span<const wire::KeyArg> keys, uint64_t deadline_ns);
  // Ends a prefetch and what it holds. Errors: not_found.
  Status cancel(Session& session, uint64_t user_data);
  std::vector<PrefetchAnswer> take_prefetch_answers() { return std::exchange(lower_.answers, {}); }
  Status hint(Session& session, uint32_t space, std::span<const wire::KeyArg> keys,
              wire::HintKind kind, double value);
  Status report_prefill(Session& session, uint32_t space, uint64_t tokens, uint64_t context,
                        double seconds);
  Status report_load(Session& session, wire::Tier tier, uint64_t bytes, double seconds);
  // What the engine says of its model, until it reports times. Errors: invalid_argument.
  Status report_model(Session& session, uint32_t space, double flops_token, double flops_pair,
                      double flops_per_s);
  // Takes over the records of plans that the session has written since the last call.
  void drain_plans(Session& session);
  void bad_chunk(Session& session, wire::Place place, wire::BadKind kind);
  // Applies what the session has logged up to now.
  void drain_touches(Session& session);

  // --- Housekeeping.
  // Once in a while (kTickNs when sessions are attached): retired slots, growth, cost board.
  void tick();
  static constexpr uint64_t kTickNs = 100'000'000;
  static constexpr uint64_t kPrefetchHoldNs = 10'000'000'000;     // where no deadline is given
  static constexpr uint64_t kPrefetchHoldMaxNs = 60'000'000'000;  // later deadlines are cut to it
  static constexpr uint32_t kPrefetchesMax = 256;                 // of a session at once
  // Results of the lower tier, and more work for it. After completion_fd() of the tier became
  // readable, or once a turn while tier_active() where it has none.
  void poll_tier();
  bool tier_active() const {
    return !lower_.writes.empty() || !lower_.reads.empty() ||
           lower_.scrub.ticket != Scrub::kNoTicket;
  }
  // At the end of a turn: what was begun in it goes to the devices together.
  void submit_transfers() {
    if (lower_ && tier_active()) lower_.tier->submit();
  }
  Tier* lower_tier() { return lower_.tier.get(); }
  // How long the loop may wait before poll_tier(), whatever its descriptor says.
  uint64_t tier_wait_ns() const;
  // When expire_prefetches() has something to do; UINT64_MAX: no time.
  uint64_t next_deadline_ns() const;
  void expire_prefetches();
  // Everything ends: the epoch closes in every published memory, so that loads under way fail.
  void close();
  void set_draining(bool draining) { draining_ = draining; }

  // --- Control (operators), see control.hpp.
  CoreSnapshot snapshot() override;
  std::vector<ChunkSnapshot> show_chunk(const std::string& key) override;
  std::vector<ChunkSnapshot> list_chunks(size_t count) override;
  Result<uint64_t> act_on_chunk(const std::string& key, ChunkAction action,
                                double pin_seconds) override;
  Status kill_session(uint32_t session) override;
  std::vector<LoggedPlan> explain(const std::string& select, size_t count) override;
  std::vector<CurveSnapshot> curves() override;
  Status scrub(uint64_t bytes_per_second) override;
  Result<uint64_t> flush(const std::string& tenant) override;
  bool flush_settled() override;
  std::string config_text() override;
  // Set by the program: how a reload is done (reads files, so it does not belong here).
  using Reload = std::function<Result<std::vector<std::string>>()>;
  void set_reload(Reload reload) { reload_ = std::move(reload); }
  Result<std::vector<std::string>> reload_config() override;
  // Takes over the reloadable options of `config`.
  void apply_config(const Config& config);

  CoreCounters& counters() { return counters_; }
  const Config& config() const { return config_; }
  uint64_t epoch() const { return epoch_; }
  HostTier& host() { return *host_; }
  // Sessions ended since the last call by kill or protocol error: their sockets are to be closed.
  std::vector<uint32_t> take_ended_sessions();

 private:
  // What the core keeps beside the slot table, by slot id.
  struct SlotNotes {
    uint64_t since_ns = 0;         // granted, retired or last used
    uint64_t pinned_until_ns = 0;  // 0: not pinned
    uint64_t held_until_ns = 0;    // promoted for somebody who has not leased it yet
    uint32_t entry = UINT32_MAX;
    uint32_t leased_stamp = 0;     // of the last scan that found it in a cell
    uint32_t leased_since_ms = 0;  // since any zero point; 0: not leased at the last look at ages
    uint16_t holds = 0;            // jobs and transfers that read it
    uint8_t write_failures = 0;
    bool chosen : 1 = false;   // waits in Lower::chosen
    bool writing : 1 = false;  // the tier reads it; counts in holds, too
    bool refused : 1 = false;  // by the write budget, since its last use
    uint8_t uses : 5 = 0;      // its store included; 31: or more; 0: its session is over
  };
  static_assert(sizeof(SlotNotes) == 40, "it counts for every chunk");
  // A chunk that was kept over a restart and has not been checked yet.
  struct Recheck {
    SlotId slot;
    uint32_t generation;
  };
  class EvictionFilter;
  class AheadFilter;
  class LowerFilter;
  // What became of the wish to have a chunk below.
  enum class Down : uint8_t { kClean, kUnderWay, kLater, kRefused };  // worse to the right
  enum class Below : uint8_t { kKeep, kForget };

  Core(CoreOptions options, Executor& executor, const Clock& clock);

  // segments
  Status segment_made(const Segment& segment) override;
  void segment_created(const Segment& segment) override;
  void segment_freed(const Segment& segment) override;

  // a restart: core_adopt.cpp, core_adopt_slots.cpp, core_recheck.cpp
  struct Adoption;
  Status keep_tenant(const Tenant& tenant);
  Status keep_session(const Session& session, const Fd* process);
  Status start_cold(const HostTierOptions& host, const std::string& reason);
  Status start_warm(const HostTierOptions& host, KeptFds& kept);
  void say_start(const std::string& mode, const std::string& reason);
  Status adopt_tenants(const Manifest& manifest);
  Status adopt_spaces(const Manifest& manifest);
  Status adopt_segments(const Manifest& manifest, KeptFds& kept);
  Status adopt_sessions(Adoption& adoption, Manifest& manifest, KeptFds& kept);
  void adopt_slots(Adoption& adoption);
  void adopt_slot(Adoption& adoption, Tenant& tenant, const Segment& segment, SlotId slot);
  void adopt_grant(const Adoption& adoption, Tenant& tenant, SlotId slot);
  void hold_or_free(Tenant& tenant, SlotId slot);
  void publish_adopted(Adoption& adoption, Tenant& tenant);
  bool is_served(const Tenant& tenant) const;
  void drain_surplus();
  void recheck_some();
  struct RecheckBatch;
  void rechecked(const RecheckBatch& batch);
  void release_fillings();
  void quarantine(Tenant& tenant, SlotId slot);

  // tenants and spaces
  Result<TenantNumber> make_tenant(const std::string& name, const TenantConfig& limits);
  TenantConfig limits_of(const std::string& name) const;
  size_t attached_count() const;
  Space* find_space(Tenant& tenant, uint32_t id);
  Status describe_recovered(Tenant& tenant, Space& space, const wire::SpaceSpecWire& spec);
  void join_group(Tenant& tenant, Space& space);
  void warn_if_too_large(const Tenant& tenant, const Space& space) const;
  void publish_space(Tenant& tenant, const Space& space);
  uint64_t index_entries_max() const;
  static Status check_spec(const wire::SpaceSpecWire& spec);
  Space& add_space(Tenant& tenant, const wire::SpaceSpecWire& spec, uint32_t id, uint32_t group);

  // slots: core_slots.cpp
  SlotNotes& notes(SlotId slot);
  Policy& policy_of(Tenant& tenant, uint64_t slot_bytes);
  Tenant& tenant_of(SlotId slot);
  SlotId take_slot(Tenant& tenant, uint64_t slot_bytes, wire::ReserveAnswer* answer);
  void stamp_leased(const Tenant& tenant);
  size_t reclaim(Tenant& tenant, uint64_t slot_bytes, size_t count);
  void unpublish(Tenant& tenant, SlotId slot, Removal how, Below below = Below::kKeep);
  void erase_entry(Tenant& tenant, SlotId slot);
  void resize_entries();
  size_t free_or_retire(Tenant& tenant, std::span<const SlotId> slots);
  size_t sweep_retired(Tenant& tenant);
  bool may_be_freed(SlotId slot);
  void revoke(Tenant& tenant, SlotId slot);
  void revoke_overdue(Tenant& tenant);
  size_t drop_slots(Tenant& tenant, std::span<const SlotId> slots, Removal how,
                    Below below = Below::kKeep);
  void release_slot(SlotId slot);
  void retire_slot(SlotId slot);
  void trim_to_chunk_limit(Tenant& tenant, uint64_t slot_bytes);
  void drain_all_touches(const Tenant& tenant);
  void touch_slot(Tenant& tenant, SlotId slot);
  template <typename Visit>
  void each_sibling(Tenant& tenant, SlotId slot, Visit&& visit);

  void take_victim(Tenant& tenant, SlotId slot, std::vector<SlotId>* victims);
  void end_hold(SlotId slot);

  // the tier below: core_lower.cpp
  TierPlace lower_place(const Tenant& tenant, uint32_t entry) const;
  Policy& lower_policy_of(Tenant& tenant, uint64_t slot_bytes, TierPlace place);
  TierChunk lower_chunk(Tenant& tenant, uint32_t entry);
  void attach_lower(Tenant& tenant, uint32_t entry, TierPlace place, const TierChunk& chunk);
  void detach_lower(Tenant& tenant, uint32_t entry, Removal how);
  void read_of_place_ended(TierPlace place);
  void remove_lower_only(Tenant& tenant, std::span<const uint32_t> entries, Removal how);
  size_t evict_places(std::span<const TierPlace> places);
  bool make_room_below(Tenant& tenant, uint64_t slot_bytes, uint64_t bytes);
  void transfer_ended(const TierCompletion& completion);
  size_t evict_below(Tenant& tenant, uint64_t slot_bytes, size_t count);
  bool make_index_room(Tenant& tenant);
  void touch_below(Tenant& tenant, uint32_t entry);
  void register_memory();
  void tick_tier();
  void note_service();
  template <typename Visit>
  void each_sibling_entry(Tenant& tenant, ChunkKey key, uint32_t space, Visit&& visit);

  // after a restart: core_recover.cpp
  void know_recovered_tenants();
  Space* space_of_record(Tenant& tenant, const TierChunk& chunk);
  bool take_record(const TierRecord& record);
  void recover_some();

  // behind everybody else: core_scrub.cpp
  void scrub_some();
  bool begin_scrub(TierPlace place);
  bool scrub_read_ended(const TierCompletion& completion);
  void scrub_checked(const TierChunk& due, Verdict verdict);
  void drop_damaged(Tenant& tenant, uint32_t entry, const TierChunk& due, Verdict verdict);
  void end_scrub();
  // for operators: core_lower_control.cpp
  struct KeyRange {
    std::pair<uint64_t, uint64_t> first, last;  // hi, lo
  };
  template <typename Visit>
  void each_lower_only(const Tenant& tenant, Visit&& visit);
  uint64_t drop_lower_only(Tenant& tenant);
  std::vector<std::pair<TenantNumber, uint32_t>> lower_entries_between(KeyRange range);
  ChunkSnapshot describe_lower(TenantNumber tenant, uint32_t entry);
  TierSnapshot show_lower() const;
  static std::string key_digits(ChunkKey key);
  std::string why_not_below(const Space& space) const;

  // codecs by configuration: core_reencode.cpp
  void choose_codecs(Space& space);
  bool is_reencoded_below(const Space& space, const SlotRecord& record) const;
  bool begin_reencode(const Space& space, uint64_t ticket, const TierChunk& chunk, SlotId slot);
  void reencoded(uint64_t ticket, Reencode& made);
  void pump_encoded();
  void abandon_write(uint64_t ticket);

  // downwards: core_demote.cpp, core_admit.cpp
  Down demote(Tenant& tenant, SlotId slot, uint64_t CoreCounters::** why);
  Down hand_down(Tenant& tenant, uint64_t ticket, const TierChunk& chunk, const std::byte* data,
                 uint64_t CoreCounters::** why);
  Down demote_group(Tenant& tenant, SlotId slot, uint64_t CoreCounters::** why);
  bool clean_group(Tenant& tenant, SlotId slot);
  bool stays_until_written(Tenant& tenant, SlotId slot);
  double writable_share();
  bool is_worth_writing(Tenant& tenant, SlotId slot);
  void count_use(SlotId slot);
  void choose(Tenant& tenant, SlotId slot);
  void pump_writes();
  void write_ended(const TierCompletion& completion);
  void keep_ahead(Tenant& tenant, uint64_t slot_bytes);
  void write_oldest(Tenant& tenant, uint64_t slot_bytes, uint64_t wanted);
  void demote_idle(Tenant& tenant);
  uint64_t slots_ahead(const Tenant& tenant, uint64_t slot_bytes) const;
  uint64_t free_ahead(const Tenant& tenant, uint64_t slot_bytes) const;
  uint64_t writing_bytes_max() const;
  size_t writes_under_way(const Tenant& tenant, uint64_t slot_bytes);
  bool waits_when_behind() const;

  // upwards: core_promote.cpp
  struct Wanted;
  bool plan_prefetch(Tenant& tenant, uint32_t space, std::span<const wire::KeyArg> keys,
                     std::vector<Wanted>* wanted, PrefetchAnswer* answer);
  bool take_slots_for(Tenant& tenant, std::vector<Wanted>* wanted, PrefetchAnswer* answer);
  void begin_promotion(Tenant& tenant, const Wanted& wanted, uint64_t prefetch);
  void pump_reads();
  void read_ended(const TierCompletion& completion);
  void check_promotion(uint64_t ticket);
  void end_promotion(uint64_t ticket, Code code);
  void publish_promoted(Promotion& promotion);
  void answer_prefetch(Prefetch& prefetch, Code status);
  void settle_prefetch(Prefetch& prefetch);
  void end_prefetch(uint64_t number, Code status);
  void end_prefetches_of(uint32_t session);
  bool end_oldest_prefetch(uint32_t session);
  void forget_promotion(Tenant& tenant, uint32_t entry);
  uint32_t count_resident(const Tenant& tenant, uint32_t space, std::span<const ChunkKey> keys);
  void hold(Prefetch& prefetch, SlotId slot);

  // stores: core_store.cpp
  void reserve_one(Session& session, Tenant& tenant, Space& space, const ReserveRequest& request,
                   wire::ReserveAnswer* answer);
  bool valid_reserve(const Space& space, const ReserveRequest& request) const;
  bool grant(Session& session, Tenant& tenant, Space& space, const ReserveRequest& request,
             SlotId slot);
  wire::CommitOutcome commit_one(Session& session, const wire::CommitArg& argument);
  bool publish(Tenant& tenant, Space& space, SlotId slot, uint32_t flags);
  void published(Tenant& tenant, Space& space, SlotId slot, uint32_t entry);
  void verify_later(Tenant& tenant, SlotId slot);
  void verified(Tenant& tenant, SlotId slot, uint32_t generation, bool readable, uint64_t root);
  void confirm_quarantine(Tenant& tenant, SlotId slot);
  bool write_checksum(SlotId slot, uint64_t checksum);
  void hole_found(const Tenant& tenant);
  void end_grant(Session& session, SlotId slot);
  SlotId granted_slot(Session& session, uint64_t place) const;

  // miss-ratio curves: core_curves.cpp
  void tell_curve(Tenant& tenant, const SlotRecord& record, bool was_resident);

  // memory between tenants: core_balance.cpp
  bool make_room_for(Tenant& tenant, uint64_t slot_bytes);
  uint64_t fair_share_bytes() const;
  uint64_t mean_use_ns(const Segment& segment);
  void drain_segment(Segment& segment);
  void sweep_draining();

  void publish_costs();
  void note_keeper();
  ChunkSnapshot describe(SlotId slot);
  bool key_range(const std::string& key, KeyRange* range, Status* status);
  std::vector<SlotId> slots_of_key(const std::string& key, Status* status);
  void fill_tiers(CoreSnapshot& snapshot);
  void fill_tenants(CoreSnapshot& snapshot);
  void fill_sessions(CoreSnapshot& snapshot);

  Config config_;
  uint64_t epoch_;
  uint64_t capacity_bytes_ = 0;
  std::string state_directory_;
  uint32_t protocol_min_;
  uint32_t protocol_max_;
  Executor& executor_;
  const Clock& clock_;
  uint64_t started_ns_ = 0;
  std::unique_ptr<HostTier> host_;  // outlives lower_, which reads and writes its memory
  std::vector<std::unique_ptr<Tenant>> tenants_;
  std::map<uint32_t, TenantNumber> tenant_of_uid_;
  std::map<uint32_t, std::unique_ptr<Session>> sessions_;
  std::vector<uint32_t> ended_sessions_;
  std::vector<SlotId> unverified_;  // whose job found no room in the queue
  std::vector<std::byte> header_scratch_;
  uint32_t next_session_ = 1;
  uint32_t next_space_ = 1;
  uint32_t next_group_ = 1;
  std::vector<SlotNotes> notes_;
  std::unordered_map<uint64_t, std::vector<SlotId>> granted_by_key_;  // by key.lo: few collide
  uint32_t stamp_ = 0;   // after a wrap a slot may look leased to one scan: it waits for the next
  uint64_t chunks_ = 0;  // valid in host memory, all tenants
  TierMeter host_meter_;
  PlanLog plans_;
  CoreCounters counters_;
  Lower lower_;
  bool reclaim_waits_ = false;  // the last reclaim left victims that are being written below
  Reload reload_;
  Ledger ledger_;
  bool adopting_ = false;  // rows that are written already are not written again
  std::string start_mode_ = "cold";
  std::string start_reason_;
  std::vector<OrphanedSession> orphans_;
  std::vector<std::pair<uint64_t, SlotId>> fillings_;  // until when the kernel may write there
  std::vector<Recheck> rechecks_;                      // to be done, the next one last
  uint64_t rechecks_under_way_ = 0;
  uint64_t rechecked_ns_ = 0;
  bool keeper_in_trouble_ = false;
  bool draining_ = false;
  bool closed_ = false;
};

}  // namespace kvtier::daemon
