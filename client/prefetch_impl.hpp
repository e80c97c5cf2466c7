// Inside of Prefetch: a range of a chain in requests of at most 64 keys, each under way, answered,
// or to be asked again. One thread at a time; waits only in wait().
#pragma once

#include <memory>
#include <vector>

#include "client/space_impl.hpp"

namespace kvtier {

struct Prefetch::Impl {
  enum class State : uint8_t { kToAsk, kAsked, kReady, kFailed };
  struct Part {
    size_t first = 0;  // in keys
    size_t count = 0;
    State state = State::kToAsk;
    client::Ring::Ticket ticket;
    uint64_t user_data = 0;     // of the latest request; 0: none was made
    Clock::time_point again{};  // not to be asked before
    Code code = Code::kOk;      // why it failed
  };

  Impl(const client::ForkGuard& fork_guard, Space::Impl::Opened opened_space)
      : guard(fork_guard), opened(std::move(opened_space)) {}

  bool forked() const { return guard.forked(); }
  client::Ring& ring() { return opened.attachment->ring; }
  // Splits the wanted keys into parts of at most `chunks` consecutive ones.
  void plan(size_t chunks, const std::vector<bool>& wanted);
  // Hands one part over. False: there is no room in the ring now.
  bool ask(Part* part);
  // All that may be asked now.
  void ask_all();
  // Until the part is ready or failed. Errors: deadline, unavailable (the daemon went).
  Status finish(Part* part, Clock::time_point until);
  void cancel();
  size_t resident() const;

  const client::ForkGuard& guard;
  Space::Impl::Opened opened;
  std::vector<ChunkKey> keys;
  std::vector<Part> parts;
  Clock::time_point deadline;
};

}  // namespace kvtier
