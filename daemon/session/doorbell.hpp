// Waking a client through the eventfd that it shares with us, without ever waiting for it. The
// client has the same open file: it may make it blocking and fill its counter, so that a write
// would wait for ever. Therefore: the flag is looked at before each write, and while bells are rung
// a timer interrupts this thread every few milliseconds, for the client that changes it in between.
// Owned by the thread that rings.
#pragma once

#include <ctime>

#include "daemon/memory/fd.hpp"
#include "kvtier/result.hpp"

namespace kvtier::daemon {

class Doorbell {
 public:
  static constexpr long kInterruptNs = 20'000'000;  // what such a client can cost, once

  Doorbell() = default;
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;
  ~Doorbell();

  // An eventfd for a client to wait on.
  static Result<Fd> make_eventfd();

  // False: the client has made it blocking, which nobody does by mistake.
  [[nodiscard]] bool ring(const Fd& eventfd);

  // To be called now and then: stops the timer when no bell was rung since the last call.
  void rest();

 private:
  bool start_timer();
  void set_interval(long nanoseconds);

  timer_t timer_{};
  bool has_timer_ = false;
  bool running_ = false;
  bool rung_ = false;
};

}  // namespace kvtier::daemon
