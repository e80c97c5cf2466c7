// What a running daemon hands over as it makes it, so that the next one can go on: the descriptor
// to the keeper first, then the row in the manifest, and only then may anybody learn of the memory;
// on the way back the row goes first, then the descriptor. Core thread. Without a keeper every call
// does nothing and succeeds.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/keep/fd_keeper.hpp"
#include "daemon/keep/manifest.hpp"

namespace kvtier::daemon {

// What was kept, taken from the keeper at the start.
class KeptFds {
 public:
  explicit KeptFds(std::vector<KeptFd> fds);
  // Empty if there is none of the name.
  Fd take(const std::string& name);
  // All whose names begin so.
  std::vector<KeptFd> take_all(const std::string& prefix);
  std::vector<std::string> names() const;
  bool empty() const { return fds_.empty(); }
  void clear() { fds_.clear(); }
  // Memory that is in use behind them.
  uint64_t bytes() const;

 private:
  std::map<std::string, Fd> fds_;
};

class Ledger {
 public:
  explicit Ledger(FdKeeper* keeper) : keeper_(keeper) {}

  bool keeps() const { return keeper_ != nullptr; }
  const char* kind() const { return keeper_ == nullptr ? "off" : keeper_->kind(); }
  std::string trouble() const { return keeper_ == nullptr ? std::string() : keeper_->trouble(); }
  void tend() {
    if (keeper_ != nullptr) keeper_->tend();
  }

  // While the daemon starts a keeper that is behind is waited for, a second a descriptor; from
  // serve() on nothing waits.
  void serve() { starting_ = false; }

  // A cold start: a new manifest, and the slot table that goes with it.
  Status begin(const Fd& slot_table, uint64_t slot_layout, uint64_t epoch);
  // A warm one: this manifest is kept already.
  void go_on(std::unique_ptr<Manifest> manifest) { manifest_ = std::move(manifest); }

  // Errors: full (try again later), system.
  Status tenant(const TenantRow& row);
  Status published(uint32_t tenant, uint64_t epoch, const Fd& memory);
  Status space(const SpaceRow& row);
  Status segment(const SegmentRow& row, const Fd& memory);
  void segment_gone(uint64_t uid);
  Status session(const SessionRow& row, const Fd& memory, const Fd& process);
  void session_ending(uint32_t id);
  void session_gone(uint32_t id);
  void orderly_stop();

  // What the numbers below must not fall back to.
  void note_next_session(uint32_t next);
  void note_next_uid(uint64_t next);

  // At a warm start: which row is whose.
  void know_segment(uint64_t uid, uint32_t row) { segment_rows_[uid] = row; }
  void know_session(uint32_t id, uint32_t row) { session_rows_[id] = row; }
  void forget(const std::string& name) {
    if (keeper_ != nullptr) keeper_->forget(name);
  }

  static std::string slots_name() { return std::string(kKeptPrefix) + "slots"; }
  static std::string manifest_name() { return std::string(kKeptPrefix) + "manifest"; }
  static std::string published_prefix() { return std::string(kKeptPrefix) + "published."; }
  static std::string published_name(uint32_t tenant, uint64_t epoch);
  static std::string segment_name(uint64_t uid);
  static std::string session_name(uint32_t id);
  static std::string process_name(uint32_t id);

 private:
  Status hand_over(const std::string& name, const Fd& fd);

  FdKeeper* keeper_;
  bool starting_ = true;
  std::unique_ptr<Manifest> manifest_;
  std::map<uint64_t, uint32_t> segment_rows_;  // uid -> row
  std::map<uint32_t, uint32_t> session_rows_;  // id -> row
};

}  // namespace kvtier::daemon
