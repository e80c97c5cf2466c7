// KeyChain, Match and Grant as Python objects, and views of the shared memory that keep it mapped.
#pragma once

#include <mutex>

#include "client/python/src/common.hpp"

namespace kvtier::python {

// A chain belongs to one thread at a time; calls without the GIL take turns.
struct PyChain {
  explicit PyChain(KeyChain keys) : chain(std::move(keys)) {}
  KeyChain chain;
  std::mutex turn;
};

// Held by the Python object and by every view of its payloads: whoever goes last lets the leases
// go.
struct PyMatch {
  std::shared_ptr<Match> match;  // empty: released
  size_t chunks, tokens, chunks_lower;
  MissReason ended;

  explicit PyMatch(Match taken)
      : match(std::make_shared<Match>(std::move(taken))),
        chunks(match->chunks()),
        tokens(match->tokens()),
        chunks_lower(match->chunks_lower()),
        ended(match->ended()) {}
  // Throws when released.
  const std::shared_ptr<Match>& get() const;
};

struct PyGrant {
  std::shared_ptr<Grant> grant;  // empty: committed, aborted or never granted

  // The grant, to be given away. Throws when it is gone or its memory is still being looked at.
  Grant take();
};

struct PyReservation {
  StoreOutcome outcome;
  double retry_after;
  std::shared_ptr<PyGrant> grant;  // empty unless granted
};

// Bytes of a slot. `owner` keeps them mapped (and leased or granted).
struct Payload {
  std::shared_ptr<const void> owner;
  std::byte* data;
  size_t bytes;
  bool read_only;
};

py::capsule dlpack_capsule(const Payload& payload, bool versioned);

}  // namespace kvtier::python
