// The session's own thread: attaches, watches the socket, attaches again; opens spaces, populates
// memory, gives up what ended. It never runs an engine's code, takes no signals, and waits only
// where stop_fd_ ends the wait.
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "client/guarded.hpp"
#include "client/session_core.hpp"

namespace kvtier::client {
namespace {

// A daemon that is there answers an attach in milliseconds; it may have memory to create first.
constexpr std::chrono::nanoseconds kAttachWaitMin = std::chrono::milliseconds(100);
constexpr std::chrono::nanoseconds kAttachWaitMax = std::chrono::seconds(10);
// Published memory up to this size is populated: first touches cost a look-up microseconds each.
constexpr uint64_t kPopulatePublishedMax = 256 * wire::MiB;
constexpr uint64_t kPopulatePieceBytes = 4 * wire::MiB;
constexpr uint64_t kEntriesPiece = kPopulatePieceBytes / sizeof(wire::Entry);

}  // namespace

Status SessionCore::start() {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  if (const int number = pthread_sigmask(SIG_SETMASK, &all, &before); number != 0) {
    return Error::system(number, "blocking signals for the session's thread");
  }
  Status status;
  try {
    {
      const std::lock_guard lock(mutex_);
      thread_runs_ = true;
    }
    thread_ = std::thread([this] { run(); });
    pthread_setname_np(thread_.native_handle(), "kvtier-session");
  } catch (const std::system_error& error) {
    const std::lock_guard lock(mutex_);
    thread_runs_ = false;
    status = Error::system(error.code().value(), "starting the session's thread");
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return status;
}

void SessionCore::run() {
  std::chrono::nanoseconds wait = options_.retry_first;
  for (;;) {
    const Clock::time_point began = Clock::now();
    Status status = guarded<void>([&]() -> Status { return attach_once(); });
    if (!status) {
      set_error(status.error());
    } else {
      AttachmentSlot* slot = current_.load(std::memory_order_relaxed);
      (void)guarded<void>([&]() -> Status {
        watch(slot->attachment);
        return {};
      });
      // An attachment that lasted starts the doubling anew; a daemon that dies at once does not.
      if (Clock::now() - began > options_.retry_last) wait = options_.retry_first;
    }
    destroy_retired();
    if (wait_stop(wait)) return;
    wait = std::min(wait * 2, std::max(options_.retry_last, options_.retry_first));
  }
}

// True when the session is closed.
bool SessionCore::wait_stop(std::chrono::nanoseconds wait) {
  const Clock::time_point until = after(wait);
  pollfd fd = {stop_fd_.get(), POLLIN, 0};
  do {
    if (poll_until(&fd, 1, until) > 0) return true;
  } while (!passed(until));
  return false;
}

void SessionCore::set_error(const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    last_error_ = error;
  }
  changed_.notify_all();
}

Status SessionCore::attach_once() {
  Result<AttachedMemory> memory = attach({
      .socket = options_.socket,
      .name = options_.name,
      .read_only = options_.read_only,
      .deadline = after(std::clamp(options_.call_deadline, kAttachWaitMin, kAttachWaitMax)),
      .stop_fd = stop_fd_.get(),
  });
  if (!memory) {
    if (memory.code() == Code::kDeadline) {
      return Error(Code::kUnavailable, "the daemon takes connections but does not answer");
    }
    return memory.error();
  }
  auto attachment = std::make_unique<Attachment>(*std::move(memory), shared_from_this(),
                                                 options_.read_only, kick_fd_.get());
  open_recorded_spaces(attachment.get());
  publish(std::move(attachment));
  return {};
}

void SessionCore::publish(std::unique_ptr<Attachment> attachment) {
  {
    const std::lock_guard lock(mutex_);
    if (free_slots_.empty()) {
      slots_.reserve(slots_.size() + 1);
      free_slots_.reserve(slots_.size() + 1);
      slots_.push_back(std::make_unique<AttachmentSlot>());
      free_slots_.push_back(slots_.back().get());
    }
    all_.reserve(all_.size() + 1);
    // From here nothing throws.
    AttachmentSlot* slot = free_slots_.back();
    free_slots_.pop_back();
    all_.push_back(attachment.get());
    secret_ = attachment->secret;
    secret_id_ = attachment->secret_id;
    has_secret_ = true;
    ++attachments_;
    last_error_.reset();
    populated_buckets_ = 0;
    populated_entries_ = 0;
    slot->attachment = attachment.release();
    slot->life.revive();
    current_.store(slot, std::memory_order_release);
  }
  changed_.notify_all();
}

void SessionCore::watch(Attachment* attachment) {
  bool busy = true;
  for (;;) {
    pollfd fds[3] = {{attachment->control.fd(), POLLRDHUP, 0},
                     {stop_fd_.get(), POLLIN, 0},
                     {kick_fd_.get(), POLLIN, 0}};
    const Clock::time_point until = busy ? Clock::now() : after(idle_time(*attachment));
    poll_until(fds, 3, until);
    if (fds[1].revents != 0) return;  // stop() lets the attachment go, in order
    if (fds[0].revents != 0) break;
    if (fds[2].revents != 0) {
      uint64_t count = 0;
      (void)!::read(kick_fd_.get(), &count, sizeof count);
    }
    if (attachment->ring.has_given_up()) attachment->ring.take_answers();
    attachment->segments.tick();
    destroy_retired();
    busy = open_recorded_spaces(attachment);
    send_give_ups(attachment, after(options_.call_deadline), stop_fd_.get());
    busy = populate_published(*attachment) || busy;
    busy = attachment->segments.populate() || busy;
  }
  // What ended is marked before anybody may attach again.
  attachment->ended.store(true, std::memory_order_relaxed);
  set_error(Error(Code::kUnavailable, "the daemon closed the connection; attaching again"));
  attachment->ring.end();
  drop_current();
}

// Nothing wakes a thread of an idle session but its fds, and once a second, when something is
// mapped, the look at whether it still should be.
std::chrono::nanoseconds SessionCore::idle_time(const Attachment& attachment) const {
  if (attachment.ring.has_given_up()) return std::chrono::milliseconds(10);
  return std::chrono::seconds(1);
}

// True when one could not be opened now and should be tried again at once.
bool SessionCore::open_recorded_spaces(Attachment* attachment) {
  for (uint32_t i = 0; i < wire::kSpacesMax; ++i) {
    SpaceRecord* record = nullptr;
    {
      const std::lock_guard lock(mutex_);
      if (i >= spaces_.size()) return false;
      record = spaces_[i].get();
    }
    if (attachment->spaces[i].load(std::memory_order_acquire) != nullptr) continue;
    const Status status = open_space(attachment, record, after(options_.call_deadline));
    if (status.code() == Code::kUnavailable) return false;  // the socket says the rest
  }
  return false;
}

void SessionCore::send_give_ups(Attachment* attachment, Clock::time_point deadline, int stop_fd) {
  for (;;) {
    GiveUp last = {};
    {
      const std::lock_guard lock(mutex_);
      if (give_ups_.empty()) return;
      last = give_ups_.back();
      give_ups_.pop_back();
    }
    wire::GiveUpRequest request = {};
    request.session = last.session;
    request.epoch = last.epoch;
    const auto reply = attachment->control.call<wire::EmptyReply>(
        wire::MessageType::kGiveUp, request, wire::MessageType::kGiveUpReply, deadline, nullptr,
        stop_fd);
    // Refused: the daemon knows no such session, so there is nothing to give up.
    if (reply || (reply.code() != Code::kUnavailable && reply.code() != Code::kDeadline)) continue;
    const std::lock_guard lock(mutex_);
    give_ups_.push_back(last);  // has room; for the next attachment, or the next second
    return;
  }
}

// One piece. True when there is more.
bool SessionCore::populate_published(const Attachment& attachment) {
  const wire::PublishedHeader& header = *attachment.view.header;
  const uint64_t buckets_bytes = (uint64_t{header.bucket_mask} + 1) * sizeof(wire::Bucket);
  const uint64_t entries = std::min<uint64_t>(
      header.entries_high_water.load(std::memory_order_relaxed), header.entries_max);
  if (buckets_bytes + entries * sizeof(wire::Entry) > kPopulatePublishedMax) return false;
  if (populated_buckets_ < buckets_bytes) {
    const uint64_t bytes = std::min(kPopulatePieceBytes, buckets_bytes - populated_buckets_);
    attachment.published().populate(header.buckets_offset + populated_buckets_, bytes);
    populated_buckets_ += bytes;
    return true;
  }
  if (populated_entries_ >= entries) return false;
  const uint64_t more = std::min(kEntriesPiece, entries - populated_entries_);
  attachment.published().populate(header.entries_offset + populated_entries_ * sizeof(wire::Entry),
                                  more * sizeof(wire::Entry));
  populated_entries_ += more;
  return true;
}

}  // namespace kvtier::client
