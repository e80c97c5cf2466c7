#include "client/session_core.hpp"

#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "client/guarded.hpp"
#include "kvtier/wire/chunk_header.hpp"

namespace kvtier::client {
namespace {

constexpr size_t kGiveUpsMax = 1024;
// A detach is waited for this long, so that after closing a session its slots are free.
constexpr auto kDetachWait = std::chrono::milliseconds(100);
constexpr auto kLoadReportEvery = std::chrono::milliseconds(100);

void kick(int fd) {
  const uint64_t one = 1;
  (void)!::write(fd, &one, sizeof one);
}

}  // namespace

Result<std::shared_ptr<SessionCore>> SessionCore::create(SessionOptions options) {
  Result<std::unique_ptr<ForkGuard>> guard = ForkGuard::create();
  if (!guard) return guard.error();
  std::shared_ptr<SessionCore> core(new SessionCore(std::move(options), *std::move(guard)));
  core->stop_fd_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  core->kick_fd_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!core->stop_fd_.open() || !core->kick_fd_.open()) {
    return Error::system(errno, "making an eventfd for the session");
  }
  TagSecret& secret = core->tag_secret_;
  if (::getrandom(&secret, sizeof secret, 0) != ssize_t{sizeof secret}) {
    return Error::system(errno, "getting random bytes");
  }
  secret.id |= 1;
  core->give_ups_.reserve(kGiveUpsMax);
  return core;
}

SessionCore::SessionCore(SessionOptions options, std::unique_ptr<ForkGuard> guard)
    : options_(std::move(options)), guard_(std::move(guard)) {}

SessionCore::~SessionCore() = default;

void SessionCore::stop() {
  kick(stop_fd_.get());
  if (thread_.joinable()) thread_.join();
  {
    const std::lock_guard lock(mutex_);
    thread_runs_ = false;
  }
  destroy_retired();
  // What ended attachments had is given up while there is one to say it with; the rest returns when
  // this process ends.
  AttachmentSlot* slot = current_.load(std::memory_order_acquire);
  if (slot != nullptr) send_give_ups(slot->attachment, after(kDetachWait), -1);
  drop_current();
  destroy_retired();
  changed_.notify_all();
}

// The session's own reference goes; whoever still holds one keeps the attachment alive.
void SessionCore::drop_current() {
  AttachmentSlot* slot = current_.exchange(nullptr, std::memory_order_acq_rel);
  if (slot != nullptr) AttachmentRef(slot).reset();
}

void SessionCore::last_released(AttachmentSlot* slot) {
  // Keeps the core until this returns: the attachment may hold the last reference to it.
  const std::shared_ptr<SessionCore> core = slot->attachment->core;
  core->retire(slot);
}

void SessionCore::retire(AttachmentSlot* slot) {
  Attachment* attachment = std::exchange(slot->attachment, nullptr);
  bool here = false;
  {
    const std::lock_guard lock(mutex_);
    free_slots_.push_back(slot);  // has room: see publish()
    here = !thread_runs_;
    if (!here) attachment->next = std::exchange(retired_, attachment);
  }
  // Unmapping gigabytes takes a while; the thread does it, not the engine's.
  if (here) {
    destroy(attachment);
  } else {
    kick(kick_fd_.get());
  }
}

void SessionCore::destroy_retired() {
  Attachment* list = nullptr;
  {
    const std::lock_guard lock(mutex_);
    list = std::exchange(retired_, nullptr);
  }
  while (list != nullptr) destroy(std::exchange(list, list->next));
}

// Nobody holds the attachment: all copies are done, and the daemon is told so.
void SessionCore::destroy(Attachment* attachment) {
  const bool over = attachment->ended.load(std::memory_order_relaxed);
  if (!over) {
    const auto reply = attachment->control.call<wire::EmptyReply>(
        wire::MessageType::kDetach, wire::DetachRequest{}, wire::MessageType::kDetachReply,
        after(kDetachWait));
    (void)reply;  // the daemon also sees the end of the socket and of the process
  }
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < wire::kCountersMax; ++i) {
    ended_counters_[i] += attachment->header().counters[i].load(std::memory_order_relaxed);
  }
  if (over && give_ups_.size() < kGiveUpsMax) {
    give_ups_.push_back({attachment->session, attachment->epoch});
  }
  std::erase(all_, attachment);
  attachment->core.reset();  // never the last: every caller holds one
  delete attachment;
}

Status SessionCore::wait_attached(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  while (current_.load(std::memory_order_acquire) == nullptr) {
    const bool lasting = last_error_.has_value() && (last_error_->code() == Code::kIncompatible ||
                                                     last_error_->code() == Code::kPermission);
    if (lasting) return *last_error_;
    if (passed(deadline)) {
      if (last_error_.has_value()) return *last_error_;
      return Error(Code::kDeadline, "not attached before the deadline");
    }
    changed_.wait_until(lock, std::min(deadline, after(std::chrono::seconds(1))));
  }
  return {};
}

Result<SpaceRecord*> SessionCore::record_space(const SpaceSpec& spec,
                                               const wire::SpaceSpecWire& wire) {
  const std::lock_guard lock(mutex_);
  for (const auto& record : spaces_) {
    if (std::memcmp(&record->wire, &wire, sizeof wire) == 0) return record.get();
  }
  if (spaces_.size() == wire::kSpacesMax) {
    return Error::format(Code::kFull, "this session has %u spaces, as many as there may be",
                         wire::kSpacesMax);
  }
  auto record = std::make_unique<SpaceRecord>();
  record->spec = spec;
  record->wire = wire;
  record->fingerprint = wire::fingerprint_of(wire);
  record->group = wire::group_fingerprint_of(wire);
  record->number = static_cast<uint32_t>(spaces_.size());
  spaces_.push_back(std::move(record));
  return spaces_.back().get();
}

Status SessionCore::open_space(Attachment* attachment, SpaceRecord* record,
                               Clock::time_point deadline) {
  std::atomic<OpenedSpace*>& place = attachment->spaces[record->number];
  if (place.load(std::memory_order_acquire) != nullptr) return {};
  wire::OpenSpaceRequest request = {};
  request.spec = record->wire;
  const auto reply = attachment->control.call<wire::OpenSpaceReply>(
      wire::MessageType::kOpenSpace, request, wire::MessageType::kOpenSpaceReply, deadline, nullptr,
      stop_fd_.get());
  const auto keep_refusal = [&](const Error& error) {
    const std::lock_guard lock(mutex_);
    if (error.code() != Code::kDeadline && error.code() != Code::kUnavailable) {
      record->refused = error;
    }
    return error;
  };
  if (!reply) return keep_refusal(reply.error());
  const uint64_t header_due = wire::header_bytes_for(record->spec.tokens_per_chunk);
  if (reply->space == 0 || reply->number >= attachment->view.header->spaces_max ||
      reply->header_bytes != header_due ||
      reply->slot_bytes < reply->header_bytes + record->spec.chunk_bytes) {
    return keep_refusal(Error::format(
        Code::kIncompatible,
        "space reply: id %u, number %u, header of %u bytes, slots of %llu; due are a header of "
        "%llu and room for a payload of %llu",
        reply->space, reply->number, reply->header_bytes,
        static_cast<unsigned long long>(reply->slot_bytes),
        static_cast<unsigned long long>(header_due),
        static_cast<unsigned long long>(record->spec.chunk_bytes)));
  }
  auto opened = std::make_unique<OpenedSpace>();
  opened->id = reply->space;
  opened->number = reply->number;
  opened->header_bytes = reply->header_bytes;
  opened->group = reply->group;
  opened->slot_bytes = reply->slot_bytes;
  opened->shards = record->spec.shards;
  OpenedSpace* none = nullptr;
  if (place.compare_exchange_strong(none, opened.get(), std::memory_order_acq_rel)) {
    (void)opened.release();
  }
  const std::lock_guard lock(mutex_);
  record->refused.reset();
  return {};
}

Status SessionCore::refusal_of(const SpaceRecord& record) {
  const std::lock_guard lock(mutex_);
  if (record.refused.has_value()) return *record.refused;
  return unattached_error();
}

bool SessionCore::last_secret(wire::KeySecret* secret, uint64_t* secret_id) const {
  const std::lock_guard lock(mutex_);
  if (!has_secret_) return false;
  *secret = secret_;
  *secret_id = secret_id_;
  return true;
}

bool SessionCore::gather_load(uint64_t bytes, double seconds, uint64_t* bytes_sum,
                              double* seconds_sum) {
  const std::unique_lock lock(load_mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return false;  // a sample is enough
  load_bytes_ += bytes;
  load_seconds_ += seconds;
  const Clock::time_point now = Clock::now();
  if (now - load_reported_ < kLoadReportEvery) return false;
  load_reported_ = now;
  *bytes_sum = std::exchange(load_bytes_, 0);
  *seconds_sum = std::exchange(load_seconds_, 0);
  return true;
}

bool SessionCore::probe_due(Clock::time_point now) {
  constexpr auto kProbeEvery = std::chrono::duration_cast<Clock::duration>(std::chrono::seconds(1));
  Clock::rep last = probed_.load(std::memory_order_relaxed);
  const Clock::rep at = now.time_since_epoch().count();
  return at - last >= kProbeEvery.count() &&
         probed_.compare_exchange_strong(last, at, std::memory_order_relaxed);
}

uint64_t SessionCore::next_plan() {
  const uint64_t number = plans_.fetch_add(1, std::memory_order_relaxed) + 1;
  uint64_t start = 0;
  std::memcpy(&start, &tag_secret_, std::min(sizeof start, sizeof tag_secret_));
  const uint64_t id = (start ^ static_cast<uint64_t>(::getpid()) << 32) + number;
  return id == 0 ? 1 : id;
}

SessionStats SessionCore::stats() const {
  std::array<uint64_t, wire::kCountersMax> sums = {};
  SessionStats stats;
  {
    const std::lock_guard lock(mutex_);
    sums = ended_counters_;
    for (const Attachment* attachment : all_) {  // none is destroyed without this lock
      for (size_t i = 0; i < sums.size(); ++i) {
        sums[i] += attachment->header().counters[i].load(std::memory_order_relaxed);
      }
    }
    stats.attachments = attachments_;
  }
  for (size_t i = 0; i < sums.size(); ++i) {
    sums[i] += unattached_[i].load(std::memory_order_relaxed);
  }
  fill_stats(sums, &stats);
  return stats;
}

}  // namespace kvtier::client
