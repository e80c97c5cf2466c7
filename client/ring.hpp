// Requests to the daemon and their answers, over the session's two rings (protocol.md, section 5).
// Any thread; a lock makes the client's end a single producer and a single consumer.
//
// Invariants: every submitted request holds a pending slot and its argument block until its answer
// was taken off the completion ring (or the attachment ended): memory that the daemon may still
// write is never given out again. A request whose caller gave up is forgotten only in that sense;
// grants that a late answer brings are sent back. One waiting thread at a time (the leader) sleeps
// on the eventfd, the others on a condition. Never waits longer than the deadline it was given.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "client/argument_area.hpp"
#include "client/deadline.hpp"
#include "client/fd.hpp"
#include "kvtier/result.hpp"
#include "kvtier/wire/session.hpp"

namespace kvtier::client {

class Ring {
 public:
  static constexpr uint32_t kPendingMax = 256;

  struct Memory {
    wire::SessionHeader* header;
    wire::Submission* submissions;
    const wire::Completion* completions;
    std::byte* arguments;
    Fd submission_eventfd;
    Fd completion_eventfd;
  };
  // What a request says besides its arguments.
  struct Request {
    wire::Op op = wire::Op::kNop;
    uint32_t space = 0;
    uint32_t count = 0;
    uint64_t a = 0;
    uint64_t b = 0;
    uint64_t c = 0;
  };
  // A request under way. Must end in wait() or forget().
  struct Ticket {
    uint32_t slot = 0;
    uint64_t user_data = 0;  // 0: none
    std::byte* arguments = nullptr;
    ArgumentBlock block;
    bool held() const { return user_data != 0; }
  };

  // Throws bad_alloc. `kick_fd` is written when a request is given up, so that the maintenance
  // thread takes its answer.
  Ring(Memory memory, int kick_fd);

  // A slot and an argument block of at least `argument_bytes` (0: none), waiting for answers of
  // others when there is none free. Errors: deadline, full (a deadline not after now; or the area
  // could never hold it), unavailable.
  Result<Ticket> prepare(uint64_t argument_bytes, Clock::time_point deadline);
  // Hands the request over, with what was written to ticket.arguments.
  void submit(const Ticket& ticket, const Request& request);
  // Waits for the answer; `read` sees it with the arguments' memory before that is given back.
  // Errors: deadline (the request is forgotten, its late answer undone), unavailable, the answer's.
  template <typename Read>
  Status wait(Ticket* ticket, Clock::time_point deadline, Read&& read) {
    std::unique_lock lock(mutex_);
    wire::Completion completion;
    if (Status status = wait_answer(lock, ticket, deadline, &completion); !status) return status;
    read(completion);
    release(*ticket);
    ticket->user_data = 0;
    if (completion.status != 0) return refused(completion.status);
    return {};
  }
  // Nobody will wait for it. Its answer is taken when somebody comes by.
  void forget(Ticket* ticket);
  // prepare, write, submit, forget: for what nobody waits for. Errors: full, unavailable.
  Status post(const Request& request, const void* arguments, size_t argument_bytes);

  // Gives a grant back. Never fails: what cannot be sent now is sent later, or ends with the
  // attachment.
  void abort_grant(uint64_t place);

  // The attachment ended: every waiter returns, no request is taken any more.
  void end();

  // For the maintenance thread. True while answers that nobody waits for are out after a
  // deadline, so that they should be taken soon.
  bool has_given_up() const { return given_up_.load(std::memory_order_relaxed) != 0; }
  void take_answers();

  uint64_t argument_bytes_max() const { return area_.bytes_max(); }
  uint64_t bad_completions() const { return bad_completions_; }

 private:
  enum class State : uint8_t { kFree, kPrepared, kWaiting, kForgotten, kGivenUp, kDone };
  struct Pending {
    State state = State::kFree;
    wire::Op op = wire::Op::kNop;
    uint32_t count = 0;
    uint64_t user_data = 0;
    ArgumentBlock block;
    wire::Completion completion = {};
  };

  Status wait_answer(std::unique_lock<std::mutex>& lock, Ticket* ticket, Clock::time_point deadline,
                     wire::Completion* completion);
  template <typename Done>
  Status wait_until(std::unique_lock<std::mutex>& lock, Clock::time_point deadline, Done&& done);
  void sleep_as_leader(std::unique_lock<std::mutex>& lock, Clock::time_point deadline);
  bool spin(std::unique_lock<std::mutex>& lock, Clock::time_point deadline);
  bool try_prepare(uint64_t argument_bytes, Ticket* ticket);
  void push(const Ticket& ticket, const Request& request);
  void drain();
  void finish(Pending* pending, const wire::Completion& completion);
  void collect_grants(const Pending& pending);
  void send_aborts();
  void release(const Ticket& ticket);
  void release(Pending* pending);
  static Error refused(int32_t status);

  const Memory memory_;
  const uint32_t submission_mask_;
  const uint32_t completion_mask_;
  const uint32_t pending_max_;
  const int kick_fd_;

  std::mutex mutex_;
  std::condition_variable answered_;
  bool leader_ = false;
  std::atomic<bool> ended_{false};
  std::atomic<uint32_t> given_up_{0};
  ArgumentArea area_;
  std::array<Pending, kPendingMax> pending_;
  uint32_t pending_count_ = 0;
  uint64_t sequence_ = 1;
  uint32_t submission_tail_;
  std::atomic<uint32_t> completion_head_;
  std::vector<uint64_t> aborts_;  // places to be given back
  uint64_t bad_completions_ = 0;
};

}  // namespace kvtier::client
