// What every tier below host memory offers (device arena, nvme, remote store): room, asynchronous
// movement of whole slots — header and payload, the same bytes as in a host slot — and forgetting.
// Adding a tier means implementing this and a row in the configuration.
//
// Core thread only. Nothing here waits: begin_*() hands a transfer over, poll() brings its result.
// A tier never interprets the bytes; the caller checks header and checksum of whatever comes back,
// so a tier may lose, mix up or damage chunks without ever causing wrong bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kvtier/result.hpp"
#include "kvtier/wire/types.hpp"

namespace kvtier::daemon {

// A chunk's place inside a tier; only the tier knows what it means. 0 is none.
using TierPlace = uint64_t;

struct TierCapacity {
  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;    // places that hold chunks or are being written
  uint64_t queued_bytes = 0;  // of transfers under way
  bool in_service = true;     // false: every begin_*() is refused until it recovers
};

// Writes `slot` (not to be changed before its completion) to a new place.
struct TierWrite {
  uint64_t ticket;  // the caller's, comes back with the completion
  ChunkKey key;
  uint32_t space;
  std::span<const std::byte> slot;
};

// Reads the chunk at `place` into `slot`, which is as large as what was written there.
struct TierRead {
  uint64_t ticket;
  TierPlace place;
  std::span<std::byte> slot;
};

struct TierCompletion {
  uint64_t ticket = 0;
  Code code = Code::kOk;  // kOk, kSystem (an error of the device), kCorrupt, kNotFound
  TierPlace place = 0;    // of a write that succeeded
  uint64_t bytes = 0;
  double seconds = 0;  // from begin to end
};

class Tier {
 public:
  virtual ~Tier() = default;

  virtual wire::Tier kind() const = 0;
  virtual TierCapacity capacity() const = 0;
  // Errors: full (no room: forget something first), unavailable (out of service, or the queue is
  // full: poll first). An error leaves nothing behind.
  virtual Status begin_write(const TierWrite& write) = 0;
  // Errors: not_found, invalid_argument (another size), unavailable.
  virtual Status begin_read(const TierRead& read) = 0;
  // The place holds nothing any more. A read of it that is under way may still succeed.
  virtual void forget(TierPlace place) = 0;
  // Results of finished transfers, at most out.size(); how many.
  virtual size_t poll(std::span<TierCompletion> out) = 0;
  // Readable when poll() has something; -1: poll once a turn.
  virtual int completion_fd() const = 0;
};

}  // namespace kvtier::daemon
