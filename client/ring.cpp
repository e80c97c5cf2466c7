#include "client/ring.hpp"

#include <emmintrin.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cstring>

namespace kvtier::client {
namespace {

// Answers come within microseconds from a daemon that is awake; a sleep and a wake-up cost about 5.
constexpr auto kSpin = std::chrono::microseconds(20);
constexpr size_t kAbortsMax = 4096;

void ring_bell(int fd) {
  const uint64_t one = 1;
  (void)!::write(fd, &one, sizeof one);
}

}  // namespace

Ring::Ring(Memory memory, int kick_fd)
    : memory_(std::move(memory)),
      submission_mask_(memory_.header->submission_entries - 1),
      completion_mask_(memory_.header->completion_entries - 1),
      pending_max_(std::min(
          {kPendingMax, memory_.header->submission_entries, memory_.header->completion_entries})),
      kick_fd_(kick_fd),
      area_(memory_.header->args_bytes),
      submission_tail_(memory_.header->submission_tail.load(std::memory_order_relaxed)),
      completion_head_(memory_.header->completion_head.load(std::memory_order_relaxed)) {
  aborts_.reserve(kAbortsMax);
}

Result<Ring::Ticket> Ring::prepare(uint64_t argument_bytes, Clock::time_point deadline) {
  if (argument_bytes > area_.bytes_max()) {
    return Error::format(Code::kFull,
                         "a request of %llu bytes; the session's argument area has %llu",
                         static_cast<unsigned long long>(argument_bytes),
                         static_cast<unsigned long long>(area_.bytes_max()));
  }
  Ticket ticket;
  std::unique_lock lock(mutex_);
  drain();
  if (ended_.load(std::memory_order_relaxed)) {
    return Error(Code::kUnavailable, "the attachment to the daemon ended");
  }
  if (try_prepare(argument_bytes, &ticket)) return ticket;
  if (deadline <= Clock::now()) {
    return Error::format(Code::kFull,
                         "%u requests are under way (at most %u) or their arguments fill the "
                         "session's area; the daemon is behind",
                         pending_count_, pending_max_);
  }
  if (Status s = wait_until(lock, deadline, [&] { return try_prepare(argument_bytes, &ticket); });
      !s) {
    return s.error();
  }
  return ticket;
}

bool Ring::try_prepare(uint64_t argument_bytes, Ticket* ticket) {
  if (pending_count_ == pending_max_) return false;
  ArgumentBlock block;
  if (argument_bytes != 0) {
    block = area_.take(argument_bytes);
    if (!block.held()) return false;
  }
  uint32_t slot = 0;
  while (pending_[slot].state != State::kFree) ++slot;
  Pending& pending = pending_[slot];
  pending.state = State::kPrepared;
  pending.user_data = sequence_++ << 8 | slot;
  pending.block = block;
  ++pending_count_;
  *ticket = {slot, pending.user_data, memory_.arguments + block.offset, block};
  return true;
}

void Ring::submit(const Ticket& ticket, const Request& request) {
  const std::lock_guard lock(mutex_);
  push(ticket, request);
}

void Ring::push(const Ticket& ticket, const Request& request) {
  Pending& pending = pending_[ticket.slot];
  pending.state = State::kWaiting;
  pending.op = request.op;
  pending.count = request.count;
  // Room is certain: pending slots are not more than the ring's entries, and an entry is free once
  // its request was answered.
  wire::Submission& entry = memory_.submissions[submission_tail_ & submission_mask_];
  entry = {};
  entry.user_data = ticket.user_data;
  entry.op = static_cast<uint16_t>(request.op);
  entry.space = request.space;
  entry.count = request.count;
  entry.args_offset = ticket.block.offset;
  entry.args_bytes = ticket.block.bytes;
  entry.a = request.a;
  entry.b = request.b;
  entry.c = request.c;
  ++submission_tail_;
  memory_.header->submission_tail.store(submission_tail_, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // W2
  if (memory_.header->daemon_need_wake.load(std::memory_order_relaxed) != 0) {
    ring_bell(memory_.submission_eventfd.get());
  }
}

void Ring::forget(Ticket* ticket) {
  if (!ticket->held()) return;
  const std::lock_guard lock(mutex_);
  Pending& pending = pending_[ticket->slot];
  if (pending.state == State::kWaiting) {
    pending.state = State::kForgotten;
  } else {
    if (pending.state == State::kDone) collect_grants(pending);
    release(&pending);
  }
  ticket->user_data = 0;
  send_aborts();
}

Status Ring::post(const Request& request, const void* arguments, size_t argument_bytes) {
  if (argument_bytes > area_.bytes_max()) {
    return Error(Code::kFull, "the request is larger than the session's argument area");
  }
  const std::lock_guard lock(mutex_);
  drain();
  if (ended_.load(std::memory_order_relaxed)) {
    return Error(Code::kUnavailable, "the attachment to the daemon ended");
  }
  Ticket ticket;
  if (!try_prepare(argument_bytes, &ticket)) {
    return Error::format(Code::kFull, "%u requests are under way; the daemon is behind",
                         pending_count_);
  }
  if (argument_bytes != 0) std::memcpy(ticket.arguments, arguments, argument_bytes);
  push(ticket, request);
  pending_[ticket.slot].state = State::kForgotten;
  return {};
}

void Ring::abort_grant(uint64_t place) {
  const std::lock_guard lock(mutex_);
  if (ended_.load(std::memory_order_relaxed)) return;
  drain();
  if (aborts_.size() < kAbortsMax) aborts_.push_back(place);
  send_aborts();
}

void Ring::send_aborts() {
  while (!aborts_.empty() && !ended_.load(std::memory_order_relaxed)) {
    const size_t count = std::min<size_t>(aborts_.size(), wire::kBatchChunksMax);
    Ticket ticket;
    if (!try_prepare(count * sizeof(wire::CommitArg), &ticket)) return;
    auto* arguments = reinterpret_cast<wire::CommitArg*>(ticket.arguments);
    for (size_t i = 0; i < count; ++i) {
      arguments[i] = {};
      arguments[i].place = aborts_[aborts_.size() - count + i];
    }
    aborts_.resize(aborts_.size() - count);
    Request request;
    request.op = wire::Op::kAbort;
    request.count = static_cast<uint32_t>(count);
    push(ticket, request);
    pending_[ticket.slot].state = State::kForgotten;
  }
}

void Ring::end() {
  {
    const std::lock_guard lock(mutex_);
    drain();  // answers that came before the end still count
    ended_.store(true, std::memory_order_relaxed);
  }
  ring_bell(memory_.completion_eventfd.get());
  answered_.notify_all();
}

void Ring::take_answers() {
  const std::lock_guard lock(mutex_);
  if (ended_.load(std::memory_order_relaxed)) return;
  drain();
  if (!leader_) answered_.notify_all();
}

Status Ring::wait_answer(std::unique_lock<std::mutex>& lock, Ticket* ticket,
                         Clock::time_point deadline, wire::Completion* completion) {
  Pending& pending = pending_[ticket->slot];
  Status status = wait_until(lock, deadline, [&] { return pending.state == State::kDone; });
  if (status) {
    *completion = pending.completion;
    return status;
  }
  if (status.code() == Code::kDeadline) {
    pending.state = State::kGivenUp;
    if (given_up_.fetch_add(1, std::memory_order_relaxed) == 0) ring_bell(kick_fd_);
  }
  ticket->user_data = 0;
  return status;
}

template <typename Done>
Status Ring::wait_until(std::unique_lock<std::mutex>& lock, Clock::time_point deadline,
                        Done&& done) {
  for (bool spun = false;; spun = true) {
    drain();
    if (done()) return {};
    if (ended_.load(std::memory_order_relaxed)) {
      return Error(Code::kUnavailable, "the daemon went away while it was asked");
    }
    if (passed(deadline)) {
      return Error(Code::kDeadline, "the daemon did not answer before the deadline");
    }
    if (!spun && !leader_ && spin(lock, deadline)) continue;
    if (leader_) {
      answered_.wait_until(lock, std::min(deadline, after(std::chrono::seconds(1))));
    } else {
      sleep_as_leader(lock, deadline);
    }
  }
}

// A short look at the completion ring without the lock. True when something came.
bool Ring::spin(std::unique_lock<std::mutex>& lock, Clock::time_point deadline) {
  lock.unlock();
  const auto until = std::min(deadline, after(kSpin));
  bool came = false;
  do {
    for (int i = 0; i < 16 && !came; ++i) {
      _mm_pause();
      came = memory_.header->completion_tail.load(std::memory_order_acquire) !=
             completion_head_.load(std::memory_order_relaxed);
    }
  } while (!came && Clock::now() < until);
  lock.lock();
  return came;
}

void Ring::sleep_as_leader(std::unique_lock<std::mutex>& lock, Clock::time_point deadline) {
  wire::SessionHeader& header = *memory_.header;
  leader_ = true;
  header.client_need_wake.store(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // W1
  if (header.completion_tail.load(std::memory_order_acquire) ==
      completion_head_.load(std::memory_order_relaxed)) {
    lock.unlock();
    pollfd fd = {memory_.completion_eventfd.get(), POLLIN, 0};
    if (poll_until(&fd, 1, deadline) > 0) {
      uint64_t count = 0;
      (void)!::read(memory_.completion_eventfd.get(), &count, sizeof count);
    }
    lock.lock();
  }
  header.client_need_wake.store(0, std::memory_order_relaxed);
  leader_ = false;
  drain();
  answered_.notify_all();
}

void Ring::drain() {
  uint32_t head = completion_head_.load(std::memory_order_relaxed);
  const uint32_t tail = memory_.header->completion_tail.load(std::memory_order_acquire);
  if (tail == head) return;
  if (tail - head > completion_mask_ + 1) {  // nothing a daemon does; do not follow it
    ++bad_completions_;
    return;
  }
  for (; head != tail; ++head) {
    const wire::Completion completion = memory_.completions[head & completion_mask_];
    const uint32_t slot = completion.user_data & 0xff;
    Pending* pending = &pending_[slot];
    if (slot >= pending_max_ || pending->user_data != completion.user_data ||
        (pending->state != State::kWaiting && pending->state != State::kForgotten &&
         pending->state != State::kGivenUp)) {
      ++bad_completions_;
      continue;
    }
    finish(pending, completion);
  }
  completion_head_.store(head, std::memory_order_relaxed);
  memory_.header->completion_head.store(head, std::memory_order_release);
  if (!aborts_.empty()) send_aborts();
}

void Ring::finish(Pending* pending, const wire::Completion& completion) {
  pending->completion = completion;
  pending->completion.count = std::min(completion.count, pending->count);
  if (pending->state == State::kWaiting) {
    pending->state = State::kDone;
    return;
  }
  if (pending->state == State::kGivenUp) given_up_.fetch_sub(1, std::memory_order_relaxed);
  collect_grants(*pending);
  release(pending);
}

// Nobody wants this answer: what it granted goes back.
void Ring::collect_grants(const Pending& pending) {
  if (pending.op != wire::Op::kReserve || pending.completion.status != 0) return;
  const std::byte* answers = memory_.arguments + pending.block.offset;
  for (uint32_t i = 0; i < pending.completion.count; ++i) {
    wire::ReserveAnswer answer;
    std::memcpy(&answer, answers + i * sizeof answer, sizeof answer);
    if (answer.outcome != static_cast<uint32_t>(wire::ReserveOutcome::kGranted)) continue;
    if (aborts_.size() < kAbortsMax) aborts_.push_back(answer.place);
  }
}

void Ring::release(const Ticket& ticket) {
  release(&pending_[ticket.slot]);
}

void Ring::release(Pending* pending) {
  area_.give(pending->block);
  *pending = Pending();
  --pending_count_;
}

Error Ring::refused(int32_t status) {
  const bool known = status > 0 && status <= static_cast<int32_t>(Code::kUnsupported);
  const Code code = known ? static_cast<Code>(status) : Code::kUnavailable;
  return Error::format(code, "the daemon refused the request: %s", code_name(code));
}

}  // namespace kvtier::client
