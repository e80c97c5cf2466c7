// What a session is behind its public face: the maintenance thread, the current attachment, the
// spaces to be opened with each attachment, the counters. Kept alive by the Session, its Spaces and
// every living Attachment. Locks here are short: no system call that could wait is made under one.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "client/attachment.hpp"
#include "client/fork_guard.hpp"
#include "client/key_chain.hpp"
#include "kvtier/kvtier.hpp"
#include "kvtier/wire/key.hpp"

namespace kvtier::client {

// A space of the session, the same for all attachments.
struct SpaceRecord {
  SpaceSpec spec;
  wire::SpaceSpecWire wire = {};
  wire::Fingerprint fingerprint;
  wire::Fingerprint group;
  uint32_t number = 0;           // in the session, indexes Attachment::spaces
  std::optional<Error> refused;  // by the current daemon; under the core's lock
};

struct GiveUp {
  uint32_t session;
  uint64_t epoch;
};

// Where misses are counted in session memory, and all of it as SessionStats.
wire::Counter miss_counter(MissReason reason);
void fill_stats(const std::array<uint64_t, wire::kCountersMax>& sums, SessionStats* stats);

class SessionCore : public std::enable_shared_from_this<SessionCore> {
 public:
  // Errors: system, out_of_memory.
  static Result<std::shared_ptr<SessionCore>> create(SessionOptions options);
  ~SessionCore();

  Status start();
  void stop();  // ends the thread and lets the current attachment go; once

  bool forked() const { return guard_->forked(); }
  // The current attachment, or none. Call only when not forked.
  AttachmentRef attached() const {
    AttachmentSlot* slot = current_.load(std::memory_order_acquire);
    if (slot == nullptr || !slot->life.try_acquire()) return {};
    return AttachmentRef(slot);
  }
  Status wait_attached(Clock::time_point deadline);

  // The record of a spec, new or known. Throws bad_alloc. Errors: full.
  Result<SpaceRecord*> record_space(const SpaceSpec& spec, const wire::SpaceSpecWire& wire);
  // Opens a recorded space with an attachment, once. Errors: as the daemon says, deadline.
  Status open_space(Attachment* attachment, SpaceRecord* record, Clock::time_point deadline);
  Status refusal_of(const SpaceRecord& record);

  // The tenant's secret as it was last attached. False before the first attachment.
  bool last_secret(wire::KeySecret* secret, uint64_t* secret_id) const;

  // Counts with the attachment, or here when there is none.
  void count(const AttachmentRef& attachment, wire::Counter counter, uint64_t number = 1) {
    if (attachment) {
      attachment->count(counter, number);
    } else {
      unattached_[static_cast<size_t>(counter)].fetch_add(number, std::memory_order_relaxed);
    }
  }
  SessionStats stats() const;

  // True when a load of so many bytes should be reported now; hands out what was gathered.
  bool gather_load(uint64_t bytes, double seconds, uint64_t* bytes_sum, double* seconds_sum);
  // True at most once a second: a tier that was not worth loading from may be tried.
  bool probe_due(Clock::time_point now);
  // A number for a plan that no other process uses, not 0.
  uint64_t next_plan();
  bool sample() { return samples_.fetch_add(1, std::memory_order_relaxed) % 16 == 0; }

  const SessionOptions& options() const { return options_; }
  const ForkGuard& guard() const { return *guard_; }
  const TagSecret& tag_secret() const { return tag_secret_; }

  // From AttachmentRef: the last reference of a slot is gone.
  static void last_released(AttachmentSlot* slot);

 private:
  SessionCore(SessionOptions options, std::unique_ptr<ForkGuard> guard);

  // maintenance.cpp, on the thread
  void run();
  Status attach_once();
  void publish(std::unique_ptr<Attachment> attachment);
  void watch(Attachment* attachment);
  std::chrono::nanoseconds idle_time(const Attachment& attachment) const;
  bool open_recorded_spaces(Attachment* attachment);
  void send_give_ups(Attachment* attachment, Clock::time_point deadline, int stop_fd);
  bool populate_published(const Attachment& attachment);
  bool wait_stop(std::chrono::nanoseconds wait);
  void destroy_retired();
  void set_error(const Error& error);
  void drop_current();

  void retire(AttachmentSlot* slot);
  void destroy(Attachment* attachment);

  const SessionOptions options_;
  const std::unique_ptr<ForkGuard> guard_;
  Fd stop_fd_;  // readable for ever once the session is closed
  Fd kick_fd_;  // written when there is work for the thread
  TagSecret tag_secret_ = {};
  std::atomic<AttachmentSlot*> current_{nullptr};
  std::atomic<uint64_t> samples_{0};
  std::atomic<uint64_t> plans_{0};
  std::atomic<Clock::rep> probed_{0};
  std::array<std::atomic<uint64_t>, wire::kCountersMax> unattached_ = {};
  std::thread thread_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool thread_runs_ = false;
  std::optional<Error> last_error_;
  bool has_secret_ = false;
  wire::KeySecret secret_ = {};
  uint64_t secret_id_ = 0;
  uint64_t attachments_ = 0;
  std::vector<std::unique_ptr<AttachmentSlot>> slots_;
  std::vector<AttachmentSlot*> free_slots_;
  std::vector<Attachment*> all_;   // not destroyed yet
  Attachment* retired_ = nullptr;  // to be destroyed by the thread
  std::vector<std::unique_ptr<SpaceRecord>> spaces_;
  std::vector<GiveUp> give_ups_;
  std::array<uint64_t, wire::kCountersMax> ended_counters_ = {};  // of destroyed attachments

  std::mutex load_mutex_;
  uint64_t load_bytes_ = 0;
  double load_seconds_ = 0;
  Clock::time_point load_reported_{};

  uint64_t populated_entries_ = 0;  // thread only, of the current attachment
  uint64_t populated_buckets_ = 0;
};

}  // namespace kvtier::client
