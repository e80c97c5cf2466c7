// See ledger.hpp.
#include "daemon/keep/ledger.hpp"

#include <poll.h>
#include <sys/stat.h>

#include <cinttypes>
#include <cstdio>

#include "daemon/memory/kill_point.hpp"

namespace kvtier::daemon {
namespace {

constexpr int kBeginTries = 200;  // 5 ms apart: at the start nobody waits for us yet
constexpr int kBeginWaitMs = 5;

Error table_full(const char* what) {
  return Error::format(Code::kFull, "the manifest has no room for another %s", what);
}

}  // namespace

KeptFds::KeptFds(std::vector<KeptFd> fds) {
  for (KeptFd& one : fds) fds_[one.name] = std::move(one.fd);
}

Fd KeptFds::take(const std::string& name) {
  const auto found = fds_.find(name);
  if (found == fds_.end()) return {};
  Fd fd = std::move(found->second);
  fds_.erase(found);
  return fd;
}

std::vector<KeptFd> KeptFds::take_all(const std::string& prefix) {
  std::vector<KeptFd> taken;
  for (auto one = fds_.lower_bound(prefix); one != fds_.end() && one->first.starts_with(prefix);) {
    taken.push_back({one->first, std::move(one->second)});
    one = fds_.erase(one);
  }
  return taken;
}

uint64_t KeptFds::bytes() const {
  constexpr uint64_t kBlockBytes = 512;  // of st_blocks, whatever the file system
  uint64_t sum = 0;
  for (const auto& [name, fd] : fds_) {
    struct stat found = {};
    if (::fstat(fd.get(), &found) != 0 || !S_ISREG(found.st_mode)) continue;
    sum += static_cast<uint64_t>(found.st_blocks) * kBlockBytes;
  }
  return sum;
}

std::vector<std::string> KeptFds::names() const {
  std::vector<std::string> names;
  for (const auto& [name, fd] : fds_) names.push_back(name);
  return names;
}

std::string Ledger::published_name(uint32_t tenant, uint64_t epoch) {
  char text[kKeptNameBytesMax + 1];
  std::snprintf(text, sizeof text, "%s%" PRIx64 ".%" PRIu32, published_prefix().c_str(), epoch,
                tenant);
  return text;
}

std::string Ledger::segment_name(uint64_t uid) {
  return std::string(kKeptPrefix) + "segment." + std::to_string(uid);
}

std::string Ledger::session_name(uint32_t id) {
  return std::string(kKeptPrefix) + "session." + std::to_string(id);
}

std::string Ledger::process_name(uint32_t id) {
  return std::string(kKeptPrefix) + "process." + std::to_string(id);
}

Status Ledger::hand_over(const std::string& name, const Fd& fd) {
  for (int tries = 0;; ++tries) {
    const Status kept = keeper_->keep(name, fd);
    if (kept.ok() || kept.code() != Code::kFull || !starting_ || tries == kBeginTries) return kept;
    ::poll(nullptr, 0, kBeginWaitMs);
  }
}

Status Ledger::begin(const Fd& slot_table, uint64_t slot_layout, uint64_t epoch) {
  if (keeper_ == nullptr) return {};
  Result<std::unique_ptr<Manifest>> made = Manifest::create(slot_layout, epoch);
  if (!made.ok()) return made.error();
  // The manifest last: without it nothing of the rest is looked at.
  if (Status kept = hand_over(slots_name(), slot_table); !kept) return kept;
  if (Status kept = hand_over(manifest_name(), (*made)->fd()); !kept) return kept;
  manifest_ = std::move(made).value();
  return {};
}

Status Ledger::tenant(const TenantRow& row) {
  if (manifest_ == nullptr) return {};
  if (manifest_->tenants.add(row) == UINT32_MAX) return table_full("tenant");
  return {};
}

Status Ledger::published(uint32_t tenant, uint64_t epoch, const Fd& memory) {
  if (manifest_ == nullptr) return {};
  return hand_over(published_name(tenant, epoch), memory);
}

Status Ledger::space(const SpaceRow& row) {
  if (manifest_ == nullptr) return {};
  if (manifest_->spaces.add(row) == UINT32_MAX) return table_full("space");
  return {};
}

Status Ledger::segment(const SegmentRow& row, const Fd& memory) {
  if (manifest_ == nullptr) return {};
  if (Status kept = hand_over(segment_name(row.uid), memory); !kept) return kept;
  kill_point("keep.segment_handed_over");
  const uint32_t number = manifest_->segments.add(row);
  kill_point("keep.segment_recorded");
  if (number == UINT32_MAX) {
    keeper_->forget(segment_name(row.uid));
    return table_full("segment");
  }
  segment_rows_[row.uid] = number;
  return {};
}

void Ledger::segment_gone(uint64_t uid) {
  const auto row = segment_rows_.find(uid);
  if (manifest_ == nullptr || row == segment_rows_.end()) return;
  manifest_->segments.erase(row->second);
  segment_rows_.erase(row);
  keeper_->forget(segment_name(uid));
}

Status Ledger::session(const SessionRow& row, const Fd& memory, const Fd& process) {
  if (manifest_ == nullptr) return {};
  Status kept = hand_over(session_name(row.id), memory);
  if (kept.ok()) kept = hand_over(process_name(row.id), process);
  uint32_t number = UINT32_MAX;
  if (kept.ok()) {
    number = manifest_->sessions.add(row);
    if (number == UINT32_MAX) kept = table_full("session");
  }
  if (!kept.ok()) {
    keeper_->forget(session_name(row.id));
    keeper_->forget(process_name(row.id));
    return kept;
  }
  session_rows_[row.id] = number;
  return {};
}

void Ledger::session_ending(uint32_t id) {
  const auto row = session_rows_.find(id);
  if (manifest_ == nullptr || row == session_rows_.end()) return;
  manifest_->sessions.set_state(row->second, RowState::kEnding);
}

void Ledger::session_gone(uint32_t id) {
  const auto row = session_rows_.find(id);
  if (manifest_ == nullptr || row == session_rows_.end()) return;
  manifest_->sessions.erase(row->second);
  session_rows_.erase(row);
  keeper_->forget(session_name(id));
  keeper_->forget(process_name(id));
}

void Ledger::orderly_stop() {
  if (manifest_ != nullptr) manifest_->header().orderly.store(1, std::memory_order_release);
}

void Ledger::note_next_session(uint32_t next) {
  if (manifest_ != nullptr) manifest_->header().next_session.store(next, std::memory_order_release);
}

void Ledger::note_next_uid(uint64_t next) {
  if (manifest_ != nullptr) manifest_->header().next_uid.store(next, std::memory_order_release);
}

}  // namespace kvtier::daemon
